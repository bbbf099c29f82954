"""Commands under `mpiexec` and `srun`: who runs them, who prints, and what is said if they cannot be joined.

Most of it needs no MPI: the launchers' variables decide. What ranks compute is tested in `tests/parallel`.
"""

import io
import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from fixtures_mpi import needs_mpi, on_ranks
from fixtures_run import start

from charrnn.cli import _ranks, train
from charrnn.errors import MissingExtraError
from charrnn.training import budget

from ._material import SMALL, TEXT, arrays, error_line, meta

TRAIN = ("train", "tiny.txt", *SMALL)


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Let no launcher's variables of this process count."""
    for name in os.environ:
        if name.startswith(("PMI", "OMPI", "MPI_", "SLURM")):
            monkeypatch.delenv(name)


def rank(number, of=2):
    """Return the variables of this rank."""
    return {"PMI_RANK": str(number), "PMI_SIZE": str(of)}


# On two ranks


@pytest.fixture(scope="module")
def trained_on_ranks(tmp_path_factory):
    """Return a folder with a run that two ranks trained, and what they printed."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "tiny.txt").write_bytes(TEXT.encode())
    args = (*TRAIN, "--dropout", "0.2", "--steps", "6", "--eval-every", "3", "--sample-every", "3")
    return folder, on_ranks(*args, cwd=folder)


@needs_mpi
def test_only_the_first_rank_prints(trained_on_ranks):
    _, (code, out, err) = trained_on_ranks
    lines = err.splitlines()
    assert (code, out) == (0, "")
    assert [line.split("  ")[0] for line in lines].count("Text") == 1
    assert len([line for line in lines if line.startswith("step 6  epoch ")]) == 1
    assert len([line for line in lines if line.startswith("step 6  sample")]) == 1
    assert "Note: 4 batch rows are few for 2 ranks: --batch-size 16 would use them better, but learns differently" in (
        " ".join(lines)
    )


@needs_mpi
def test_only_the_first_rank_writes_and_the_run_knows_its_ranks(trained_on_ranks):
    folder, _ = trained_on_ranks
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    names = ("best.npz", "last.npz", "log.jsonl", ".lock")
    assert found - {"checkpoints/tiny/.lock"} == {"tiny.txt", *(f"checkpoints/tiny/{name}" for name in names[:3])}
    assert meta(folder / "checkpoints/tiny/last.npz")["train"]["ranks"] == 2


@needs_mpi
def test_two_ranks_train_as_one_process_does(trained_on_ranks, run, corpus):
    folder, _ = trained_on_ranks
    run(*TRAIN, "--dropout", "0.2", "--steps", "6", "--eval-every", "3", "--quiet", "--threads", "2")
    for name in ("last.npz", "best.npz"):
        ours, theirs = arrays(folder / "checkpoints/tiny" / name), arrays(Path("checkpoints/tiny") / name)
        assert ours.keys() == theirs.keys()
        for key, array in ours.items():
            assert array == pytest.approx(theirs[key], rel=2e-6, abs=1e-6), key


@needs_mpi
def test_the_commands_that_follow_start_as_many_ranks(trained_on_ranks):
    _, (_, _, err) = trained_on_ranks
    commands = dict(line.split(None, 1) for line in err.splitlines()[-3:])
    assert commands["Extend"] == "mpiexec -n 2 charrnn train tiny.txt --resume --minutes 5"
    assert commands["Repeat"].startswith("mpiexec -n 2 charrnn train tiny.txt --hidden-size 16 ")
    assert commands["Sample"] == "charrnn sample -m checkpoints/tiny"
    assert "--ranks" not in shlex.split(commands["Repeat"])


@needs_mpi
def test_info_resumes_on_as_many_ranks(trained_on_ranks, run, monkeypatch):
    folder, _ = trained_on_ranks
    monkeypatch.chdir(folder)
    (resume,) = [line for line in run("info").stdout.splitlines() if line.startswith("  Resume")]
    assert resume.endswith("to extend it: mpiexec -n 2 charrnn train --resume --out checkpoints/tiny --minutes 5")


@pytest.mark.parametrize(
    ("hosts", "gain", "note"),
    [
        ("aa", 1.9, "Note: all ranks are on one host: --threads 2 without mpiexec is as fast there\n"),
        ("ab", 1.2, "Note: 2 ranks hardly pay here: train without mpiexec, or ask `mpiexec -n 2 charrnn doctor --mpi`"),
        ("ab", 1.3, ""),
    ],
)
def test_ranks_that_hardly_pay_are_noted_before_the_first_step(tmp_path, monkeypatch, capsys, hosts, gain, note):
    monkeypatch.setattr(budget, "sharing_gain", lambda *_: gain)
    monkeypatch.setattr(budget, "expected_seconds", lambda *_: 60.0)
    run = start(tmp_path / "run")
    run.close()
    ranks = SimpleNamespace(size=2, hosts=[*hosts], cores=[2, 2])
    config = replace(run.training.config, ranks=2)
    run.training = replace(run.training, config=config, ranks=ranks)
    train._print_plan(run, verbose=False)
    err = capsys.readouterr().err
    assert f"{gain} times as fast as on one rank" in err
    assert err.count("Note:") == bool(note)
    assert note in err


# Commands that use one process


def test_a_command_for_one_process_runs_once_with_a_note(run, tiny):
    assert run("vocab", "tiny.txt", env=rank(1)) == (0, b"", "")
    first, alone = run("vocab", "tiny.txt", env=rank(0)), run("vocab", "tiny.txt")
    assert first.bytes == alone.bytes
    assert first.stderr == "Note: 2 processes were started, and `vocab` uses one.\n" + alone.stderr


def test_the_note_names_the_command_and_not_its_alias(run, tiny):
    assert "and `sample` uses one." in run("generate", env=rank(0, of=8)).stderr


def test_there_is_no_note_on_a_command_that_is_none(run):
    assert run("trian", code=2, env=rank(0)).stderr.startswith("Error: no such command 'trian'")


def test_a_model_may_precede_the_command(run, tiny):
    assert "and `sample` uses one." in run("-m", "tiny", "sample", env=rank(0)).stderr


@pytest.mark.parametrize("args", [("--version",), ("--help",), ("train", "--help"), ("eval", "--help")])
def test_what_helps_is_printed_once(run, args):
    assert run(*args, env=rank(0)).bytes == run(*args).bytes
    assert run(*args, env=rank(1)) == (0, b"", "")


def test_an_error_of_such_a_command_is_told_once(run):
    assert "--bad" in error_line(run("eval", "--bad", code=2, env=rank(0)).stderr)
    assert run("eval", "--bad", env=rank(1)).stderr == ""


def test_shards_are_scored_by_every_process(run, tiny):
    Path("lines.txt").write_text("one\ntwo\nthree\n")
    outputs = [run("score", "lines.txt", "--shard", f"{i + 1}/2", env=rank(i)) for i in range(2)]
    assert "".join(outcome.stdout for outcome in outputs) == run("score", "lines.txt").stdout
    assert all("Note" not in outcome.stderr for outcome in outputs)


def test_tasks_that_nothing_connects_are_told(run, corpus):
    variables = {"SLURM_STEP_NUM_TASKS": "3"}
    args = (*TRAIN, "--steps", "1", "--quiet", "--force")
    assert run(*args, env=variables | {"SLURM_PROCID": "0"}).stderr == (
        "Note: srun started 3 tasks, and each trains by itself: with srun --mpi=pmi2 they train together\n"
    )
    assert run(*args, env=variables | {"SLURM_PROCID": "1"}).stderr == ""


# Ranks that fail before they meet


@pytest.fixture
def told(monkeypatch):
    """Return what is told to the launcher; nobody waits for it."""
    monkeypatch.setattr(_ranks, "_PATIENCE", 0.0)
    codes = []
    monkeypatch.setattr(_ranks, "end_all", codes.append)
    return codes


def test_the_first_rank_ends_all_when_it_fails(run, corpus, told):
    message = error_line(run(*TRAIN, "--bad", code=2, env=rank(0)).stderr)
    assert message.startswith("no such option --bad")
    assert told == [2]


def test_help_ends_nobody(run, told):
    run("train", "--help", env=rank(0))
    run("train", "--help", env=rank(1))
    assert told == []


def test_another_rank_that_fails_alone_is_named(run, corpus, told, monkeypatch):
    monkeypatch.setattr(sys, "__stderr__", late := io.StringIO())
    monkeypatch.setattr("socket.gethostname", lambda: "there")
    assert run(*TRAIN, "--bad", code=2, env=rank(1)).stderr == ""
    assert error_line(late.getvalue()).startswith("rank 1 on there: no such option --bad")
    assert told == [2]


@pytest.mark.parametrize("number", [0, 1])
def test_an_unexpected_error_before_they_meet_ends_all(run, corpus, told, monkeypatch, number):
    def broken():
        raise ImportError("no such library")

    monkeypatch.setattr(train, "join", broken)
    monkeypatch.setattr(sys, "__stderr__", late := io.StringIO())
    monkeypatch.setattr("socket.gethostname", lambda: "there")
    run(*TRAIN, code=1, env=rank(number))
    assert late.getvalue().startswith(f"Error in rank {number} on there:\nTraceback")
    assert late.getvalue().endswith("ImportError: no such library\n")
    assert told == [1]


def test_mpi4py_that_is_missing_is_told(run, corpus, told, monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    code = MissingExtraError("", "", "").exit_code
    message = error_line(run(*TRAIN, "--steps", "1", code=code, env=rank(0)).stderr)
    assert message == 'training on several ranks needs mpi4py: pip install "charrnn-numpy[mpi]"'
    assert told == [code]
    assert not Path("checkpoints").exists()


def test_a_process_that_is_alone_needs_no_mpi4py(run, corpus, told, monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    run(*TRAIN, "--steps", "1", "--quiet", env=rank(0, of=1))
    run(*TRAIN, "--bad", code=2)
    assert told == []
