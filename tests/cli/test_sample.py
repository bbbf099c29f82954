"""`charrnn sample`: only text on standard output, from the intended model."""

import json
import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from charrnn.data.vocab import Vocab

from ._material import SMALL, TEXT, TIMEOUT, error_line, posix

FAR_EAST = "いろはにほへと ちりぬるを\nわかよたれそ つねならむ\n" * 8


def test_standard_output_is_prime_and_length(run, tiny):
    outcome = run("sample", "--prime", "Der Käfer", "-n", "37", "--seed", "1")
    assert outcome.stdout.startswith("Der Käfer")
    assert len(outcome.stdout) == len("Der Käfer") + 37
    assert set(outcome.stdout) <= set(TEXT)
    assert outcome.stderr == f"Model: {tiny / 'best.npz'}\n"


def test_five_hundred_characters_if_nothing_is_said(run, tiny):
    assert len(run("sample").stdout) == 500


def test_no_characters_are_the_prime(run, tiny):
    assert run("sample", "-n", "0", "--prime", "Der").bytes == b"Der"
    assert run("sample", "-n", "0").bytes == b""


def test_without_a_prime_lines_begin_as_in_the_text(run, tiny):
    assert {run("sample", "-n", "1", "--seed", str(seed)).stdout for seed in range(5)} == {"D"}


def test_the_file_that_was_named_is_not_named_again(run, tiny):
    best, last = tiny / "best.npz", tiny / "last.npz"
    assert run("sample", "-m", best, "--seed", "1").stderr == ""
    assert run("sample", "--model", last, "--seed", "1").stderr == ""
    assert run("sample", "-m", tiny, "--seed", "1").stderr == f"Model: {best}\n"
    best.unlink()
    assert run("sample", "-m", tiny, "--seed", "1").stderr == f"Model: {last} (there is no best.npz)\n"
    assert run("sample", "-m", "tiny/last.npz", "--seed", "1").stderr == f"Model: {last}\n"


def copies(tiny: Path, *names: str) -> list[Path]:
    """Make runs of these names, each newer than the one before."""
    made = []
    for age, name in enumerate(names):
        folder = Path(name)
        folder.mkdir(parents=True)
        (folder / "best.npz").write_bytes((tiny / "best.npz").read_bytes())
        os.utime(folder / "best.npz", (2_000_000_000 + age, 2_000_000_000 + age))
        made.append(folder / "best.npz")
    return made


def test_option_before_variable_before_newest_run(run, tiny):
    elsewhere, variable, newest = copies(tiny, "elsewhere", "variable", "checkpoints/newest")
    set_, empty = {"CHARRNN_MODEL": "variable"}, {"CHARRNN_MODEL": ""}
    assert run("sample", "--seed", "1").stderr == f"Model: {newest}\n"
    assert run("sample", "--seed", "1", env=set_).stderr == f"Model: {variable}\n"
    assert run("sample", "--seed", "1", "-m", "elsewhere", env=set_).stderr == f"Model: {elsewhere}\n"
    assert run("sample", "--seed", "1", env=empty).stderr == f"Model: {newest}\n"  # empty is as good as not set


def test_the_newest_run_is_chosen(run, tiny):
    copies(tiny, "checkpoints/zz-old", "checkpoints/aa-new")
    assert run("sample", "--seed", "1").stderr == f"Model: {Path('checkpoints/aa-new/best.npz')}\n"
    os.utime("checkpoints/zz-old/best.npz", (2_000_000_009, 2_000_000_009))
    assert run("sample", "--seed", "1").stderr == f"Model: {Path('checkpoints/zz-old/best.npz')}\n"


def test_folders_without_a_model_are_passed_over(run, tiny):
    Path("checkpoints/empty").mkdir()
    Path("checkpoints/file.txt").write_text("no run")
    assert run("sample", "--seed", "1").stderr == f"Model: {tiny / 'best.npz'}\n"


def test_temperature_0_writes_the_same_twice(run, tiny):
    once = run("sample", "--temp", "0", "--prime", "Der")
    assert once == run("sample", "--temp", "0", "--prime", "Der")
    assert once == run("sample", "--temp", "0", "--prime", "Der", "--seed", "9")


def test_top_1_is_temperature_0(run, tiny):
    once = run("sample", "--temp", "0", "--prime", "Der")
    assert once == run("sample", "--top-k", "1", "--prime", "Der", "--temp", "1.5", "--seed", "1")


def test_top_k_beyond_the_vocabulary_is_all_of_it(run, tiny):
    assert run("sample", "--top-k", "100000", "--seed", "3") == run("sample", "--seed", "3")


def test_the_seed_repeats_a_text(run, tiny):
    once = run("sample", "--seed", "7")
    assert once == run("sample", "--seed", "7")
    assert once.bytes != run("sample", "--seed", "8").bytes
    assert run("sample").bytes != run("sample").bytes


@pytest.mark.parametrize("args", [(), ("--count", "3"), ("--best-of", "2"), ("--novel", "40")], ids=" ".join)
def test_a_seed_that_is_drawn_is_reported_and_repeats_the_texts(run, tiny, args):
    outcome = run("sample", "-n", "30", *args)
    named, told = outcome.stderr.splitlines()[:2]
    assert named == f"Model: {tiny / 'best.npz'}"
    seed = told.removeprefix("Seed: ")
    assert run("sample", "-n", "30", *args, "--seed", seed).bytes == outcome.bytes
    assert "Seed" not in run("sample", "-n", "30", *args, "--seed", seed).stderr


@pytest.mark.parametrize("args", [("--json",), ("--temp", "0"), ("--beam", "2")], ids=" ".join)
def test_no_seed_is_reported_that_json_tells_or_that_decides_nothing(run, tiny, args):
    assert run("sample", "-n", "3", *args).stderr == f"Model: {tiny / 'best.npz'}\n"


def test_a_longer_text_begins_as_the_shorter(run, tiny):
    assert run("sample", "--seed", "7", "-n", "90").stdout.startswith(run("sample", "--seed", "7", "-n", "30").stdout)


def test_temperature_has_two_names_and_0_8_if_not_given(run, tiny):
    one = run("sample", "--seed", "7", "--temp", "0.8")
    assert one == run("sample", "--seed", "7", "--temperature", "0.8") == run("sample", "--seed", "7")
    assert one.bytes != run("sample", "--seed", "7", "--temp", "1.2").bytes


@pytest.mark.parametrize("prime", ["Der Käfer\n", "\n\n", "Der 😀 — «"])
def test_the_prime_may_come_from_standard_input(run, tiny, prime):
    outcome = run("sample", "--prime", "-", "-n", "20", "--seed", "1", input=prime)
    assert outcome.stdout.startswith(prime)
    assert len(outcome.stdout) == len(prime) + 20
    assert outcome == run("sample", "--prime", prime, "-n", "20", "--seed", "1")


@pytest.mark.parametrize("words", [("--prime", "-"), ("--prime-file", "-"), ("--prime-file", os.devnull)], ids=" ".join)
def test_an_empty_prime_is_none(run, tiny, words):
    assert run("sample", *words, "--seed", "1", input="") == run("sample", "--seed", "1")


def test_no_lines_are_continued_by_nothing(run, tiny):
    outcome = run("sample", "--prime-lines", "-", input="")
    assert (outcome.bytes, outcome.stderr.splitlines()[-1]) == (
        b"",
        "No line to continue: nothing was generated",
    )


@posix
def test_a_prime_is_read_from_a_pipe(run, tiny):
    os.mkfifo("pipe")
    writer = threading.Thread(target=Path("pipe").write_text, args=("Der",))
    writer.start()
    assert run("sample", "--prime-file", "pipe", "-n", "0").stdout == "Der"
    writer.join()


def test_a_run_is_named_without_m(run, tiny):
    once = run("sample", "tiny", "--seed", "1")
    assert once == run("sample", "-m", "tiny", "--seed", "1")
    assert once == run("sample", str(tiny), "--seed", "1", env={"CHARRNN_MODEL": "missing"})
    for name in ("sample", "info", "serve"):
        assert "RUN and -m both name the model" in error_line(run(name, "tiny", "-m", "tiny", code=2).stderr)
    told = error_line(run("sample", "Once upon a time", code=2).stderr)
    assert "does not exist" in told
    assert told.endswith("to continue a text, give it with --prime")


def test_all_of_standard_input_is_read(run, tiny):
    assert run("sample", "--prime", "-", "-n", "0", input=TEXT * 2).stdout == TEXT * 2


def test_an_unknown_character_is_named_with_its_position(run, tiny):
    told = error_line(run("sample", "--prime", "Der Ωrm", code=2).stderr)
    assert "'Ω' (U+03A9) at position 4" in told
    assert "--unknown skip" in told


def test_unknown_characters_can_be_skipped(run, tiny):
    outcome = run("sample", "--prime", "Der Ω", "-n", "10", "--unknown", "skip", "--temp", "0")
    known = run("sample", "--prime", "Der ", "-n", "10", "--temp", "0")
    assert outcome.stdout == "Der Ω" + known.stdout.removeprefix("Der ")


@pytest.mark.parametrize(
    "env", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}, {"PYTHONUTF8": "0", "LC_ALL": "POSIX"}]
)
def test_standard_output_is_utf_8_whatever_the_locale(run, command, env):
    Path("iroha.txt").write_text(FAR_EAST, encoding="utf-8")
    run("train", "iroha.txt", *SMALL, "--steps", "2", "--quiet")
    process = command("sample", "--prime", "-", "-n", "50", "--seed", "1", env=env)
    stdout, stderr = process.communicate("いろ".encode(), timeout=TIMEOUT)
    assert process.returncode == 0, stderr
    assert stdout.decode() == run("sample", "--prime", "いろ", "-n", "50", "--seed", "1").stdout
    assert len(stdout.decode()) == 52


def test_line_ends_are_those_of_the_model(run):
    Path("crlf.txt").write_bytes(b"one\r\ntwo\r\n" * 60)
    run("train", "crlf.txt", *SMALL, "--steps", "2", "--quiet")
    outcome = run("sample", "--prime", "one\r\n", "-n", "400", "--temp", "3", "--seed", "1")
    assert len(outcome.bytes) == 405
    assert {b"\r", b"\n"} <= {outcome.bytes[at : at + 1] for at in range(5, 405)}


@pytest.mark.parametrize("prime", ["Der \udcff", r"Der \ud83d"])
def test_a_prime_with_halves_of_pairs_comes_out_alike_for_one_text_and_for_several(run, tiny, prime):
    args = ("sample", "--prime", prime, "-n", "0", "--unknown", "skip")
    alone = run(*args).bytes
    assert alone in (b"Der \xff", b"Der \xed\xa0\xbd")
    assert run(*args, "--count", "2", "--separator", "|").bytes == alone + b"|" + alone


@posix
def test_a_prime_that_is_not_utf_8_comes_out_as_it_went_in(tiny, command):
    process = command("sample", "--prime", b"Der \xff", "-n", "3", "--unknown", "skip")
    stdout, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0
    assert stdout.startswith(b"Der \xff")


@posix
def test_a_reader_that_has_enough_ends_it_quietly(tiny, command):
    process = command("sample", "-n", "1000000", "--seed", "1")
    head = process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read().decode() == f"Model: {tiny / 'best.npz'}\n"
    process.wait(TIMEOUT)
    assert process.returncode == 0
    assert len(head) == 10


@posix
def test_text_is_written_as_it_is_made(tiny, command):
    process = command("sample", "-n", "100000000")  # nobody waits for the end of this
    assert len(process.stdout.read(10)) == 10


# Ends


def test_stop_strings_end_a_text_and_are_not_shown(run, tiny):
    whole = run("sample", "--seed", "1", "-n", "200").stdout
    stops = whole[40:43], whole[90:93]
    wanted = whole[: min(whole.index(stop) for stop in stops)]
    assert run("sample", "--seed", "1", "-n", "200", "--stop", stops[0], "--stop", stops[1]).stdout == wanted
    assert run("sample", "--seed", "1", "-n", "200", "--stop", r"\n").stdout == whole.partition("\n")[0]


def test_lines_are_written_whole(run, tiny):
    text = run("sample", "--lines", "12", "--seed", "1").stdout
    assert text.count("\n") == 12
    assert text.endswith("\n")
    assert len(run("sample", "--lines", "12", "--seed", "1", "-n", "5").stdout) == 5


@posix
def test_minus_one_is_without_an_end(tiny, command):
    process = command("sample", "-n", "-1")
    assert len(process.stdout.read(3000)) == 3000


def test_documents_are_written_to_their_end_mark(run, tiny, monkeypatch):
    # A stand-in: the model's line end is taken for the mark.
    monkeypatch.setattr(Vocab, "end", property(lambda vocab: vocab.symbols.index("\n")))
    found = [
        json.loads(line) for line in run("sample", "--documents", "3", "--seed", "1", "--json").stdout.splitlines()
    ]
    assert [(one["index"], one["ended"], one["text"].count("\n")) for one in found] == [
        (index, "document", 1) for index in range(3)
    ]
    assert run("sample", "--documents", "1", "--seed", "1").stdout == found[0]["text"]
    assert len(run("sample", "--documents", "1", "--seed", "1", "-n", "2").stdout) == 2


# Beginnings


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (r"D\n", "D\n"),
        (r"D\t", "D\t"),
        (r"D\u00e4", "Dä"),
        (r"D\\n", "D\\n"),
    ],
)
def test_escapes_in_a_prime(run, tiny, given, meant):
    assert run("sample", "--prime", given, "-n", "0", "--unknown", "skip").stdout == meant


@pytest.mark.parametrize(
    ("given", "unknown"), [(r"D\x", r"\x"), (r"\u00", r"\u"), ("\\\\\\", "\\"), (r"\section", r"\s")]
)
def test_a_backslash_that_begins_no_escape_is_refused(run, tiny, given, unknown):
    for words in (["sample", "--prime", given], ["sample", "--stop", given], ["complete", given]):
        assert f"has the unknown escape {unknown}: write \\\\ for a backslash" in run(*words, code=2).stderr


def test_an_error_about_an_escape_says_how_to_write_a_backslash(run, tiny):
    hint = r"\t is a tab: write \\t for a backslash and t"
    assert error_line(run("sample", "--prime", r"\textbf{", code=2).stderr).endswith(f"; in --prime, {hint}")
    assert error_line(run("sample", "--stop", r"\textbf{", code=2).stderr).endswith(f"; in --stop, {hint}")
    assert error_line(run("complete", r"\textbf{", code=2).stderr).endswith(f"; in TEXT, {hint}")
    assert "backslash" not in run("sample", "--prime", r"\\textbf", code=2).stderr
    assert "Note" not in run("sample", "--prime", r"Der\nKäfer").stderr


def test_a_model_that_knows_the_backslash_notes_how_an_escape_was_read(run, cwd):
    Path("latex.tex").write_text(r"\noindent We \textbf{see}.".replace("{", "\t{") + "\n" * 5 + "x" * 200)
    run("train", "latex.tex", *SMALL, "--steps", "1", "--quiet")
    read = r"Note: in --prime, \n is a line end and \t is a tab: write \\n for a backslash and n"
    assert read in run("sample", "--prime", r"\noindent\text", "-n", "1").stderr.splitlines()
    for prime in (r"We\n", r"\\noindent"):
        assert "Note" not in run("sample", "--prime", prime, "-n", "1").stderr


def test_a_file_is_taken_as_it_is(run, tiny):
    Path("prime.txt").write_text("Der\\n\n", encoding="utf-8")
    outcome = run("sample", "--prime-file", "prime.txt", "-n", "4", "--seed", "1", "--unknown", "skip")
    assert outcome.stdout.startswith("Der\\n\n")
    assert len(outcome.stdout) == 10


def test_primes_are_read_as_the_corpus_was(run, cwd):
    lines = TEXT.replace("😀", "").replace("—", "").encode("latin1")
    Path("l1.txt").write_bytes(lines)
    Path("prime.txt").write_bytes(b"K\xe4fer\nm\xfcde")
    for name, setting in (("l1", ("--encoding", "latin1")), ("bytes", ("--bytes",))):
        run("train", "l1.txt", *SMALL, "--steps", "2", *setting, "--out", name, "--quiet")
    for given in (("--prime-file", "prime.txt"), ("--prime", "-")):
        args = (*given, "-n", "0", "--count", "2", "--separator", "|")
        decoded = run("sample", "-m", "l1", *args, input=Path("prime.txt").read_bytes())
        assert decoded.stdout == "Käfer\nmüde|Käfer\nmüde"
        as_they_are = run("sample", "-m", "bytes", *args, input=Path("prime.txt").read_bytes())
        assert as_they_are.bytes == b"K\xe4fer\nm\xfcde|K\xe4fer\nm\xfcde"
    found = run("sample", "-m", "l1", "--prime-lines", "prime.txt", "-n", "3", "--json").stdout.splitlines()
    assert [json.loads(line)["prime"] for line in found] == ["Käfer", "müde"]


def test_a_prime_that_ends_inside_a_character_of_bytes_shows_no_half_of_it(run, cwd):
    Path("han.txt").write_text("中文" * 200, encoding="utf-8")
    run("train", "han.txt", *SMALL, "--steps", "2", "--bytes", "--out", "han", "--quiet")
    Path("half.bin").write_bytes("文中".encode()[:5])
    shown = run("sample", "-m", "han", "--prime-file", "half.bin", "-n", "9", "--seed", "1").bytes
    assert shown.decode("utf-8").startswith("文")
    (told,) = run(
        "sample", "-m", "han", "--prime-file", "half.bin", "-n", "9", "--seed", "1", "--json"
    ).stdout.splitlines()
    assert json.loads(told)["prime"] + json.loads(told)["text"] == shown.decode("utf-8")


def test_without_echo_the_prime_is_not_shown(run, tiny):
    whole = run("sample", "--prime", "Der", "-n", "30", "--seed", "1").stdout
    assert run("sample", "--prime", "Der", "-n", "30", "--seed", "1", "--no-echo").stdout == whole[3:]
    both = ("sample", "--prime", "Der", "-n", "30", "--seed", "1", "--count", "2", "--separator", "|")
    with_echo, without = run(*both).stdout.split("|"), run(*both, "--no-echo").stdout.split("|")
    assert with_echo == ["Der" + text for text in without]


@pytest.mark.parametrize(("name", "end"), [("lines.txt", "\n"), ("lines.txt", "\r\n"), ("-", "\n"), ("-", "\r\n")])
def test_each_line_begins_texts(run, tiny, name, end):
    text = f"\ufeffDer{end}{end}Käfer{end}".encode()
    Path("lines.txt").write_bytes(text)
    given = {"input": text} if name == "-" else {}
    args = ("sample", "--prime-lines", name, "--count", "2", "-n", "6", "--seed", "1", "--json")
    found = [json.loads(line) for line in run(*args, **given).stdout.splitlines()]
    assert [one["prime"] for one in found] == ["Der", "Der", "", "", "Käfer", "Käfer"]
    assert [one["index"] for one in found] == list(range(6))
    assert {len(one["text"]) for one in found} == {6}


# Several texts


def test_texts_are_separated(run, tiny):
    args = ("sample", "--count", "3", "-n", "20", "--seed", "1")
    texts = run(*args, "--separator", r"\n--\n").stdout.split("\n--\n")
    assert [len(text) for text in texts] == [20, 20, 20]
    assert texts[0] == run("sample", "-n", "20", "--seed", "1").stdout
    assert run(*args).stdout == "".join(
        text.rstrip("\n") + "\n" * max(1 if at == 2 else 2, len(text) - len(text.rstrip("\n")))
        for at, text in enumerate(texts)
    )  # so that `wc -l` counts the last sample too, and one more can be appended


@pytest.mark.parametrize(
    "words",
    [
        ("--lines", "1"),
        ("--stop", r"\n"),
        ("--regex", "[A-ZK]....."),
        ("--charset", "a-z"),
        ("-n", "9", "--prime", r"Der\n", "--no-echo", "--charset", "a-z"),
    ],
    ids=" ".join,
)
def test_samples_of_one_line_each_are_separated_by_line_ends(run, tiny, words):
    texts = [
        json.loads(line)["text"].rstrip("\n")
        for line in run("sample", "--seed", "1", "--count", "3", *words, "--json").stdout.splitlines()
    ]
    assert run("sample", "--seed", "1", "--count", "3", *words).stdout.rstrip("\n").split("\n") == texts


def test_a_prime_with_a_line_end_makes_samples_of_several_lines(run, tiny):
    words = ("--prime", r"Der\n", "--count", "2", "-n", "2", "--charset", "a-z", "--seed", "1")
    assert run("sample", *words).stdout.count("\n\n") == 1


@pytest.mark.parametrize(
    ("settings", "separator", "text"),
    [
        (("--split-documents", "lines"), "\n", "one\ntwo\n"),
        (("--split-documents", "blank-lines"), "\n\n", "one\nmore\n\ntwo\n\n"),
        (("--split-documents", "files"), "\n\n", "one\ntwo\n"),
        (("--separator", "<|end|>"), "\n<|end|>\n", "one\n<|end|>\ntwo\n<|end|>\n"),
        (("--separator", r"\n---\n"), "\n---\n", "one\n---\ntwo\n---\n"),
    ],
    ids=str,
)
def test_samples_are_separated_as_documents_of_the_corpus_are(run, cwd, settings, separator, text):
    Path("text.txt").write_text(text * 60)
    run("train", "text.txt", *SMALL, "--steps", "30", *settings, "--quiet", "--val-fraction", "0")
    args = ("sample", "--documents" if "files" not in settings else "--count", "3", "-n", "5", "--seed", "1")
    texts = [json.loads(line)["text"].rstrip("\n") for line in run(*args, "--json").stdout.splitlines()]
    assert run(*args).stdout.rstrip("\n") == separator.join(texts).rstrip("\n")
    assert run(*args, "--separator", "|").stdout.count("|") == 2


def test_lines_of_json(run, tiny):
    outcome = run("sample", "--count", "3", "--json", "--prime", "Der Kä", "-n", "20", "--seed", "4", "--stop", "\n")
    found = [json.loads(line) for line in outcome.stdout.splitlines()]
    for index, one in enumerate(found):
        assert one.keys() == {"text", "logprob", "bpc", "seed", "index", "ended", "prime", "draws"}
        assert (one["seed"], one["index"], one["prime"]) == (4, index, "Der Kä")
        assert one["ended"] in ("length", "stop")
        assert one["logprob"] < 0
    assert "prime" not in run("sample", "--json", "--no-echo", "-n", "3").json


def test_json_is_utf_8_even_of_what_is_not(run, tiny):
    assert "Kä" in run("sample", "--json", "--prime", "Kä", "-n", "1").stdout
    outcome = run("sample", "--json", "--prime", "D\udcff", "-n", "1", "--unknown", "skip")
    assert outcome.json["prime"] == "D\udcff"


def test_the_best_of_several_is_likelier(run, tiny):
    args = ("sample", "--json", "--seed", "1", "-n", "30", "--count")
    drawn = [json.loads(line)["bpc"] for line in run(*args, "4").stdout.splitlines()]
    assert run(*args, "1", "--best-of", "4").json["bpc"] == min(drawn)


# Filters and constraints


def test_filters_reach_the_draw(run, tiny):
    greedy = run("sample", "--temp", "0", "-n", "60").stdout
    for filter_ in (("--top-p", "0.0001"), ("--min-p", "1"), ("--top-k", "1")):
        assert run("sample", "--temp", "1.5", "-n", "60", *filter_).stdout == greedy
    assert run("sample", "--temp", "0", "-n", "60", "--repeat-penalty", "9", "--repeat-window", "3").stdout != greedy


def test_charset_and_regex(run, tiny):
    regex = pytest.importorskip("regex")
    text = run("sample", "--charset", "a-eä", "-n", "60").stdout
    assert set(text) <= set("abcdeä")
    pattern = r"D\p{Ll}{2} .+[.!]"
    for line in run("sample", "--regex", pattern, "--count", "9", "-n", "12").stdout.splitlines():
        assert regex.fullmatch(pattern, line)
        assert len(line) <= 12


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (("--regex", r"(D)\1"), 2, "a reference to a group at position 3"),
        (("--regex", "D(?=e)"), 2, "look-around at position 1"),
        (("--regex", "(a|b)*a(a|b){30}"), 2, "make its repeats shorter"),
        (("--regex", "Ω"), 2, "matches no text of characters"),
        (("--regex", "D{9}", "-n", "8"), 2, "give -n 9 or more"),
        (("--charset", "Ω"), 2, "none of these characters is in the model's vocabulary"),
    ],
)
def test_impossible_constraints(run, tiny, args, code, says):
    pytest.importorskip("regex")
    assert says in error_line(run("sample", *args, code=code).stderr)


# Search


def test_a_beam_is_likelier_than_greedy_choices(run, tiny):
    args = ("sample", "--json", "-n", "20", "--prime", "Der")
    found = [run(*args, "--beam", width, "--length-norm", "0").json for width in ("1", "8")]
    assert found[0]["text"] == run(*args, "--temp", "0").json["text"]
    assert found[1]["logprob"] >= found[0]["logprob"]
    assert run("sample", "-n", "20", "--prime", "Der", "--beam", "8").stdout.startswith("Der")


@pytest.mark.parametrize(
    "option",
    [("--temp", "0.8"), ("--top-p", "0.9"), ("--seed", "1"), ("--documents", "1"), ("--best-of", "2")],
    ids=str,
)
def test_a_beam_takes_no_options_of_drawing(run, tiny, option):
    assert f"leave out {option[0]}" in error_line(run("sample", "--beam", "2", *option, code=2).stderr).replace(
        "--temperature", "--temp"
    )


def test_a_beam_finds_several_texts_the_best_first(run, tiny):
    Path("lines.txt").write_text("Der\nDer k\n", "utf-8")
    args = ("sample", "--prime-lines", "lines.txt", "-n", "8", "--beam", "6", "--length-norm", "0", "--json")
    best = [json.loads(line) for line in run(*args).stdout.splitlines()]
    found = [json.loads(line) for line in run(*args, "--count", "3").stdout.splitlines()]
    assert [one["prime"] for one in found] == ["Der"] * 3 + ["Der k"] * 3
    assert [one["index"] for one in found] == list(range(6))
    assert [found[0]["text"], found[3]["text"]] == [one["text"] for one in best]
    for three in (found[:3], found[3:]):
        assert len({one["text"] for one in three}) == 3
        assert sorted((one["logprob"] for one in three), reverse=True) == [one["logprob"] for one in three]
    refused = run("sample", "--beam", "2", "--count", "3", code=2).stderr
    assert error_line(refused) == "a beam of 2 finds at most 2, not 3: give --beam 3"


@pytest.mark.parametrize(
    "args",
    [
        ("--repeat-window", "100001", "--repeat-penalty", "1.1"),
        ("--beam", "1001"),
        ("--beam", "2", "--length-norm", "1e300"),
        ("--length", "9" * 26, "--beam", "2"),
        ("-m", "tiny:1", "-m", "tiny:1e308"),
    ],
    ids=lambda args: args[-2],
)
def test_absurd_numbers_are_refused(run, tiny, args):
    told = error_line(run("sample", "-n", "5", *args, code=2).stderr)
    assert " must be at most " in told or "less than 1e+09, got 1e+308" in told


def test_too_little_memory_is_no_matter_of_training(run, tiny, monkeypatch):
    def too_much(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("charrnn.generation.writer.Writer.stream", too_much)
    assert error_line(run("sample", code=1).stderr) == "not enough memory: ask for less at once"


def test_options_that_mean_nothing_by_themselves(run, tiny):
    assert "--beam" in error_line(run("sample", "--length-norm", "1", code=2).stderr)
    assert "--repeat-penalty" in error_line(run("sample", "--repeat-window", "9", code=2).stderr)
    assert "give -n" in error_line(run("sample", "--beam", "2", "-n", "-1", code=2).stderr)


def test_novel_texts_share_no_run_with_what_was_learned_from(run, tiny):
    args = ("sample", "--count", "30", "-n", "12", "--json", "--seed", "1")
    learned = TEXT[: len(TEXT) * 9 // 10]

    def copies(text, size=3):
        return any(text[at : at + size] in learned for at in range(len(text) - size + 1))

    drawn = [json.loads(line) for line in run(*args).stdout.splitlines()]
    outcome = run(*args, "--novel", "3")
    novel = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert any(copies(one["text"]) for one in drawn)
    assert not any(copies(one["text"]) for one in novel)
    for one, other in zip(drawn, novel, strict=True):
        assert (one == other) != copies(one["text"])
    again = sum(one["draws"] - 1 for one in novel)
    assert f"Redrawn: {again} of {30 + again} (" in outcome.stderr
    assert outcome == run(*args, "--novel", "3")


def test_what_cannot_be_novel_is_reported(run, tiny):
    outcome = run("sample", "--novel", "1", "-n", "5", "--best-of", "2", code=2)
    assert "in all 20 draws" in error_line(outcome.stderr)
    assert "Redrawn: 38 of 40 (95.0%) copied 1 characters of the corpus\n" in outcome.stderr
    Path("tiny.txt").unlink()
    assert "tiny.txt" in error_line(run("sample", "--novel", "9", code=2).stderr)


# Ensembles


def test_models_write_together(run, tiny):
    shutil.copy(tiny / "best.npz", "a b.npz")
    args = ("-n", "30", "--seed", "1")
    alone = run("sample", "-m", "a b.npz", *args).stdout
    mixed = run("sample", "-m", "a b.npz:0.7", "-m", f"{tiny / 'last.npz'}:3", *args)
    assert len(mixed.stdout) == 30
    assert run("sample", "-m", "a b.npz:0.7", "-m", "a b.npz:0.3", *args).stdout == alone
    assert run("sample", *args, env={"CHARRNN_MODEL": "a b.npz"}).stdout == alone


def test_models_of_different_vocabularies_do_not(run, tiny):
    Path("other.txt").write_text("one two\n" * 60)
    run("train", "other.txt", *SMALL, "--steps", "2", "--quiet")
    told = error_line(run("sample", "-m", f"{tiny}:1", "-m", "checkpoints/other:1", code=2).stderr)
    assert "different vocabularies" in told
    run("train", "other.txt", *SMALL, "--steps", "2", "--lowercase", "--out", "lower", "--quiet")  # the same symbols
    told = error_line(run("sample", "-m", "lower:1", "-m", "checkpoints/other:1", code=2).stderr)
    assert "different vocabularies" in told
    told = error_line(run("sample", "-m", f"{tiny}:1", "-m", f"{tiny}:0", code=2).stderr)
    assert "greater than 0" in told


@posix
def test_on_a_terminal_the_last_line_is_ended(tiny, terminal, command):
    args = ("sample", "--prime", "Der", "-n", "0")
    assert terminal(*args, stream="stdout").read_all() == "Der\r\n"
    assert command(*args, stdin=subprocess.DEVNULL).communicate(timeout=TIMEOUT)[0] == b"Der"


@posix
def test_on_a_terminal_what_is_reported_afterwards_has_a_line_of_its_own(tiny, terminal):
    args = ("--count", "2", "-n", "9", "--stop", "\n", "--novel", "99", "--seed", "1")
    *_, text, told, end = terminal("sample", *args, stream="stdout stderr").read_all().split("\r\n")
    assert (text[:1], told[:17], end) == ("D", "Redrawn: 0 of 2 (", "")


def test_a_unit_is_held(run, tiny):
    free = run("sample", "-n", "80", "--seed", "1").stdout
    held = run("sample", "-n", "80", "--seed", "1", "--clamp", "layer0.h[0]=9", "--clamp", "layer0.c[1]=-9").stdout
    assert len(held) == 80
    assert held != free
    several = run("sample", "-n", "80", "--seed", "1", "--clamp", "layer0.h[0]=9", "--count", "2").stdout
    assert (
        several
        == run("sample", "-n", "80", "--seed", "1", "--clamp", "layer0.h[0]=9", "--count", "2", "--threads", "2").stdout
    )


def test_a_unit_that_cannot_be_held_is_one_line(run, tiny):
    outcome = run("sample", "--clamp", "layer0.h[0]=much", code=2)
    assert (
        error_line(outcome.stderr) == "--clamp layer0.h[0]=much: this is not UNIT=NUMBER: write it as in layer0.h[5]=1"
    )


# Translation


@pytest.fixture
def translator(run, cwd, request):
    """Train a model that writes the two letters of its source in capitals, and return the options that name it."""
    pairs = [(f"{a}{b}", f"{a}{b}".upper()) for a in "abä" for b in "abä"]
    Path("pairs.txt").write_text("".join(f"{source}\t{target}\n" for source, target in pairs * 9), "utf-8")
    args = ("--split-documents", "lines", "--context", "--steps", "400", "--dropout", "0", "--val-fraction", "0")
    run("train", "pairs.txt", *SMALL, *args, "--out", "pairs", "--quiet", *getattr(request, "param", ()))
    return ("-m", "pairs/last.npz")


@pytest.mark.parametrize("translator", [(), ("--attention", "6"), ("--bytes",)], ids=str, indirect=True)
def test_lines_are_translated_in_order(run, translator):
    sources = [f"{a}{b}" for a in "äab" for b in "bäa"]
    text = "".join(f"{source}\n" for source in sources)
    expected = text.upper()
    args = ("sample", *translator, "--prime-lines")
    assert run(*args, "-", "--beam", "4", input=text.encode()).stdout == expected
    Path("sources.txt").write_text(text, "utf-8")
    assert run(*args, "sources.txt", "--beam", "1", "--threads", "2").stdout == expected
    assert run(*args, "sources.txt", "--temp", "0").stdout == expected
    assert run("sample", *translator, "--prime", "ab", "--temp", "0").stdout == "AB\n"
    Path("begun.txt").write_text("ab\tA\n", "utf-8")
    assert run(*args, "begun.txt", "--beam", "2").stdout == "B\n"  # a line may have the beginning of its target
    found = [
        json.loads(line)
        for line in run(*args, "sources.txt", "--beam", "3", "--count", "2", "--json").bytes.splitlines()
    ]
    assert [one["prime"] for one in found[::2]] == [f"{source}\t" for source in sources]
    assert [one["text"] for one in found[::2]] == [source.upper() for source in sources]
    assert {one["ended"] for one in found[::2]} == {"document"}
    scored = run("score", *translator[:2], "--context", input=b"ab\tAB\n").stdout.split("\t")
    assert float(scored[1]) == pytest.approx(found[6]["logprob"], abs=1e-4)


def test_a_translator_needs_a_text(run, translator):
    refused = error_line(run("sample", *translator, code=2).stderr)
    assert refused == "the model writes what follows a tab: give the text before it with --prime or --prime-lines"
    assert "--context scores that alone" in run("score", *translator, input=b"ab\tAB\n").stderr
    assert run("sample", *translator, "--prime-lines", "-", input=b"").bytes == b""


def test_lines_are_continued_as_they_arrive(command, tiny):
    process = command("sample", "--prime-lines", "-", "--beam", "2", "-n", "4", "--lines", "1", "--threads", "1")
    for line in (b"Der", b"Der k"):
        process.stdin.write(line + b"\n")
        process.stdin.flush()
        assert process.stdout.readline().startswith(line)
    process.stdin.close()
    assert process.wait(TIMEOUT) == 0
