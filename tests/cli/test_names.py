"""What hands type: aliases that work and stay hidden, forms of numbers, and hints for what does not exist."""

import re
from pathlib import Path

import pytest

from charrnn.cli._names import COMMAND_ALIASES
from charrnn.wording import OPTION_ALIASES

from ._material import SMALL, error_line, meta

QUICK = ("--steps", "2", "--quiet", "--out", "new")


@pytest.mark.parametrize(
    ("args", "name", "value"),
    [
        (("--lr", "0.5"), "learning_rate", 0.5),
        (("--layers", "2"), "num_layers", 2),
        (("--hidden", "7"), "hidden_size", 7),
        (("--batch", "3"), "batch_size", 3),
        (("--cell", "GRU"), "cell", "gru"),
        (("--Hidden_Size", "7"), "hidden_size", 7),
        (("--eval-every", "1e0"), "eval_every", 1),
    ],
    ids=str,
)
def test_an_alias_sets_what_its_flag_sets(run, corpus, args, name, value):
    run("train", corpus, "--seq-len", "10", "--hidden-size", "8", *args, *QUICK)
    stored = meta(Path("new/last.npz"))
    assert (stored["model"] | stored["train"])[name] == value


def test_out_and_length_in_their_short_forms(run, corpus):
    printed = run("train", corpus, *SMALL, "--steps", "1e1", "-o", "short").stderr
    assert meta(Path("short/last.npz"))["step"] == 10
    assert "--steps 10 " in printed  # the command that repeats the run has the plain form
    assert "-o " not in printed


def test_minutes_as_a_duration(run, corpus):
    for text in ("0.2s", "0.003m", "0.00005h"):
        told = error_line(run("train", corpus, "--minutes", text, "--dropout", "7", code=2).stderr)
        assert "--dropout" in told  # so the duration was understood
    told = error_line(run("train", corpus, "--minutes", "5x", code=2).stderr)
    assert told == "--minutes must be a number of minutes, or a duration such as 90s or 1h30m, got '5x'"


def test_sample_under_other_names(run, tiny):
    wanted = run("sample", "--prime", "a", "--temp", "0.5", "-n", "20", "--seed", "1").stdout
    for args in (
        ("sample", "--prompt", "a", "-t", "0.5"),
        ("generate", "-p", "a", "--temperature", "0.5"),
        ("Generate", "-p", "a", "-t", "0.5"),
        ("-m", "tiny", "sample", "-p", "a", "-t", ".5"),
        ("--model=tiny", "generate", "-p", "a", "-t", ".5"),
    ):
        assert run(*args, "-n", "20", "--seed", "1").stdout == wanted


def test_aliases_are_hidden(run):
    for args in (["--help"], ["train", "--help-all"], ["sample", "--help-all"]):
        flags = re.findall(r"^  (\S.*?)(?:  |$)", run(*args).stdout, re.MULTILINE)
        words = set(" ".join(flags).replace(",", " ").split())
        aliases = {alias for others in OPTION_ALIASES.values() for alias in others}
        assert words.isdisjoint(aliases | COMMAND_ALIASES.keys())


def test_help_as_a_command(run):
    assert run("help").stdout == run("--help").stdout
    assert run("help", "train").stdout == run("train", "--help").stdout
    assert run("help", "generate").stdout == run("sample", "--help").stdout
    assert "did you mean train?" in error_line(run("help", "trian", code=2).stderr)
    assert run("-V").stdout == run("--version").stdout


HINTS = {
    "train --units 4": "no such option --units: did you mean --hidden-size?",
    "train --gpu": "no such option --gpu: charrnn computes on the processor; for a GPU, train in PyTorch "
    "and import the model with `charrnn.from_torch`",
    "train --rate 1": "no such option --rate: did you mean --learning-rate?",
    "train --max-iters 9": "no such option --max-iters: did you mean --steps?",
    "train --temp 1": "no such option --temp: `charrnn sample` has it",
    "train --overwrite": "no such option --overwrite: did you mean --force?",
    "train --val_split 0.1": "no such option --val-split: did you mean --val-fraction?",
    "train --max-tokens 5": "no such option --max-tokens: `charrnn train --help-all` lists all options",
    "sample -o x.txt": "no such option -o: write what it prints to a file with `> FILE`",
    "sample --lr 1": "no such option --lr: `charrnn train` has it",
    "sample --max-tokens 5": "no such option --max-tokens: did you mean --length?",
    "sample --start x": "no such option --start: did you mean --prime?",
    "sample --num-samples 5": "no such option --num-samples: did you mean --count?",
    "sample --topk 5": "no such option --topk: did you mean --top-k?",
    "score --threshold 3": "no such option --threshold: did you mean --above?",
    "info --jsn": "no such option --jsn: did you mean --json?",
    "info --zzzzzz": "no such option --zzzzzz: `charrnn info --help` lists all options",
    "train --zzzzzz": "no such option --zzzzzz: `charrnn train --help-all` lists all options",
    "--temp 1 sample": "no such option --temp: options follow the command: `charrnn sample --temp …`",
    "vocab --zzzzzz": "no such option --zzzzzz: `charrnn vocab --help` lists all options",
    "train --output-dir x": "no such option --output-dir: did you mean --out?",
    "cache --clear": "no such option --clear: did you mean --remove?",
    "--verison": "no such option --verison: did you mean --version?",
    "-v": "no such option -v: did you mean --version?",
    "version": "no such command 'version': did you mean --version?",
    "vocab": "Missing argument 'CORPUS...': `charrnn vocab --help` has examples",
    "sample tiny Once": "unexpected argument 'Once': leave it out, or put quotes around a name with spaces",
    "--zzzzzz": "no such option --zzzzzz: see `charrnn --help`",
    "ls": "no such command 'ls': did you mean list?",
    "evaluate": "no such command 'evaluate': did you mean eval?",
    "trian": "no such command 'trian': did you mean train?",
    "zzzzzz": "no such command 'zzzzzz': `charrnn --help` lists the commands",
    "tiny.txt": "no such command 'tiny.txt': to train on this file, type `charrnn train tiny.txt`",
    "sample --temp 0,8": "--temp must be a number, got '0,8': write 0.8",
    "train tiny.txt --steps 1.5": "--steps must be a whole number, got 1.5",
    "train tiny.txt --steps 10.000": "--steps must be a whole number, got 10.000",  # elsewhere, ten thousand
    "train tiny.txt --steps 1,000": "--steps must be a whole number, got '1,000': write 1000",
    "train tiny.txt --steps 1k": "--steps must be a whole number, got '1k': write 1000",
    "train tiny.txt --threads 50%": "--threads must be a whole number, got '50%'",
    "sample --top-p 90%": "--top-p must be a number, got '90%': write 0.9",
    "list --sort los": "--sort must be changed, name, loss, steps or size, got 'los' (did you mean loss?)",
    "train tiny.txt --steps many": "--steps must be a whole number, got 'many'",
    "train tiny.txt --minutes 0": "--minutes must be greater than 0, got 0",
    "train tiny.txt --dropout 2": "--dropout must be at most 0.95, got 2",
    "train tiny.txt --cell lstn": (
        "--cell must be rnn, lstm, gru, lnlstm, lnmlstm, mlstm or mingru, got 'lstn' (did you mean lstm?)"
    ),
}


@pytest.mark.parametrize("line", HINTS)
def test_a_hint_for_what_does_not_exist(run, corpus, line):
    outcome = run(*line.split(), code=2)
    assert error_line(outcome.stderr).startswith(HINTS[line].removesuffix("?"))
    assert outcome.stdout == ""


def test_the_whole_help_of_a_command_without_a_short_one(run):
    assert run("info", "--help-all").stdout == run("info", "--help").stdout
