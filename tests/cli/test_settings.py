"""Settings by variables and files: their precedence, what is refused, and what `train` makes of them."""

import errno
import os
import re
import shlex
from pathlib import Path

import click
import pytest

from charrnn.cli import main
from charrnn.errors import ConfigError

from ._material import SMALL, error_line, facts, meta

LAST = Path("checkpoints/tiny/last.npz")
ONE = ("--steps", "1", "--threads", "1")


@pytest.fixture
def settings():
    """Return a function that writes a file of settings."""

    def write(text, path="charrnn.toml"):
        Path(path).write_text(text, encoding="utf-8")

    return write


def trained_size(run, *args, **env):
    """Train for a step; return the hidden size."""
    run("train", "tiny.txt", *ONE, "--quiet", "--force", *args, env=env)
    return meta(LAST)["model"]["hidden_size"]


def test_a_flag_goes_before_a_variable_a_file_and_the_default(run, corpus, settings):
    settings("hidden-size = 6\n[train]\nhidden_size = 7\n")
    assert trained_size(run, "--hidden-size", "9", CHARRNN_TRAIN_HIDDEN_SIZE="8") == 9
    assert trained_size(run, CHARRNN_TRAIN_HIDDEN_SIZE="8") == 8
    assert trained_size(run, CHARRNN_TRAIN_HIDDEN_SIZE="") == 7
    settings("hidden-size = 6\n")
    assert trained_size(run) == 6


def test_the_nearest_file_counts(run, tiny, settings, monkeypatch):
    settings('[tool.charrnn.sample]\nlength = 3\n[project]\nname = "x"\n', "pyproject.toml")
    Path("below/deeper").mkdir(parents=True)
    model = str(tiny.resolve())
    monkeypatch.chdir("below/deeper")
    assert len(run("sample", "-m", model).stdout) == 3
    settings("[tool.other]\n", "../pyproject.toml")
    settings("# charrnn is not set here\n[tool]\n", "pyproject.toml")
    assert len(run("sample", "-m", model).stdout) == 3
    settings("sample = {length = 4}\n", "../charrnn.toml")
    assert len(run("sample", "-m", model).stdout) == 4
    settings("[tool.charrnn]\nlength = 5\n", "pyproject.toml")
    assert len(run("sample", "-m", model).stdout) == 5
    settings("length = 6\n", "charrnn.toml")
    assert len(run("sample", "-m", model).stdout) == 6
    assert len(run("sample", "-m", model, "--config", "../charrnn.toml").stdout) == 4
    assert len(run("sample", "-m", model, env={"CHARRNN_CONFIG": "pyproject.toml"}).stdout) == 5


def test_keys_are_flags_and_values_what_they_take(run, tiny, settings):
    settings(
        'model = "tiny"\n[sample]\nlength = 30\ntemp = 0\nstop = [" ", "e", "r"]\n'
        'no-echo = true\nprime = "D"\njson = true\n'
    )
    one = run("sample").json
    assert one["ended"] == "stop"
    assert "prime" not in one
    settings('[sample]\nmodel = "tiny"\nlength = 30\ntemperature = 0\nstop = "K"\nprime = "D"\njson = true\n')
    assert run("sample").json["prime"] == "D"
    assert run("sample", env={"CHARRNN_SAMPLE_JSON": "0"}).stdout.startswith("D")
    assert run("eval", "tiny.txt", env={"CHARRNN_EVAL_JSON": "1", "CHARRNN_EVAL_MODEL": "tiny"}).json["unknown"] == 0


WRONG = {
    "hiden-size = 3": "hiden-size is not a setting: did you mean hidden-size?",
    "[train]\nhiden-size = 3": "[train] hiden-size is not a setting: did you mean hidden-size?",
    "[train]\ntemp = 3": "[train] temp is not a setting",
    "lr = 0.1": "lr is not a setting: did you mean learning-rate?",
    "iterations = 9": "iterations is not a setting: did you mean steps?",
    "prompt = 'a'": "prompt is not a setting: did you mean prime?",
    "[trian]\nsteps = 3": "[trian] is not a command: did you mean train?",
    "[generate]\ntemp = 1": "[generate] is not a command: did you mean sample?",
    "[fit]\nsteps = 3": "[fit] is not a command: did you mean train?",
    "classify = 3": "classify is not a setting",
    "import = 'os'": "import is not a setting: give it on the command line",
    "minutes = '5 parsecs'": "--minutes must be a number of minutes, or a duration such as 90s or 1h30m, got",
    "train = 3": "train is not a setting",
    "[train]\nforce = true": "[train] force is not a setting: give it on the command line",
    "[train]\nresume = true": "[train] resume is not a setting: give it on the command line",
    '[train]\nhidden-size = "7"': "[train] hidden-size is '7': it takes a whole number",
    "[train]\nhidden-size = 7.0": "[train] hidden-size is 7.0: it takes a whole number",
    "[train]\nhidden-size = true": "[train] hidden-size is True: it takes a whole number",
    "[train]\nhidden-size = [7]": "[train] hidden-size is [7]: it takes a whole number",
    "[train]\nhidden-size = 0": "--hidden-size must be at least 1, got 0 (--hidden-size is set in charrnn.toml)",
    "[train]\ndropout = '0.5'": "[train] dropout is '0.5': it takes a number",
    "[train]\ndropout = nan": "--dropout must be a finite number, got nan (--dropout is set in charrnn.toml)",
    "[train]\ndropout = 1e999": "--dropout must be a finite number, got inf",
    "[train]\ntied = 'yes'": "[train] tied is 'yes': it takes true or false",
    "[train]\nencoding = 8": "[train] encoding is 8: it takes a string",
    "[train]\nencoding = 'x'": "--encoding 'x' is unknown",
    "[train]\nval-file = 'x'": "x does not exist: check the path (--val-file is set in charrnn.toml)",
    "[train]\ncell = 'transformer'": "lstm, gru, lnlstm, lnmlstm, mlstm or mingru, got 'transformer'",
    "[train]\ntied = true": "give --embed-size too (--tied is set in charrnn.toml)",
    "[train]\nsteps = 3\nsteps = 4": "charrnn.toml is not valid TOML: ",
    "\x00": "charrnn.toml is not valid TOML: ",
    "[" * 5000: "charrnn.toml is not valid TOML: ",
}


@pytest.mark.parametrize(("text", "says"), WRONG.items(), ids=range(len(WRONG)))
def test_what_is_wrong_in_a_file_is_told_in_a_line_with_file_and_key(run, corpus, settings, text, says):
    settings(text)
    told = error_line(run("train", corpus, code=2).stderr)
    assert says in told
    assert "charrnn.toml" in told
    assert not Path("checkpoints").exists()
    assert run("train", "--help", code=0).stderr == ""  # help is had whatever is wrong


@pytest.mark.parametrize("name", ["missing.toml", ".", "pyproject.toml"])
def test_a_file_that_is_named_has_to_be_there(run, cwd, settings, name):
    settings("[tool.other]\n", "pyproject.toml")
    assert name in error_line(run("list", "--config", name, code=2).stderr)


def test_a_table_in_the_wrong_place(run, settings):
    settings("[tool]\ncharrnn = 3\n", "pyproject.toml")
    assert "pyproject.toml: tool.charrnn is not a table" in error_line(run("list", code=2).stderr)
    settings("[tool.charrnn.lst]\n", "pyproject.toml")
    told = error_line(run("list", code=2).stderr)
    assert told == "pyproject.toml: [tool.charrnn.lst] is not a command: did you mean list?"


#: What a pyproject.toml of another project may contain.
FOREIGN = {
    "no UTF-8": '[project]\nname = "café"\ndependencies = ["charrnn-numpy"]\n'.encode("latin-1"),
    "no TOML": b'[project]\nname = "x\n# [tool.charrnn]\n[tool.charrnnx]\ncharrnn = 1\n',
    "deep": b"charrnn = " + b"[" * 5000,
    "empty": b"",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_file_above_is_skipped_whatever_is_in_it(run, cwd, settings, monkeypatch, name):
    settings("[list]\njson = true\n")
    Path("below/deeper").mkdir(parents=True)
    Path("below/pyproject.toml").write_bytes(FOREIGN[name])
    monkeypatch.chdir("below/deeper")
    assert run("list").json["runs"] == []


@pytest.mark.parametrize("heading", ["[tool.charrnn]", "[ tool . 'charrnn' ]", '["tool".charrnn.list]'])
def test_a_broken_file_with_a_table_of_ours_is_an_error(run, cwd, settings, monkeypatch, heading):
    settings(f"[project\n{heading}\n", "pyproject.toml")
    Path("below").mkdir()
    monkeypatch.chdir("below")
    assert f"{cwd / 'pyproject.toml'} is not valid TOML: " in error_line(run("list", code=2).stderr)
    settings("[tool.other]\n", "pyproject.toml")
    settings("", "charrnn.toml")
    assert run("list").stderr == ""


@pytest.mark.parametrize(("path", "code"), [("charrnn.toml", 2), ("../charrnn.toml", 0), ("pyproject.toml", 0)])
def test_files_above_that_may_not_be_read_are_skipped(run, cwd, settings, monkeypatch, path, code):
    Path("below").mkdir()
    monkeypatch.chdir("below")
    settings("[tool.charrnn]\n", path)
    read = Path.read_bytes

    def refuse(file):
        if file.name == Path(path).name:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return read(file)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    stderr = run("list", code=code).stderr
    assert stderr == "" if code == 0 else "cannot read the settings in charrnn.toml" in error_line(stderr)


def test_a_variable_is_named_where_it_errs(run, tiny):
    told = error_line(run("train", "tiny.txt", code=2, env={"CHARRNN_TRAIN_HIDDEN_SIZE": "x"}).stderr)
    assert told == "--hidden-size must be a whole number, got 'x' (--hidden-size is set by CHARRNN_TRAIN_HIDDEN_SIZE)"
    told = error_line(run("info", code=2, env={"CHARRNN_MODEL": "tinny"}).stderr)
    assert told.endswith("did you mean tiny? (--model is set by CHARRNN_MODEL)")
    told = error_line(run("info", "-m", "tinny", code=2, env={"CHARRNN_MODEL": "x"}).stderr)
    assert told.endswith("did you mean tiny?")


def test_the_place_of_each_setting_that_an_error_names_is_told(run, tiny, settings):
    settings("[score]\nabove = 3\n[complete]\njson = true\n")
    told = error_line(run("score", "tiny.txt", code=2, env={"CHARRNN_SCORE_BELOW": "2"}).stderr)
    assert told.endswith("(--above is set in charrnn.toml, --below is set by CHARRNN_SCORE_BELOW)")
    told = error_line(run("complete", "--interactive", code=2).stderr)
    assert "terminal" in told  # `json` in a file is no contradiction of what is asked for on the command line


def test_variables_of_others_change_nothing(run, tiny):
    env = {"CHARRNN_VERSION": "3", "CHARRNN_TRAIN_FORCE": "1", "CHARRNN_RM_YES": "1", "CHARRNN_CACHE_REMOVE": "1"}
    assert run("list", env=env).stdout.startswith("Name")
    assert "already has a run" in error_line(run("train", "tiny.txt", code=2, env=env).stderr)
    run("rm", "tiny", code=2, env=env)
    assert run("cache", env=env | {"CHARRNN_CACHE": "cache"}).stdout.startswith("0 texts")


def test_of_settings_that_exclude_each_other_the_stronger_place_counts(run, corpus, settings):
    settings("[train]\nminutes = 3\nval-fraction = 0.3\nhidden-size = 4\n")
    Path("val.txt").write_bytes(Path(corpus).read_bytes()[:400])
    outcome = run("train", corpus, *ONE, "--val-file", "val.txt", "--seed", "1")
    shown = facts(outcome.stderr)
    assert meta(LAST)["train"]["steps"] == 1
    assert meta(LAST)["val_source"]["path"] == "val.txt"
    assert "--val-fraction" not in shown["Repeat"]
    outcome = run("train", corpus, "--force", env={"CHARRNN_TRAIN_EPOCHS": "1", "CHARRNN_TRAIN_BATCH_SIZE": "2"})
    assert "Error" not in outcome.stderr
    told = error_line(run("train", corpus, "--steps", "1", "--epochs", "2", "--force", code=2).stderr)
    assert "--steps and --epochs cannot be combined" in told


#: A command line, a file's table, and what of it counts.
GIVING_WAY = [
    ("score --above 4 x", {"per-char": "true"}, ""),
    ("score --per-char x", {"above": "4"}, ""),
    ("score --below 4 --json x", {"per-char": "true"}, "per-char"),
    ("score --above 4 x", {"per-char": "true", "json": "true"}, "per-char json"),
    ("sample --documents 2", {"count": "3", "seed": "1"}, "seed"),
    ("sample --count 3", {"documents": "2"}, ""),
    ("sample -n 5", {"length-norm": "0.5"}, ""),
    (
        "sample --beam 2",
        {"length-norm": "0.5", "temp": "0.3", "top-k": "4", "novel": "3", "documents": "2"},
        "length-norm",
    ),
    ("sample --temp 0.5", {"beam": "3", "length-norm": "0.5", "seed": "1"}, "seed"),
    ("sample --regex a", {"lines": "2", "stop": "['a', 'b']", "count": "2"}, "count"),
    ("sample --lines 3", {"regex": "'a'"}, ""),
    ("sample --stop a", {"regex": "'a'", "lines": "2"}, "lines"),
    ("sample --prime a", {"prime-file": "'x'", "no-echo": "true"}, "no-echo"),
    ("sample --separator a", {"json": "true"}, ""),
    ("sample --temp 1", {"repeat-window": "9"}, ""),
    ("sample --repeat-penalty 1.2", {"repeat-window": "9"}, "repeat-window"),
    ("eval x", {"test": "true"}, ""),
    ("eval", {"test": "true"}, "test"),
    ("complete --to char", {"max-length": "20"}, ""),
    ("complete --to line", {"max-length": "20"}, "max-length"),
    ("complete --max-length 20", {"to": "'char'"}, ""),
    ("train --bytes x", {"encoding": "'latin1'", "lowercase": "true", "tied": "true"}, "tied"),
    ("train --lowercase x", {"bytes": "true", "extend-vocab": "true"}, ""),
    ("train --init-from y x", {"extend-vocab": "true"}, "extend-vocab"),
]


def parsed(line, **env):
    """Return what a command line, with the file and the environment, sets the command's parameters to."""
    words = line.split()
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in env.items():
            patch.setenv(variable, value)
        ctx = main.make_context("charrnn", words[:1], resilient_parsing=True)
        while isinstance(ctx.command, click.Group):
            name, command, words = ctx.command.resolve_command(ctx, words)
            ctx = command.make_context(name, words, parent=ctx)
        return ctx.params


@pytest.mark.parametrize(
    ("line", "table", "left"), GIVING_WAY, ids=[f"{line}, {[*table]}" for line, table, _ in GIVING_WAY]
)
def test_what_contradicts_the_command_line_counts_as_not_set(cwd, settings, line, table, left):
    name = line.split()[0]
    settings(f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in table.items()))
    found = parsed(line)
    settings(f"[{name}]\n" + "".join(f"{key} = {table[key]}\n" for key in left.split()))
    assert found == parsed(line)
    assert (found == parsed(f"{line} --config {os.devnull}")) == (not left)


def test_nothing_gives_way_to_what_gives_way_itself(cwd, settings):
    settings("[sample]\nseed = 3\n")
    found = parsed("sample --temp 0.5", CHARRNN_SAMPLE_BEAM="3", CHARRNN_SAMPLE_LENGTH_NORM="0.5")
    assert (found["temperature"], found["seed"], found["beam"], found["length_norm"]) == (0.5, 3, None, None)


def test_what_contradicts_itself_in_one_place_is_refused(run, tiny, settings):
    settings("[sample]\nbeam = 3\nseed = 1\n")
    assert "leave out --seed (--seed is set in charrnn.toml, --beam" in error_line(run("sample", code=2).stderr)
    assert len(run("sample", "--temp", "0.5", "-n", "5").stdout) == 5


def test_a_variable_is_one_value_of_several_blanks_and_all(cwd):
    assert parsed("sample", CHARRNN_SAMPLE_STOP=r"b o\n ")["stop"] == ("b o\n ",)
    assert parsed("sample", CHARRNN_SAMPLE_STOP="")["stop"] == ()
    assert parsed("serve", CHARRNN_MODEL="a b")["models"] == ("a b",)


def test_a_run_goes_on_with_its_own_settings_not_with_those_of_files(run, corpus, settings):
    run("train", corpus, *SMALL, *ONE, "--quiet")
    settings("[train]\nminutes = 3\nhidden-size = 9\nval-file = 'x'\ninit-from = 'y'\nquiet = true\n")
    assert run("train", corpus, "--resume", "--steps", "2", env={"CHARRNN_TRAIN_SEED": "7"}).stderr == ""
    assert (meta(LAST)["step"], meta(LAST)["model"]["hidden_size"], meta(LAST)["train"]["seed"]) == (2, 16, 1)
    told = error_line(run("train", corpus, "--resume", "--hidden-size", "9", code=2).stderr)
    assert "--hidden-size 9 contradicts the run" in told


def test_the_closing_command_repeats_the_run_where_a_file_says_otherwise(run, corpus, settings):
    settings("[train]\nhidden-size = 9\nbatch-size = 2\npatience = 3\ntied = false\n")
    outcome = run("train", corpus, *ONE, "--seed", "1", "--hidden-size", "384", "--patience", "0", "--out", "one")
    again = shlex.split(facts(outcome.stderr)["Repeat"])[1:]
    assert [again[again.index(f"--{name}") + 1] for name in ("hidden-size", "batch-size", "patience")] == [
        "384",
        "2",
        "0",
    ]
    assert "--tied" not in again
    run(*again, "--out", "two", "--quiet")
    assert meta(Path("one/last.npz")) == meta(Path("two/last.npz"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("sample --documents 2 --count 3", "--documents and --count both set"),
        ("sample --json --separator x", "leave out --separator"),
        ("sample --beam 2 --temp 0.5", "--beam does not sample: leave out --temperature"),
        ("sample --length-norm 1", "--length-norm needs --beam"),
        ("sample --repeat-window 9", "--repeat-window needs --repeat-penalty"),
        ("sample --prime a --prime-lines x", "--prime, --prime-file and --prime-lines cannot be combined"),
        ("sample --regex a --stop b", "--regex cannot be combined with --stop"),
        ("score --per-char --below 3", "give --with-score or --json too, or leave out --per-char"),
        ("complete --interactive --json", "leave out --json"),
        ("complete --to char --max-length 3", "--max-length must be 1 to 10,000"),
        ("eval --test x", "leave out --test or TEXT"),
        ("train x --epochs 1 --minutes 1", "--epochs and --minutes cannot be combined: give one length"),
        ("train x --bytes --lowercase", "--bytes learns files unchanged: leave out --lowercase"),
        ("train x --extend-vocab", "--extend-vocab needs --init-from"),
    ],
)
def test_a_conflict_on_the_command_line_is_an_error_before_anything_is_read(cwd, line, message):
    with pytest.raises(ConfigError) as caught:
        parsed(line)
    assert message in str(caught.value)


def test_weaker_options_are_ignored_before_conflicts_are_errors(cwd, settings):
    env = {"CHARRNN_SAMPLE_BEAM": "2", "CHARRNN_SAMPLE_REPEAT_WINDOW": "9"}
    assert parsed("sample", **env)["beam"] == 2  # the window lacks its penalty, so it is not there to contradict --beam
    settings("[sample]\nbeam = 2\nlines = 1\n")
    with pytest.raises(ConfigError, match="--length-norm needs --beam"):  # since the file's --beam is ignored
        parsed("sample --length-norm 1", CHARRNN_SAMPLE_NOVEL="50")
    with pytest.raises(ConfigError) as caught:
        parsed("sample --regex a --stop b")
    assert "--lines is set" not in str(caught.value)


def test_a_count_of_one_overrules_documents_of_a_weaker_place(cwd, settings):
    settings("[sample]\ndocuments = 3\n")
    assert parsed("sample --count 1")["documents"] is None
    assert parsed("sample")["documents"] == 3


def test_a_command_of_a_group_reads_the_tables_above_it(cwd, settings):
    settings("model = 'a'\n")
    assert parsed("classify predict")["model_path"] == parsed("score")["models"][0] == "a"
    settings("model = 'a'\n[classify]\nmodel = 'b'\n")
    assert parsed("classify predict")["model_path"] == "b"
    settings("model = 'a'\n[classify]\nmodel = 'b'\n[classify.predict]\nmodel = 'c'\n")
    assert (parsed("classify predict")["model_path"], parsed("score")["models"]) == ("c", ("a",))
    assert parsed("classify predict", CHARRNN_CLASSIFY_PREDICT_MODEL="d")["model_path"] == "d"


WRONG_IN_A_GROUP = {
    "[classify.predikt]\nmodel = 'a'": "[classify.predikt] is not a command: did you mean predict?",
    "[classify]\ntemp = 3": "[classify] temp is not a setting",
    "[classify.predict]\ntemp = 3": "[classify.predict] temp is not a setting",
    "[classify.predict]\nmodel = 3": "[classify.predict] model is 3: it takes a string",
}


@pytest.mark.parametrize(("text", "says"), WRONG_IN_A_GROUP.items(), ids=range(len(WRONG_IN_A_GROUP)))
def test_what_is_wrong_in_the_table_of_a_group(cwd, settings, text, says):
    settings(text)
    with pytest.raises(ConfigError, match=re.escape(says)):
        parsed("classify predict")


def test_what_is_no_conflict(cwd):
    assert parsed("sample --documents 2 --count 1")["documents"] == 2
    assert parsed("score --json --per-char --below 3")["per_char"]
    env = {"CHARRNN_TRAIN_STEPS": "1", "CHARRNN_TRAIN_EPOCHS": "1"}
    assert parsed("train x --resume", **env)["resume"]
    with pytest.raises(ConfigError):
        parsed("train x", **env)


def test_the_shell_completes_a_line_with_a_conflict(cwd):
    ctx = main.get_command(main.make_context("charrnn", ["sample"], resilient_parsing=True), "sample").make_context(
        "sample", ["--beam", "2", "--temp", "0.5"], resilient_parsing=True
    )
    assert ctx.params["beam"] == 2
