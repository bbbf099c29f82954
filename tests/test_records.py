"""The runs of docs/results.md: which are made, which count, and the page."""

import json
import subprocess
import sys
from dataclasses import asdict, replace

import pytest
from click.testing import CliRunner

from benchmarks import kept
from benchmarks.records import __main__ as command
from benchmarks.records.rows import ROWS, SPLIT, Row
from benchmarks.records.runs import ATTEMPTS, Run, _course, counting, fill, is_slow, make, median_run, share
from benchmarks.speed.cases import Case
from charrnn.config import TextConfig, TrainConfig, text_and_train_settings
from charrnn.data.corpus import Corpus
from charrnn.nn.compiled import variant

SHORT, LONG = ROWS[0], ROWS[1]
TESTED = next(row for row in ROWS if row.text == "irish_abc.txt")
NAMED = next(row for row in ROWS if row.text == "names.txt")
MODEL = {"cell": "lstm", "num_layers": 1, "hidden_size": 224, "embed_size": 0, "dropout": 0.3, "weight_drop": 0.0}
BASELINES = {"n": 8} | {
    name: {"bpc": bits} for name, bits in (("ngram", 2.6), ("gzip", 3), ("bzip2", 2.5), ("xz", 2.4))
}


def fake(row, seed, loss=1.6, gflops=(200.0, 200.0), pace=1e10, **changes):
    """Return an invented run; all its scores derive from one loss. The memory gains 0.1 nats."""

    def figures(nats):
        return {"nats_per_char": nats, "bpc": nats * 1.5}

    scores = {
        name: figures(loss + extra) | {"memory": figures(loss + extra - 0.1)}
        for name, extra in (("whole", 0.0), ("windows", 0.02), ("test", 0.1))
        if name in row.scores
    }
    if "test" in scores:
        scores["test"]["baselines"] = BASELINES
    facts = {
        "row": row.name,
        "seed": seed,
        "command": " ".join(("charrnn", *row.train(seed))),
        "text_sha256": "0123456789abcdef",
        "scores": scores,
        "model": {
            "cell": "lstm",
            "num_layers": 1,
            "hidden_size": 224,
            "embed_size": 0,
            "dropout": 0.3,
            "weight_drop": 0.0,
        },
        "train": {"learning_rate": 0.01, "average": 0.99, "threads": 2},
        "parameters": 274_000,
        "best_step": 900,
        "steps": 1000,
        "passes": 3.2,
        "chars": 3_200_000,
        "seconds": 60 * row.minutes,
        "training_seconds": 57.0 * row.minutes,
        "pace": pace,
        "fast_pace": pace,
        "curve": [[20.0 * row.minutes, loss + 0.3], [57.0 * row.minutes, loss]],
        "gflops": list(gflops),
        "processor": "Abacus",
        "cores": 2,
        "system": "linux x86_64",
        "versions": {"numpy": "2.4.6"},
        "code": "abc1234",
    }
    return Run(**facts | changes)


class Making:
    """Makes invented runs, of which those given are slow; records each request."""

    def __init__(self, *slow):
        self.asked, self.slow = [], list(slow)

    def __call__(self, row, seed):
        self.asked.append((row, seed))
        if (row, seed) in self.slow:
            self.slow.remove((row, seed))
            return fake(row, seed, gflops=(200.0, 150.0))
        return fake(row, seed)


def test_existing_runs_are_not_repeated():
    runs, making, saved = [fake(SHORT, 1), fake(LONG, 2)], Making(), []
    fill([SHORT, LONG], 2, runs, making, saved.append)
    assert making.asked == [(LONG, 1), (SHORT, 2)]  # seed by seed, so that each row soon has one
    assert [(run.row, run.seed) for run in saved] == [(LONG.name, 1), (SHORT.name, 2)]
    assert len(runs) == 4
    fill([SHORT, LONG], 2, runs, making, saved.append)
    assert len(making.asked) == 2


def test_an_interrupted_call_continues_where_it_stopped():
    def stop(run):
        if len(runs) == 2:
            raise KeyboardInterrupt

    runs, making = [], Making()
    with pytest.raises(KeyboardInterrupt):
        fill([SHORT, LONG], 2, runs, making, stop)
    fill([SHORT, LONG], 2, runs, making, stop)
    assert making.asked == [(SHORT, 1), (LONG, 1), (SHORT, 2), (LONG, 2)]


def test_a_slow_run_is_made_again_after_all_others():
    runs, making = [], Making((SHORT, 1))
    fill([SHORT, LONG], 1, runs, making, bool)
    assert making.asked == [(SHORT, 1), (LONG, 1), (SHORT, 1)]
    assert counting(SHORT, runs) == [runs[2]]


def test_a_run_that_stays_slow_is_given_up_for_now():
    runs, making = [fake(LONG, 1)], Making(*[(SHORT, 1)] * 9)
    fill([SHORT, LONG], 1, runs, making, bool)
    assert making.asked == [(SHORT, 1)] * ATTEMPTS
    assert is_slow(*counting(SHORT, runs), runs)
    fill([SHORT, LONG], 1, runs, making, bool)
    assert len(making.asked) == 2 * ATTEMPTS


def test_the_reference_is_the_highest_rate_of_the_processor():
    first = fake(SHORT, 1, gflops=(150.0, 158.0))
    assert share(first, [first]) == pytest.approx(150 / 158)
    assert is_slow(first, [first, fake(LONG, 1, gflops=(200.0, 180.0))])  # found out later
    assert not is_slow(first, [first, replace(fake(LONG, 1), processor="Another")])
    assert not is_slow(first, [first, replace(fake(LONG, 1), cores=16)])
    assert not is_slow(fake(LONG, 2, gflops=(161.0, 200.0)), [fake(LONG, 1), fake(LONG, 2, gflops=(161.0, 200.0))])


def test_a_run_that_trained_slowly_is_slow_too():
    slow = fake(SHORT, 2, pace=0.79e10)
    assert is_slow(slow, [slow, fake(SHORT, 1)])
    assert not is_slow(slow, [slow, fake(LONG, 1)])  # a larger model does other work a second
    within = fake(SHORT, 3, pace=0.7e10, fast_pace=1e10)
    assert is_slow(within, [within])


def test_of_several_runs_with_one_seed_the_fastest_counts_and_not_the_best():
    best, fastest = fake(SHORT, 1, loss=1.4, gflops=(100.0, 100.0)), fake(SHORT, 1, loss=1.9, gflops=(120.0, 150.0))
    others = [fake(SHORT, 2), fake(LONG, 1)]
    assert counting(SHORT, [best, fastest, *others]) == [fastest, others[0]]
    assert counting(SHORT, [fastest, best, *others]) == [fastest, others[0]]


@pytest.mark.parametrize(
    ("losses", "chosen"), [([1.5], 1.5), ([1.5, 1.4], 1.5), ([1.5, 1.4, 1.6], 1.5), ([1.7, 1.4, 1.6, 1.5], 1.6)]
)
def test_the_median_seed_is_a_run_and_of_two_the_worse(losses, chosen):
    runs = [fake(SHORT, seed, loss) for seed, loss in enumerate(losses)]
    assert median_run(runs).loss == chosen


def test_seeds_are_ordered_by_the_test_split_if_there_is_one():
    assert fake(TESTED, 1, 1.5).loss == pytest.approx(1.6)
    assert fake(SHORT, 1, 1.5).loss == 1.5


def test_the_commands_are_those_of_the_issue():
    ten, without = (row for row in ROWS if row.minutes == 10)
    assert ten.command(3) == "charrnn train tinyshakespeare.txt --minutes 10 --seed 3"
    assert without.command(3) == f"CHARRNN_COMPILED=0 {ten.command(3)}"
    assert without.name == "tinyshakespeare, 10 minutes, NumPy"
    split = "train irish_abc.txt --minutes 5 --val-fraction 0.05 --test-fraction 0.05 --seed 1"
    assert " ".join(TESTED.train(1)) == split
    assert SHORT.scores == ("whole", "windows")
    assert TESTED.scores == ("whole", "windows", "test")
    assert NAMED.scores == ("whole",)
    assert len({row.name for row in ROWS}) == len(ROWS)


def page(runs, seeds=3, picture=None):
    from benchmarks.records.report import document

    return document(ROWS, runs, seeds, picture)


def line_of(text, start, number=0, of=1):
    lines = [line for line in text.splitlines() if line.startswith(f"| {start} |")]
    assert len(lines) == of
    return [cell.strip() for cell in lines[number].strip("|").split("|")]


def without_memory(run, *, off):
    """Return the run as it is with a memory that is off, or from a version without memories."""
    own = {
        score: {name: figures[name] for name in figures if name != "memory"} for score, figures in run.scores.items()
    }
    return replace(
        run, scores={score: figures | {"memory": None} if off else figures for score, figures in own.items()}
    )


def test_the_page_shows_the_median_with_its_spread_against_its_bar():
    text = page([fake(LONG, 1, 1.56), fake(LONG, 2, 1.51), fake(LONG, 3, 1.54), fake(SHORT, 1, 1.75)])
    alone, memory = ["**1.5400**", "1.5100 to 1.5600", "1.5500"], ["1.4400", "1.4100 to 1.4600", "1.3600"]
    assert line_of(text, "3 minutes", 0, 2) == ["3 minutes", *alone, *memory, "3"]
    alone, memory = ["**1.5600**", "1.5300 to 1.5800", "1.5800"], ["1.4600", "1.4300 to 1.4800", "1.4400"]
    assert line_of(text, "3 minutes", 1, 2) == ["3 minutes", *alone, *memory, "3"]
    alone, memory = ["1.7500", "1.7500 to 1.7500", "1.7000"], ["1.6500", "1.6500 to 1.6500", "–"]
    assert line_of(text, "1 minute", 0, 2) == ["1 minute", *alone, *memory, "1 of 3 so far"]
    none = ["10 minutes", "–", "–", "1.4550", "–", "–", "1.3300", "0 of 3 so far"]
    assert line_of(text, "10 minutes", 0, 2) == none


def test_a_memory_that_is_off_has_the_figure_of_the_net_and_one_that_there_was_not_has_none():
    off, none = (without_memory(fake(LONG, 1, 1.3), off=off) for off in (True, False))
    same = ["**1.3000**", "1.3000 to 1.3000", "1.3600"]
    assert line_of(page([off], 1), "3 minutes", 0, 2) == ["3 minutes", *same[:2], "1.5500", *same, "1"]
    assert line_of(page([none], 1), "3 minutes", 0, 2)[4:] == ["–", "–", "1.3600", "1"]
    assert line_of(page([none], 1), f"`{none.command}`")[1:4] == ["1.3000; –", "1.3200; –", "–"]


def test_the_page_shows_the_names_in_nats():
    figures = ["**1.9100**", "1.9100 to 1.9100", "1.9200", "**1.8100**", "1.8100 to 1.8100", "1.9100"]
    assert line_of(page([fake(NAMED, 1, 1.91)], 1), "5 minutes") == ["5 minutes", *figures, "1"]


def test_the_page_shows_the_test_split_beside_the_ngrams_and_the_compressors():
    text = page([fake(TESTED, seed, 1.6 + seed / 100) for seed in (1, 2, 3)])
    beside = ["2.600 (n = 8)", "3.000, 2.500, 2.400", "2.430; 2.280", "2.460; 2.310", "3"]
    figures = ["**2.580**", "2.565 to 2.595", "2.592", "2.430", "2.415 to 2.445", "1.600"]
    assert line_of(text, "irish_abc, 5 minutes") == ["irish_abc, 5 minutes", *figures, *beside]
    assert " n-gram | gzip, bzip2, xz | validation, whole; with memory |" in text
    assert "charrnn eval -m checkpoints/irish_abc --protocol whole --test --baselines\n" in text


def test_the_page_names_every_run_that_counts_and_its_machine():
    slow, again = fake(LONG, 1, gflops=(90.0, 200.0)), fake(LONG, 2, gflops=(80.0, 200.0))
    text = page([fake(SHORT, 1), slow, again, fake(LONG, 2), replace(fake(LONG, 3), cores=16)])
    assert line_of(text, "`charrnn train tinyshakespeare.txt --minutes 1 --seed 1`") == [
        "`charrnn train tinyshakespeare.txt --minutes 1 --seed 1`",
        "1.6000; 1.5000",
        "1.6200; 1.5200",
        "–",
        "lstm 1x224, dropout 0.3, learning rate 0.01, average 0.99",
        "274,000",
        "900 of 1,000",
        "3,200,000 (3.2 passes)",
        "60",
        "200, 200",
        "100 %",
        "1",
    ]
    assert line_of(text, f"`{slow.command}`")[-3:] == ["90, 200", "45 % (slow)", "1"]
    assert line_of(text, "3 minutes", 0, 2)[-1] == "3; 1 on a slow machine"
    assert "1. Abacus, 2 cores, 2 used, linux x86_64; numpy 2.4.6, code of abc1234\n2. Abacus, 16 cores" in text
    assert "SHA-256 of their bytes: tinyshakespeare.txt 01234567." in text
    assert text.endswith("Not shown: 1 run that was made again.\n")


def test_the_page_links_the_picture_if_there_is_one():
    assert "](results.svg)" in page([], picture="results.svg")
    assert "](results.svg)" not in page([])


def test_the_picture_shows_every_row_that_ran(tmp_path):
    pytest.importorskip("matplotlib")
    from benchmarks.records.picture import draw

    path = tmp_path / "curves.svg"
    draw(ROWS, [], path)
    assert not path.exists()
    draw(ROWS, [fake(SHORT, 1), fake(LONG, 1), fake(LONG, 2), fake(TESTED, 1)], path)
    first = path.read_bytes()
    for part in (b"1 minute: 1.6000 (1.5000)", b"irish_abc, 5 minutes", b"8-gram, test 2.600", b"with memory 2.400"):
        assert part in first
    draw(ROWS, [fake(SHORT, 1), fake(LONG, 1), fake(LONG, 2), fake(TESTED, 1)], path)
    assert path.read_bytes() == first
    draw(ROWS, [without_memory(fake(row, 1), off=False) for row in (SHORT, TESTED)], path)
    assert b"1 minute: 1.6000<" in path.read_bytes()
    assert b"with memory 2" not in path.read_bytes()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a Git repository with a text, in which runs are invented instead of made."""
    monkeypatch.chdir(tmp_path)
    for row in (SHORT, TESTED):
        (tmp_path / row.text).write_text("to be or not to be", encoding="utf-8")
    for words in (["init", "--quiet"], ["config", "user.name", "n"], ["config", "user.email", "n@example.org"]):
        subprocess.run(["git", *words], check=True)
    monkeypatch.setattr(command, "make", lambda row, seed, texts: fake(row, seed))
    monkeypatch.setattr(command, "set_kernel", lambda: None)
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)
    return tmp_path


def call(*words):
    return CliRunner().invoke(command.main, [".", "--json", "results.json", *words])


def log():
    done = subprocess.run(["git", "log", "--format=%s", "--name-only"], capture_output=True, text=True, check=True)
    return done.stdout.split("\n\n")


def test_each_run_is_kept_and_committed_as_it_comes(folder):
    (folder / "mine.txt").write_text("not to be committed")
    subprocess.run(["git", "add", "mine.txt"], check=True)
    done = call("--write", "results.md", "--rows", "1 minute", "--seeds", "2", "--commit")
    assert done.exit_code == 0, done.output
    runs = [Run(**row) for row in kept.load(folder / "results.json")]
    assert runs == [fake(SHORT, 1), fake(SHORT, 2)]
    assert "| 1 minute | **1.6000** |" in (folder / "results.md").read_text(encoding="utf-8")
    subjects = [line for line in "\n".join(log()).splitlines() if line.startswith("Results")]
    assert subjects == [f"Results: tinyshakespeare, 1 minute, seed {seed}" for seed in (2, 1)]
    assert "mine.txt" not in "\n".join(log())
    again = call("--write", "results.md", "--rows", "1 minute", "--seeds", "2", "--commit")
    assert (again.exit_code, len(kept.load(folder / "results.json"))) == (0, 2)


def test_a_refused_commit_does_not_stop_the_runs(folder):
    hook = folder / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho no >&2\nexit 1\n")
    hook.chmod(0o755)
    done = call("--rows", "1 minute", "--seeds", "2", "--commit")
    assert (done.exit_code, done.output.count("not committed: no")) == (0, 2)


def test_errors_are_one_line(folder):
    assert call("--rows", "3 minutes", "--seeds", "1").exit_code == 0
    missing = call("--rows", "tang")
    assert (missing.exit_code, missing.output.count("\n")) == (1, 1)
    assert "lacks tang_poems_zh.txt" in missing.output
    assert "no row is called like 'x'" in call("--rows", "x").output


def test_the_commands_kernels_can_be_set_since_numpy_is_not_loaded_yet():
    subprocess.run(
        [sys.executable, "-c", "import benchmarks.records.__main__, sys; assert 'numpy' not in sys.modules"], check=True
    )


def test_the_rate_counts_the_operations_of_all_products():
    from benchmarks.records.rate import operations

    assert operations(Case("evaluate", "lstm", 1, 2, 3, 5)) == 2 * 5 * 3 * 2 * (8 + 65)


def test_the_characters_of_a_run_are_those_of_its_own_shuffle(tmp_path):
    (tmp_path / "text.txt").write_text("".join("ab" * size + "\n" for size in range(1, 40)))
    text = TextConfig(split_documents="lines", shuffle_documents=True, val_documents=20)
    train = text_and_train_settings(text, TrainConfig(steps=1, seed=3, batch_size=1, seq_len=10_000))
    log = [{"step": 1, "epoch": 1.0, "seconds": 1.0, "chars_per_second": 9.0, "val_loss": None}]
    model = {"vocab_size": 3, "hidden_size": 4}
    chars = _course(log, {"train": train, "model": model}, tmp_path / "text.txt")["chars"]
    corpora = [Corpus.read(str(tmp_path / "text.txt"), text, seed=seed) for seed in (3, 0)]
    assert chars == len(corpora[0].train) - 1 != len(corpora[1].train) - 1


@pytest.mark.slow
@pytest.mark.parametrize("compiled", [False, True])
def test_a_run_is_made_by_the_real_commands(compiled, tmp_path):
    if compiled and variant() is None:
        pytest.skip("charrnn has no compiled core here")
    row = Row("boats.txt", 0.05, SPLIT, compiled=compiled)
    text = "".join(f"{count} {colour} boats\n" for count in range(500) for colour in ("red", "blue", "grey", "green"))
    (tmp_path / row.text).write_text(text, encoding="utf-8")
    run = make(row, 1, tmp_path)
    assert Run(**json.loads(json.dumps(asdict(run)))) == run
    command = "charrnn train boats.txt --minutes 0.05 --val-fraction 0.05 --test-fraction 0.05 --seed 1"
    assert run.command == (command if compiled else f"CHARRNN_COMPILED=0 {command}")
    assert ("core" in run.versions) == compiled
    assert run.scores.keys() == {"whole", "windows", "test"}
    assert all(
        not {"by_position", "chars_per_second"} & (score["memory"] or score).keys() for score in run.scores.values()
    )
    assert "protocol:windows" in run.scores["windows"]["signature"]
    assert run.scores["test"]["chars"] == pytest.approx(0.05 * len(text), abs=1)
    assert run.scores["test"]["baselines"]["n"] >= 1
    assert run.curve[-1][0] <= run.training_seconds < run.seconds
    assert run.chars == pytest.approx(run.passes * 0.9 * len(text), rel=0.05)
    assert min(run.pace, run.fast_pace, *run.gflops) > 0
    assert [path.name for path in tmp_path.iterdir()] == [row.text]  # nothing is left beside the text
