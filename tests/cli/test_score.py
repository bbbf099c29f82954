"""`charrnn score`: one output line for each input line, whatever it contains."""

import contextlib
import json
import math
import os
import signal
import weakref
from pathlib import Path
from select import select

import pytest

import charrnn
from charrnn.cli.score import _scored, _scorer
from charrnn.data.items import Item

from ._material import SMALL, TEXT, TIMEOUT, error_line, posix

BUFFERED = {"PYTHONUNBUFFERED": ""}  # Python's default: only flushed output is visible
KEYS = ["line", "bpc", "logprob", "chars", "unknown", "text"]
LINES = TEXT.splitlines()
ODD = [
    "Qqqq wwww zzzz",
    "",
    "Ω",
    "Der\tKäfer",
    "Der \udcff\udc80 Käfer",
    "Der \0 Käfer",
    "ΩDer",
    "DerΩ",
    "K\tä fer",
    "D",
]


def encoded(lines: list[str]) -> bytes:
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def bpcs(lines: list[str]) -> list[float | None]:
    return [scored.bpc for scored in charrnn.load("checkpoints/tiny").score(lines)]


def test_figures_and_the_line_with_tabs_in_between(run, tiny):
    outcome = run("score", "-m", tiny / "best.npz", input=encoded(LINES + ODD))
    assert outcome.stderr == ""
    shown = [row.split(b"\t", 4) for row in outcome.bytes.removesuffix(b"\n").split(b"\n")]
    scored = list(charrnn.load(tiny).score(LINES + ODD))
    assert [row[4] for row in shown] == encoded(LINES + ODD).split(b"\n")
    for (bpc, logprob, chars, unknown, _), found in zip(shown, scored, strict=True):
        assert (int(chars), int(unknown)) == (found.chars, found.unknown)
        assert (bpc, logprob) == (
            (b"", b"") if found.logprob is None else (b"%.6f" % found.bpc, b"%.6f" % found.logprob)
        )
    assert shown[len(LINES) + 1] == [b"", b"", b"0", b"0", b""]
    assert shown[len(LINES) + 2] == [b"", b"", b"0", b"1", "Ω".encode()]
    assert [int(row[3]) for row in shown[len(LINES) :]] == [found.unknown for found in scored[len(LINES) :]]


def test_json(run, tiny):
    outcome = run("score", "--json", input=encoded(LINES[:3] + ODD))
    assert outcome.stderr == f"Model: {tiny / 'best.npz'}\n"
    shown = [json.loads(line, parse_constant=pytest.fail) for line in outcome.stdout.splitlines()]
    scored = list(charrnn.load(tiny).score(LINES[:3] + ODD))
    assert [list(row) for row in shown] == [KEYS] * len(scored)
    assert [row["text"] for row in shown] == LINES[:3] + ODD
    for number, (row, found) in enumerate(zip(shown, scored, strict=True), 1):
        assert row == pytest.approx({"line": number} | {name: getattr(found, name) for name in KEYS[1:]})
    assert shown[0]["bpc"] == pytest.approx(-shown[0]["logprob"] / math.log(2) / shown[0]["chars"])
    assert shown[4] == {"line": 5, "bpc": None, "logprob": None, "chars": 0, "unknown": 0, "text": ""}


def test_bits_of_each_character(run, tiny):
    (shown,) = [json.loads(line) for line in run("score", "--json", "--per-char", input="DerΩ").stdout.splitlines()]
    assert list(shown) == [*KEYS, "bits"]
    *text, unknown, end = shown["bits"]
    assert unknown is None
    assert sum([*text, end]) == pytest.approx(shown["bpc"] * 4)
    row = run("score", "--per-char", input="DerΩ\n\n").stdout.splitlines()
    assert row[0].split("\t")[4] == ",".join([*(f"{bit:.6f}" for bit in text), "", f"{end:.6f}"])
    assert row[1] == "\t\t0\t0\t\t"


def test_context(run, tiny):
    lines = ["Der \tKäfer", "\tKäfer", "Der ", "", "Der \t", "Der \tK\täfer"]
    shown = [json.loads(line) for line in run("score", "--context", "--json", input=encoded(lines)).stdout.splitlines()]
    pairs = [("Der ", "Käfer"), ("", "Käfer"), ("Der ", ""), ("", ""), ("Der ", ""), ("Der ", "K\täfer")]
    scored = list(charrnn.load(tiny).score(pairs))
    assert [row["text"] for row in shown] == [text for _, text in pairs]
    assert [row["logprob"] for row in shown] == [pytest.approx(found.logprob) for found in scored]
    assert [row["chars"] for row in shown] == [5, 5, 0, 0, 0, 5]
    rows = run("score", "--context", input=encoded(lines)).stdout.splitlines()
    assert [row.split("\t", 4)[4] for row in rows] == lines


@pytest.mark.parametrize("words", [["--above", "5"], ["--below", "5"], ["--above", "4.5", "--below", "5"]])
def test_lines_pass_as_they_are(run, tiny, words):
    lines = LINES[::9] + ODD
    limits = dict(zip(words[::2], map(float, words[1::2]), strict=True))
    low, high = limits.get("--above", -1), limits.get("--below", 99)
    chosen = [line for line, bpc in zip(lines, bpcs(lines), strict=True) if bpc is not None and low < bpc < high]
    assert 0 < len(chosen) < len(lines) - 2
    assert run("score", *words, input=encoded(lines)).bytes == encoded(chosen) + b"\n"
    told = run("score", *words, "--json", input=encoded(lines)).stdout.splitlines()
    assert [json.loads(line)["text"] for line in told] == chosen


@pytest.fixture
def lines_of_tiny(tiny):
    """Return lines with different scores, and the bits per character of each."""
    lines = [*dict.fromkeys(line[number % 20 :][:9] for number, line in enumerate(LINES))]
    bpc = bpcs(lines)
    assert len({*bpc}) == len(lines) > 30
    return lines, bpc


def columns(outcome) -> list[list[str]]:
    return [row.split("\t") for row in outcome.stdout.splitlines()]


def test_the_most_surprising_lines_come_first(run, tiny, lines_of_tiny):
    lines, bpc = lines_of_tiny
    by_bpc = sorted(range(len(lines)), key=lambda index: -bpc[index])
    lines = [*lines, lines[by_bpc[0]]]  # of equal ones, the earlier is first
    top = by_bpc[:4]
    assert run("score", "--top", "5", input=encoded(lines)).stdout.split("\n") == [
        *(lines[index] for index in [top[0], *top]),
        "",
    ]
    rows = columns(run("score", "--top", "3", "--below", str(bpc[top[0]]), "--with-score", input=encoded(lines)))
    assert [row[0] for row in rows] == [str(index + 1) for index in by_bpc[1:4]]
    assert [row[1] for row in rows] == [f"{bpc[index]:.6f}" for index in by_bpc[1:4]]
    found = [json.loads(row) for row in run("score", "--top", "2", "--json", input=encoded(lines)).stdout.splitlines()]
    assert [row["line"] for row in found] == [top[0] + 1, len(lines)]


@pytest.mark.parametrize("in_memory", [1 << 20, 1])
def test_a_percentage_is_a_quantile_of_all_lines(run, tiny, lines_of_tiny, monkeypatch, in_memory):
    monkeypatch.setattr("charrnn.evaluation.selection._IN_MEMORY", in_memory)
    lines, bpc = lines_of_tiny
    ranked = sorted(bpc)
    share = len(lines) // 10
    for words, keeps in (
        (["--above", "90%"], lambda value: value > ranked[-share - 1]),
        (["--below", "10%"], lambda value: value < ranked[share]),
        (
            ["--above", "50%", "--below", str(ranked[-2])],
            lambda value: ranked[(len(lines) - 1) // 2] < value < ranked[-2],
        ),
    ):
        chosen = [line for line, value in zip(lines, bpc, strict=True) if keeps(value)]
        assert share <= len(chosen) < len(lines)
        assert run("score", *words, input=encoded(lines)).bytes == encoded(chosen) + b"\n"
    assert (
        run("score", "--above", "90%", "--top", "1", input=encoded(lines)).stdout.rstrip("\n")
        == max(zip(bpc, lines, strict=True))[1]
    )


def test_a_percentage_can_be_in_a_file_of_settings(run, tiny, lines_of_tiny):
    text = encoded(lines_of_tiny[0])
    wanted = run("score", "--above", "80%", input=text).stdout
    Path("charrnn.toml").write_text('score = {above = "80%"}')
    assert run("score", input=text).stdout == wanted


def test_a_full_disk_ends_a_percentage_with_one_line(run, tiny, monkeypatch):
    class Full:
        def __init__(self, size):
            pass

        __enter__ = lambda self: self  # noqa: E731
        __exit__ = lambda *_: None  # noqa: E731

        def write(self, data):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.SpooledTemporaryFile", Full)
    assert "No space left on device: make room there" in error_line(
        run("score", "--above", "9%", input="Der", code=1).stderr
    )


def test_the_outputs_of_shards_are_the_whole(run, tiny, lines_of_tiny, monkeypatch):
    monkeypatch.setattr("charrnn.evaluation.scoring.BLOCK", 200)  # blocks and shards end in different places
    lines, _ = lines_of_tiny
    Path("a.txt").write_bytes(encoded(lines[:9]))
    Path("b.txt").write_bytes(encoded(lines[9:]))
    for words in ([], ["--json"], ["--above", "4", "--with-score"]):
        whole = run("score", *words, "a.txt", "b.txt").bytes
        for shards in (1, 3, len(lines) + 1):
            shares = [
                run("score", *words, "--shard", f"{shard}/{shards}", "a.txt", "b.txt").bytes
                for shard in range(1, shards + 1)
            ]
            assert b"".join(shares) == whole
            if shards == 3 and not words:
                assert [share.count(b"\n") for share in shares] == [(len(lines) + n) // 3 for n in range(3)]


def test_a_header_names_the_columns(run, tiny):
    assert run("score", "--header", input="Der").stdout.splitlines()[0] == "bpc\tlogprob\tchars\tunknown\ttext"
    outcome = run("score", "--header", "--top", "9", "--with-score", "--per-char", input="Der")
    first, second = columns(outcome)
    assert first == ["line", "bpc", "logprob", "chars", "unknown", "bits", "text"]
    assert len(second) == len(first)


def test_the_best_of_several_models_is_named(run, tiny):
    Path("other.txt").write_text("ABBA CABAL\n" * 200)
    run("train", "other.txt", *SMALL, "--steps", "40", "--quiet")
    models = ("-m", "other", "-m", "tiny", "--best")
    rows = columns(run("score", *models, "--header", input="Der müde Käfer\nABBA\n\nΩ"))
    assert rows[0] == ["model", "margin", "bpc", "logprob", "chars", "unknown", "text"]
    assert [row[0] for row in rows[1:]] == ["tiny", "other", "", ""]
    assert [float(row[1]) > 0 for row in rows[1:3]] == [True, True]
    assert rows[1][2:] == columns(run("score", "-m", "tiny", input="Der müde Käfer"))[0]
    found = json.loads(run("score", *models, "--json", input="ABBA").stdout)
    assert list(found) == ["line", "model", "margin", *KEYS[1:]]


ROWS = 'id,text,more\r\n1,"Der, Käfer",x\r\n2,"Der ""müde""\nKäfer"\r\n\r\n3,ΩΩ,y'
OBJECTS = '{"text": "Der \\u00e9", "n": 1.0e5}\n\n {"n":[{}], "text":"K"}'


def test_scores_are_added_to_rows(run, tiny):
    Path("a.csv").write_bytes(f"\ufeff{ROWS}".encode())
    texts = ["Der, Käfer", 'Der "müde"\nKäfer', "ΩΩ"]
    cells = [
        f"{'' if one.bpc is None else f'{one.bpc:.6f},{one.logprob:.6f}'},{one.chars},{one.unknown}"
        for one in charrnn.load("tiny").score(texts)
    ]
    scored = (
        "id,text,more,bpc,logprob,chars,unknown\r\n"
        f'1,"Der, Käfer",x,{cells[0]}\r\n2,"Der ""müde""\nKäfer",,{cells[1]}\r\n3,ΩΩ,y,,{cells[2]}\r\n'
    )
    assert run("score", "--field", "text", "a.csv").bytes.decode() == scored
    shares = [run("score", "--field", "text", "--shard", f"{shard}/2", "a.csv").bytes for shard in (1, 2)]
    assert b"".join(shares).decode() == scored
    shares = [run("score", "--field", "text", "--shard", f"{shard}/9", "a.csv").bytes for shard in range(1, 10)]
    assert b"".join(shares).decode() == scored
    (row,) = [row for row in scored.splitlines() if row.startswith("1,")]
    outcome = run("score", "--field", "text", "a.csv", "--below", "9", "--top", "9", "--with-score")
    assert "id,text,more,line,bpc" in outcome.stdout
    assert row.replace(",x,", ",x,1,") in outcome.stdout
    kept = run("score", "--field", "text", "a.csv", "--top", "9").bytes.decode()
    assert kept.splitlines()[0] == "id,text,more"
    assert sorted(kept.splitlines()[1:]) == sorted(['1,"Der, Käfer",x', '2,"Der ""müde""', 'Käfer"'])


def test_a_quote_in_tsv_is_a_character(run, tiny):
    Path("a.tsv").write_text('text\tid\n"K\t1\n')
    outcome = run("score", "--field", "text", "a.tsv")
    assert [row.split("\t")[:2] for row in outcome.stdout.splitlines()] == [["text", "id"], ['"K', "1"]]
    assert outcome.stdout.splitlines()[1].endswith("\t2\t1")


def test_scores_are_added_to_objects(run, tiny):
    one, two = charrnn.load("tiny").score(["Der é", "K"])
    shown = run("score", "--field", "text", input=OBJECTS).stdout.splitlines()
    assert shown[0].startswith('{"text": "Der \\u00e9", "n": 1.0e5, "bpc": ')
    assert [*json.loads(shown[1])] == ["n", "text", "bpc", "logprob", "chars", "unknown"]
    assert [json.loads(row)["bpc"] for row in shown] == pytest.approx([one.bpc, two.bpc])
    assert [json.loads(row)["unknown"] for row in shown] == [1, 0]
    kept = run("score", "--field", "text", "--top", "1", input=OBJECTS).stdout
    assert kept in ('{"text": "Der \\u00e9", "n": 1.0e5}\n', '{"n":[{}], "text":"K"}\n')


def test_bytes_of_a_record_that_are_no_text_stay_as_they_are(run, tiny):
    (shown,) = run("score", "--field", "text", input=b'{"text": "D\xff"}').bytes.splitlines()
    assert shown.startswith(b'{"text": "D\xff", "bpc": ')
    assert b'"unknown": 1' in shown


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"a.csv": "text\nDer\n", "b.csv": "text,id\nDer,1\n"}, "b.csv has other columns than a.csv"),
        ({"a.csv": "text,bpc\nDer,1\n"}, "have a field 'bpc' already: rename it"),
        ({"a.jsonl": '{"text": "Der", "bpc": 1}'}, "have a field 'bpc' already: rename it"),
        ({"a.csv": "text\nDer,1\n"}, "line 2: the row has 2 cells, but the header has 1"),
        ({"a.csv": "id\nDer\n"}, "has no column 'text'"),
        ({"a.csv": ""}, "has no column 'text'"),
    ],
)
def test_records_that_cannot_be_scored_are_refused(run, tiny, files, says):
    for name, text in files.items():
        Path(name).write_text(text)
    assert says in error_line(run("score", "--field", "text", *files, code=2).stderr)


def test_a_run_in_place_of_a_text_is_named_with_m(run, tiny):
    for name in ("tiny", "checkpoints/tiny", str(tiny / "best.npz")):
        for words in (["score"], ["eval"]):
            assert f"{name} is a model, not a text: give the model as -m {name}" in error_line(
                run(*words, name, code=2).stderr
            )


def test_runs_in_a_folder_are_left_out(run, tiny):
    outcome = run("score", ".", "-m", tiny / "best.npz")
    assert outcome.stdout.count("\n") == len(LINES)
    assert "Note: left out 1 run: " in outcome.stderr


def test_long_work_is_reported_where_there_is_no_bar(run, tiny, monkeypatch):
    monkeypatch.setattr("charrnn.cli._bars._NOTE_EVERY", 0)
    monkeypatch.setattr("charrnn.evaluation.scoring.BLOCK", 1000)
    for words in ([], ["-m", "tiny", "-m", "tiny", "--best"]):
        notes = [line for line in run("score", "tiny.txt", *words).stderr.splitlines() if line.startswith("Scored")]
        shares = [int(line.split("%")[0].removeprefix("Scored ")) for line in notes]
        assert len(shares) >= 3
        assert shares == sorted(shares)
        assert 90 < shares[-1] <= 100
        assert notes[-1].endswith("% of 0.0 MB")
    assert "Scored 0.0 MB" in run("score", input="Der").stderr
    assert "Scored" not in run("score", "--line-buffered", input="Der").stderr


def test_a_shard_ends_at_all_of_its_share(run, tiny, monkeypatch):
    monkeypatch.setattr("charrnn.cli._bars._NOTE_EVERY", 0)
    monkeypatch.setattr("charrnn.evaluation.scoring.BLOCK", 400)  # scored whole, beyond the shard
    lines = ["x" * 30] * 10 + ["x" * 90] * 10  # lines of the last shards are longer
    Path("long.txt").write_text("".join(f"{line}{n % 7}\n" for n, line in enumerate(lines)), "utf-8")
    for shard in (1, 2, 3):
        notes = run("score", "--shard", f"{shard}/3", "long.txt").stderr.splitlines()
        assert notes[-1] == "Scored 100% of 0.0 MB"


def test_files_and_standard_input(run, tiny):
    Path("a.txt").write_text("Der\n")
    Path("b.txt").write_text("Käfer", encoding="utf-8")
    told = run("score", "b.txt", "-", "a.txt", input="brummt").stdout.splitlines()
    assert [line.split("\t")[4] for line in told] == ["Käfer", "brummt", "Der"]


def test_bytes_that_are_no_text_are_bytes_to_a_model_of_bytes(run, corpus):
    run("train", corpus, "--bytes", *SMALL, "--steps", "1", "--quiet")
    told = [json.loads(line) for line in run("score", "--json", input=b"\xff\0\xc3\xa4\nab").stdout.splitlines()]
    assert [(row["chars"], row["unknown"], row["text"]) for row in told] == [(5, 0, "\udcff\0ä"), (3, 0, "ab")]


def test_lines_are_in_the_encoding_of_the_corpus(run):
    Path("latin.txt").write_bytes(TEXT.replace("—", "-").replace("😀", ":").encode("latin-1"))
    run("train", "latin.txt", "--encoding", "latin-1", *SMALL, "--steps", "1", "--quiet")
    outcome = run("score", input="Käfer".encode("latin-1"))
    assert outcome.bytes.split(b"\t")[2:] == [b"6", b"0", b"K\xe4fer\n"]
    Path("wide.txt").write_bytes(TEXT.encode("utf-16"))
    run("train", "wide.txt", "--encoding", "utf-16", *SMALL, "--steps", "1", "--quiet")
    assert run("score", "-m", "checkpoints/wide", input="Käfer").stdout.split("\t")[2:] == ["6", "0", "Käfer\n"]


def test_what_other_systems_put_around_lines_is_no_part_of_them(run, tiny):
    plain, there = "Der\nKäfer\n", "\ufeffDer\r\nKäfer\r\n"
    assert run("score", "--json", input=there) == run("score", "--json", input=plain)
    assert run("score", "--above", "0", input=there).stdout == there


@pytest.mark.parametrize("more", [(), ("--bytes",)])
def test_a_model_that_learned_them_scores_them(run, more):
    Path("there.txt").write_bytes(TEXT.replace("\n", "\r\n\ufeff").encode())
    run("train", "there.txt", *more, *SMALL, "--steps", "1", "--quiet")
    found = json.loads(run("score", "--json", input="\ufeffDer\r\n").stdout)
    assert (found["text"], found["chars"], found["unknown"]) == ("\ufeffDer\r", 8 if more else 6, 0)


@pytest.mark.parametrize("words", [[], ["--json"], ["--above", "1"], ["--context"], ["--line-buffered"]])
def test_no_lines_in_no_lines_out(run, tiny, words):
    assert run("score", *words, input="").bytes == b""


def test_a_line_longer_than_all_buffers(run, tiny, monkeypatch):
    monkeypatch.setattr("charrnn.evaluation.scoring.BLOCK", 1000)
    monkeypatch.setattr("charrnn.data.files.CHUNK", 999)
    line = "Der kleine Käfer brummt. " * 500
    told = [json.loads(row) for row in run("score", "--json", input=f"Der\n{line}\nKäfer").stdout.splitlines()]
    assert [row["text"] for row in told] == ["Der", line, "Käfer"]
    assert told[1]["chars"] == len(line) + 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--above", "5", "--below", "3"], "change one"),
        (["--above", "3", "--per-char"], "--json"),
        (["--follow"], "name it"),
        (["--follow", "-"], "name it"),
        (["--follow", "a", "b"], "name it"),
        (["--above", "100%"], "change one"),
        (["--above", "9%", "--below", "9%"], "change one"),
        (["--above", "101%"], "from 0% to 100%"),
        (["--above", "x%"], "from 0% to 100%"),
        (["--above", "9%", "--follow", "tiny.txt"], "as numbers"),
        (["--below", "9%", "--line-buffered"], "as numbers"),
        (["--below", "9%", "--shard", "1/2", "tiny.txt"], "as numbers"),
        (["--top", "3", "--shard", "1/2", "tiny.txt"], "leave out --top or --shard"),
        (["--header", "--shard", "1/2", "tiny.txt"], "leave out --header or --shard"),
        (["--follow", "tiny.txt", "--top", "3"], "needs all lines"),
        (["--line-buffered", "--shard", "1/2", "tiny.txt"], "needs all lines"),
        (["--shard", "3/2"], "such as 2/8"),
        (["--shard", "0/2"], "such as 2/8"),
        (["--shard", "2"], "such as 2/8"),
        (["--shard", "1/2"], "not standard input: name a file"),
        (["--with-score"], "leave it out"),
        (["--top", "2", "--header"], "give --with-score too"),
        (["--json", "--header"], "--json has no header"),
        (["--json", "--field", "a"], "leave out --json"),
        (["--field", "a", "--header"], "keeps the header"),
        (["--top", "2", "--json", "--with-score"], "leave out --with-score"),
        (["--best"], "give it with -m A -m B"),
        (["-m", "tiny", "-m", "tiny"], "give it with -m A -m B"),
    ],
)
def test_what_contradicts_itself_is_refused(run, tiny, words, says):
    assert says in error_line(run("score", *words, code=2).stderr)


@pytest.mark.parametrize("words", [[], ["--line-buffered"]])
def test_a_file_that_is_missing_is_named_and_the_lines_before_it_are_reported(run, tiny, words):
    Path("a.txt").write_text("Der\n")
    outcome = run("score", *words, "a.txt", "missing.txt", code=2)
    assert "missing.txt does not exist" in error_line(outcome.stderr)
    assert outcome.stdout.endswith("\tDer\n")


def told(process) -> str:
    """Return the text of the next line that the process prints, and check that no other follows."""
    assert select([process.stdout], [], [], TIMEOUT)[0], "nothing is told"
    return process.stdout.readline().decode().rstrip("\n").split("\t")[4]


@pytest.mark.parametrize("models", [1, 2])
def test_blocks_that_were_scored_are_freed(tiny, models):
    class Block(list):
        pass

    made = []

    def blocks():
        for _ in range(9):
            block = Block([Item(1, b"Der")])
            made.append(weakref.ref(block))
            yield block

    model = charrnn.load(tiny)
    for rows in _scored([_scorer("tiny", model, False, False)] * models, blocks()):
        assert [row.item.text for row in rows] == [b"Der"]
        assert sum(ref() is not None for ref in made) <= 2
    assert len(made) == 9


def interrupted(process) -> bytes:
    """Send Ctrl-C to a waiting process; return its standard error."""
    process.send_signal(signal.SIGINT)
    process.stdin.close()  # so that it wakes even where the signal came in the instant before it began to wait
    assert process.wait(TIMEOUT) == 130
    return process.stderr.read()


@posix
def test_line_buffered_waits_for_no_second_line(command, tiny):
    process = command("score", "--line-buffered", "-m", str(tiny), env=BUFFERED)
    for line in (b"Der", b"", b"K\xc3\xa4fer"):
        process.stdin.write(line + b"\n")
        process.stdin.flush()
        assert told(process) == line.decode()
    assert interrupted(process) == b"Model: checkpoints/tiny/best.npz\nStopped.\n"


@posix
def test_a_file_is_followed_and_ctrl_c_ends_it(command, tiny):
    log = Path("log")
    log.write_bytes(b"Der\nK")
    process = command("score", "--follow", "log", "-m", str(tiny), env=BUFFERED)
    assert told(process) == "Der"
    with open(log, "ab") as file:
        file.write("äfer\n".encode())
    assert told(process) == "Käfer"
    assert interrupted(process) == b"Model: checkpoints/tiny/best.npz\nStopped.\n"


@posix
def test_lines_from_a_terminal_are_reported_at_once(command, tiny):
    pty = pytest.importorskip("pty")
    master, slave = pty.openpty()
    process = command("score", "-m", str(tiny), stdin=slave, env=BUFFERED)
    os.close(slave)
    os.write(master, b"Der\n")
    assert told(process) == "Der"
    os.write(master, b"\x04")
    process.communicate(timeout=TIMEOUT)
    os.close(master)
    assert process.returncode == 0


@posix
def test_a_reader_that_has_enough_ends_an_endless_input(command, tiny):
    ours, theirs = os.pipe()
    process = command("score", "--line-buffered", "-m", str(tiny), stdin=ours, env=BUFFERED)
    os.close(ours)
    with open(theirs, "wb", buffering=0) as endless:
        endless.write(b"Der\n")
        assert told(process) == "Der"
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            while True:
                endless.write(b"Der\n")
    assert process.wait(TIMEOUT) == 0
    assert process.stderr.read() == b"Model: checkpoints/tiny/best.npz\n"
