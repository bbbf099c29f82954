"""Ranks of MPI itself: the same results as one machine's processes, and one clear end whatever happens to a rank.

`make test-mpi` runs these; what needs no MPI is in `test_ranks`.
"""

import json
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from fixtures_mpi import (
    CHARRNN,
    ended,
    environment,
    is_alive,
    mpiexec,
    needs_mpi,
    no_files_left,
    offspring,
    on_ranks,
    ranks_below,
    wait_for,
)
from fixtures_run import (
    TEXT,
    arrays_of,
    assert_same_run,
    finish,
    log_of,
    meta_of,
    start,
    write_text,
)

from charrnn import checkpoint as ckpt
from charrnn.config import CELL_NAMES
from charrnn.errors import DivergedError

pytestmark = [pytest.mark.slow, needs_mpi]

LONG = TEXT.replace(" boats", "\tboats") * 4
WILD = {"optimizer": "sgd", "learning_rate": 100.0, "clip_norm": 0.0, "schedule": "constant", "eval_every": 5}

FEW = {"steps": 12, "dtype": "float64"}
#: Settings by name; the batch has rows for four ranks, and seldom the same number for each.
SETTINGS = {
    **{cell: {"cell": cell, "dropout": 0.3, "weight_drop": 0.2} for cell in CELL_NAMES},
    "tied": {"embed_size": 6, "tied": True, "dropout": 0.2},
    "attention": {"attention": 7, "batch_size": 5},
    "deep": {"num_layers": 2, "dropout": 0.3, "batch_size": 6, "seq_len": 60, "reset_rate": 0.3},
    "documents": {"split_documents": "lines", "batch_size": 5, "seq_len": 90},
    "context": {"split_documents": "lines", "context": True, "batch_size": 5, "seq_len": 20},
    "processes": {"batch_size": 33, "hidden_size": 24, "threads": 2, "num_layers": 2, "dropout": 0.3},
    "sgd": {"optimizer": "sgd", "learning_rate": 0.5, "clip_value": 0.01},
    "adam": {"optimizer": "adam", "average": 0.9, "clip_norm": 0.1},
    "patience": {"patience": 2, "learning_rate": 1e-30, "eval_every": 1},
    "recovery": WILD,
    "divergence": {**WILD, "learning_rate": 1e9},
    "float32": {"dtype": "float32", "num_layers": 2, "dropout": 0.3, "batch_size": 33, "hidden_size": 24},
}

#: Trains with each of the settings on its standard input into a folder of that name, all on the same ranks.
PROGRAM = """
import json, sys
from pathlib import Path
from charrnn.errors import DivergedError
from charrnn.parallel.ranks import Ranks
from charrnn.training.follow import follow
from fixtures_run import finish, start

ranks = Ranks({})
if ranks.rank:
    raise SystemExit(follow(ranks))
text, folder, several = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
try:
    for name, settings in several.items():
        try:
            finish(start(folder / name, text, ranks=ranks, **settings))
        except DivergedError as error:
            (folder / name / "error").write_text(str(error))
finally:
    ranks.end(0)
"""


def train_all(several, text, folder, n):
    """Train with each of the settings on so many ranks; show what they print if it does not go well."""
    env = {"PYTHONPATH": os.pathsep.join([environment()["PYTHONPATH"], str(Path(__file__).parents[1])])}
    words = [CHARRNN[0], "-c", PROGRAM, text, folder, json.dumps(several)]
    assert ended(mpiexec(*words, n=n, env=env), patience=120) == (0, "", "")


@pytest.fixture(autouse=True, scope="module")
def clean():
    with no_files_left():
        yield


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return write_text(tmp_path_factory.mktemp("text"), LONG)


@pytest.fixture(scope="module", params=[2, 4], ids=["2 ranks", "4 ranks"])
def ranked(request, tmp_path_factory, text):
    """Return the number of ranks, and the folder with a run for each of the settings."""
    folder = tmp_path_factory.mktemp("ranked")
    train_all({name: FEW | settings for name, settings in SETTINGS.items()}, text, folder, request.param)
    return request.param, folder


# The same results


@pytest.mark.parametrize("name", [name for name in SETTINGS if name != "divergence"])
def test_ranks_train_as_threads_do(ranked, text, tmp_path, name):
    n, folder = ranked
    finish(start(tmp_path / "run", text, **FEW | SETTINGS[name] | {"threads": n}))
    losses, weights = (1e-6, 5e-6) if name == "float32" else (1e-11, 1e-10)
    ours, theirs = log_of(folder / name), log_of(tmp_path / "run")
    assert [record["step"] for record in ours] == [record["step"] for record in theirs]
    assert ("recovery" == name) == any("back_to" in record for record in ours)
    for here, there in zip(ours, theirs, strict=True):
        for key in ("loss", "val_loss", "learning_rate", "grad_norm"):
            ours_and_theirs = [np.nan if each.get(key) is None else each[key] for each in (here, there)]
            np.testing.assert_allclose(*ours_and_theirs, rtol=0, atol=losses, err_msg=key)
    for file in ("last.npz", "best.npz"):
        here, there = arrays_of(folder / name / file), arrays_of(tmp_path / "run" / file)
        assert here.keys() == there.keys()
        for key in here.keys() - {"meta"}:
            np.testing.assert_allclose(here[key], there[key], rtol=0, atol=weights, err_msg=f"{file} {key}")
    assert meta_of(folder / name / "last.npz")["train"]["ranks"] == n
    if name == "patience":
        assert ours[-1]["step"] == 3


def test_a_run_that_stays_diverged_ends_as_on_threads(ranked, text, tmp_path):
    n, folder = ranked
    with pytest.raises(DivergedError) as caught:
        finish(start(tmp_path / "run", text, **FEW | SETTINGS["divergence"] | {"threads": n}))
    assert (folder / "divergence" / "error").read_text() == str(caught.value)
    ckpt.load(folder / "divergence" / "last.npz")


def test_twenty_runs_are_the_same_bit_for_bit(tmp_path, text):
    settings = {"batch_size": 9, "num_layers": 2, "dropout": 0.3, "weight_drop": 0.2, "steps": 10}
    for again in range(4):
        train_all({f"{again}{each}": settings for each in range(5)}, text, tmp_path, 2)
    runs = sorted(tmp_path.iterdir())
    assert len(runs) == 20
    for run in runs[1:]:
        assert_same_run(runs[0], run)


# The command


TRAIN = "--hidden-size 8 --dropout 0.3 --batch-size 6 --seq-len 10 --seed 5 --log-every 1 --eval-every 4".split()
#: So long that it is stopped or killed before its end.
ENDLESS = (*TRAIN, "--steps", "100000", "--schedule", "constant", "--save-every", "1")


@pytest.fixture
def here(tmp_path):
    """Return a folder with the text."""
    write_text(tmp_path)
    return tmp_path


def lines_of(err):
    """Return what was told besides what every run tells."""
    return [line for line in err.splitlines() if line.startswith(("Error", "Note", "Saved", "Stopped", "Traceback"))]


def going(folder, *args, n=2, **options):
    """Start ranks that train, and return them when they have saved a step."""
    last = folder / "checkpoints" / "boats" / "last.npz"
    had = last.stat().st_mtime_ns if last.exists() else 0
    process = mpiexec(*CHARRNN, "train", "boats.txt", *args, n=n, cwd=folder, **options)

    def saved():
        assert process.poll() is None, process.communicate()
        return last.exists() and last.stat().st_mtime_ns > had and meta_of(last)["step"] > 1

    wait_for(saved)
    return process, offspring(process.pid)


def assert_all_ended(processes):
    wait_for(lambda: not any(map(is_alive, processes)))


#: So long that a signal comes in its midst.
STOPPED = (*TRAIN, "--schedule", "constant", "--save-every", "1", "--steps", "100")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return a run on two ranks that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole")
    write_text(folder)
    assert on_ranks("train", "boats.txt", *STOPPED, "--quiet", cwd=folder) == (0, "", "")
    return folder / "checkpoints" / "boats"


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_stopped_run_is_saved_and_goes_on_to_the_same_bits(here, whole, name, code):
    process, everybody = going(here, *STOPPED)
    process.send_signal(getattr(signal, name))
    found, out, err = ended(process)
    assert found == code
    assert_all_ended(everybody)
    run = here / "checkpoints" / "boats"
    step = meta_of(run / "last.npz")["step"]
    (saved,) = [line for line in lines_of(err) if not line.startswith("Note")]
    assert saved == f"Saved after step {step:,}. Continue with: mpiexec -n 2 charrnn train boats.txt --resume"
    assert step < 100
    assert "Press Ctrl-C again" in out if name == "SIGINT" else out == ""  # mpiexec's own words
    code, _, err = on_ranks("train", "boats.txt", "--resume", cwd=here)
    assert code == 0
    assert "bit for bit" not in err
    assert_same_run(whole, run)


@pytest.mark.parametrize(("then", "now"), [(2, 1), (1, 3), (2, 4)])
def test_a_run_goes_on_with_another_number_of_ranks(here, then, now):
    args = ("train", "boats.txt", *TRAIN, "--schedule", "constant", "--dtype", "float64")
    for out, steps, n in (("run", "8", then), ("whole", "16", 1)):
        assert on_ranks(*args, "--steps", steps, "--out", out, "--quiet", n=n, cwd=here) == (0, "", "")
    code, _, err = on_ranks("train", "boats.txt", "--resume", "--steps", "16", "--out", "run", n=now, cwd=here)
    assert code == 0
    ranks = {number: f"{number} rank{'s' * (number > 1)}" for number in (1, 2, 3, 4)}
    words = f"Note: the run was on {ranks[then]} and is now on {ranks[now]}: results agree to rounding but not bit"
    assert words in " ".join(err.split())
    for name in ("last.npz", "best.npz"):
        ours, theirs = arrays_of(here / "run" / name), arrays_of(here / "whole" / name)
        for key in theirs.keys() - {"meta"}:
            np.testing.assert_allclose(ours[key], theirs[key], rtol=0, atol=1e-10, err_msg=key)
    logs = [[record["loss"] for record in log_of(here / name)] for name in ("run", "whole")]
    assert logs[0] == pytest.approx(logs[1], rel=1e-10)


def test_a_signal_that_asks_for_a_save_is_answered_once_and_training_goes_on(here):
    process, _ = going(here, *ENDLESS[:-2], "--save-every", "3")
    process.send_signal(signal.SIGUSR1)
    last = here / "checkpoints/boats/last.npz"
    step = meta_of(last)["step"]
    wait_for(lambda: meta_of(last)["step"] > step + 5)
    process.send_signal(signal.SIGTERM)
    code, _, err = ended(process)
    assert code == 143
    assert err.count("saved on SIGUSR1") == 1


def test_a_text_may_come_from_standard_input(here):
    args = ("--out", "run", "--steps", "4", "--quiet", *TRAIN)
    assert on_ranks("train", "-", *args, cwd=here, input=TEXT) == (0, "", "")
    assert on_ranks("train", "boats.txt", *args[2:], cwd=here) == (0, "", "")
    ours, theirs = arrays_of(here / "run/last.npz"), arrays_of(here / "checkpoints/boats/last.npz")
    assert all(ours[key].tobytes() == theirs[key].tobytes() for key in ours.keys() - {"meta"})


def test_minutes_with_the_recipe(here):
    code, _, err = on_ranks("train", "boats.txt", "--minutes", "0.03", "--seed", "1", "--verbose", cwd=here)
    assert code == 0, err
    saved = meta_of(here / "checkpoints/boats/last.npz")
    assert saved["step"] >= 1
    assert saved["train"]["ranks"] == 2
    assert "lnlstm: an LSTM with layer normalisation learns the most in a given time" in " ".join(err.split())


def test_a_run_from_another_model_and_a_complete_run(here):
    args = ("train", "boats.txt", *TRAIN[2:], "--steps", "4", "--quiet")
    assert on_ranks(*args, "--hidden-size", "8", cwd=here) == (0, "", "")
    assert on_ranks(*args, "--init-from", "boats", "--out", "tuned", cwd=here) == (0, "", "")
    assert meta_of(here / "tuned/last.npz")["step"] == 4
    alone = ended(mpiexec(*CHARRNN, "train", "boats.txt", "--out", "tuned", "--resume", n=1, cwd=here))
    code, out, err = on_ranks("train", "boats.txt", "--out", "tuned", "--resume", cwd=here)
    assert (code, out) == alone[:2] == (0, "")
    assert "is complete after 4 steps" in err
    assert len(err.splitlines()) == 1


MODULE = """
from dataclasses import replace
import charrnn
CELL = replace(charrnn.CELLS["rnn"], layer=None)
"""


def test_a_cell_of_the_users_own(here):
    (here / "mine.py").write_text(MODULE)
    args = ("train", "boats.txt", *TRAIN, "--steps", "4", "--quiet")
    assert on_ranks(*args, "--cell", "mine:CELL", "--out", "own", cwd=here) == (0, "", "")
    assert on_ranks(*args, "--cell", "rnn", "--out", "rnn", cwd=here) == (0, "", "")
    ours, theirs = arrays_of(here / "own/last.npz"), arrays_of(here / "rnn/last.npz")
    for key in ours.keys() - {"meta"}:
        np.testing.assert_allclose(ours[key], theirs[key], rtol=0, atol=1e-6, err_msg=key)


# Ranks that do not fit together: one line, and all end

STUBS = {
    "no mpi4py": {"mpi4py/__init__.py": "raise ModuleNotFoundError('No module named mpi4py', name='mpi4py')"},
    "no MPI": {
        "mpi4py/__init__.py": "class rc: initialize = True",
        "mpi4py/MPI.py": "raise RuntimeError('cannot load MPI library')",
    },
    "another version": {"sitecustomize.py": "import charrnn.version; charrnn.version.__version__ = '0.0.1'"},
}


def with_stub(folder, name):
    """Return what lets a rank find this in place of what is installed."""
    place = folder / name.replace(" ", "-")
    for file, content in STUBS[name].items():
        (place / file).parent.mkdir(parents=True, exist_ok=True)
        (place / file).write_text(content)
    return {"PYTHONPATH": f"{place}{os.pathsep}{environment()['PYTHONPATH']}"}


def refusal(process):
    """Return exit code and the only line of ranks that do not start; fail if they print another."""
    code, out, err = ended(process)
    assert out == ""
    (line,) = err.splitlines()
    return code, line.removeprefix("Error: ")


@pytest.mark.parametrize(
    ("first", "second", "line"),
    [
        (
            "--dropout 0",
            "",
            "rank 1 on HOST was started without --dropout, and rank 0 with --dropout 0.0: give all the same",
        ),
        ("", "--no-recover", "rank 1 on HOST was started with --no-recover, and rank 0 without --no-recover: give all"),
        (
            "",
            "other.txt",
            "rank 1 on HOST was started with CORPUS boats.txt other.txt, and rank 0 with CORPUS boats",
        ),
        ("--bad", "--bad", "no such option --bad"),
        ("--bad", "", "no such option --bad"),
        ("", "--bad", "rank 1 on HOST: no such option --bad"),
        ("", "--import missing", "rank 1 on HOST: --import missing: no module missing"),
        ("--batch-size 1", "--batch-size 1", "2 ranks for 1 batch row: start at most 1 rank,"),
    ],
)
def test_ranks_that_were_started_differently(here, first, second, line):
    command = [*CHARRNN, "train", "boats.txt", "--steps", "4"]
    process = mpiexec(*command, *first.split(), ":", "-n", "1", *command, *second.split(), n=1, cwd=here)
    code, found = refusal(process)
    assert code == 2
    assert found.startswith(line.replace("HOST", os.uname().nodename))
    assert not (here / "checkpoints").exists()


@pytest.mark.parametrize("everywhere", [False, True], ids=["on one", "on all"])
@pytest.mark.parametrize(
    ("stub", "line"),
    [
        ("no mpi4py", "training on several ranks needs mpi4py: pip install"),
        ("no MPI", "mpi4py finds no MPI (cannot load MPI library): pip install mpich, or load your cluster's MPI"),
        ("another version", "rank 1 on HOST has charrnn 0.0.1, and rank 0 has "),
    ],
)
def test_ranks_with_different_installations(here, stub, line, everywhere):
    command = [*CHARRNN, "train", "boats.txt", "--steps", "4", "--quiet", "--hidden-size", "8"]
    other = ["-env", "PYTHONPATH", with_stub(here, stub)["PYTHONPATH"]]
    process = mpiexec(*other * everywhere, *command, ":", "-n", "1", *other, *command, n=1, cwd=here)
    if everywhere and stub == "another version":
        assert ended(process)[0] == 0
        return
    code, found = refusal(process)
    assert code == 2
    own = "" if everywhere or "HOST" in line else "rank 1 on HOST: "
    assert found.startswith((own + line).replace("HOST", os.uname().nodename))


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        (
            {"PMI_RANK": "0", "PMI_SIZE": "4"},
            "4 processes were started, and MPI connects 1: start them with the mpiexec",
        ),
        ({"PMIX_RANK": "0", "SLURM_STEP_NUM_TASKS": "4"}, "MPICH does not know PMIx: start the ranks with srun"),
    ],
)
def test_a_launcher_that_mpi_does_not_know(here, variables, line):
    done = subprocess.run(
        [*CHARRNN, "train", "boats.txt"], capture_output=True, text=True, cwd=here, env=environment(**variables)
    )
    assert done.returncode == 2
    (found,) = done.stderr.splitlines()
    assert found.startswith("Error: " + line)


# Ranks that fail: one line, and what was saved is whole

FAULTS = {
    "gradients": """
from charrnn.nn.bptt import Learner
def fail(self, window, state, step, *rest, real=Learner.gradients):
    if step == 5 and os.environ["PMI_RANK"] == "{rank}":
        raise MemoryError("no room")
    return real(self, window, state, step, *rest)
Learner.gradients = fail
""",
    "update": """
from charrnn.nn import optimizers
def fail(*args, real=optimizers.clip):
    fail.calls += 1
    if fail.calls > 5 and os.environ["PMI_RANK"] == "{rank}":
        raise RuntimeError("no luck")
    return real(*args)
fail.calls = 0
optimizers.clip = fail
""",
    "full disk": """
import errno
from charrnn.system import atomic
from charrnn.training.run import Run
def refuse(*args):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
def fail(self, real=Run.save):
    if self.state.step == 5:
        atomic.open = refuse
    return real(self)
Run.save = fail
""",
    "limit on files": """
import resource
from charrnn.training.run import Run
def fail(self, real=Run.save):
    if self.state.step == 5:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
    return real(self)
Run.save = fail
""",
}


@pytest.mark.parametrize(
    ("fault", "rank", "line"),
    [
        (
            "gradients",
            0,
            "Error: rank 0 on HOST: not enough memory: use a smaller --hidden-size, --batch-size",
        ),
        ("gradients", 1, "Error: rank 1 on HOST: not enough memory: use a smaller --hidden-size, --batch-size"),
        ("update", 0, "RuntimeError: no luck"),
        ("update", 1, "RuntimeError: no luck"),
        (
            "full disk",
            0,
            "Error: rank 0 on HOST: cannot write checkpoints/boats/last.npz: No space left on device: free",
        ),
        ("limit on files", 0, "cannot write checkpoints/boats/last.npz: File too large: raise the limit on file sizes"),
    ],
)
def test_a_rank_that_fails_ends_all_and_what_was_saved_is_whole(here, fault, rank, line):
    (here / "fault.py").write_text("import os" + FAULTS[fault].replace("{rank}", str(rank)))
    args = (*ENDLESS, "--quiet", "--import", "fault")
    process = mpiexec(*CHARRNN, "train", "boats.txt", *args, cwd=here)
    code, out, err = ended(process)
    assert (code, out) == (2 if fault == "limit on files" else 1, "")
    assert line.replace("HOST", os.uname().nodename) in err
    if fault == "update":  # an error of the program
        assert "Traceback" in err
        assert rank == 0 or f"Error in rank 1 on {os.uname().nodename}:" in err
    else:
        assert len(err.splitlines()) == 1
    saved = ckpt.load(here / "checkpoints/boats/last.npz")
    assert 3 <= saved.step <= 6
    assert on_ranks("train", "boats.txt", "--resume", "--quiet", "--steps", "100000", "--help", cwd=here)[0] == 0


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_of_a_rank_that_is_killed_ends_all(here, rank):
    args = (*ENDLESS, "--batch-size", "32", "--threads", "2", "--quiet")
    process, everybody = going(here, *args)
    ranks = ranks_below(process, 2)
    (child,) = offspring(ranks[rank])
    os.kill(child, signal.SIGKILL)
    code, out, err = ended(process)
    assert (code, out) == (1, "")
    (line,) = err.splitlines()
    words = f"Error: rank {rank} on {os.uname().nodename}: a worker process stopped (ended by SIGKILL): saved files are"
    assert line.startswith(words)
    assert_all_ended(everybody)
    ckpt.load(here / "checkpoints/boats/last.npz")


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_is_killed_ends_all_and_the_run_goes_on(here, rank):
    process, everybody = going(here, *ENDLESS, "--quiet")
    os.kill(ranks_below(process, 2)[rank], signal.SIGKILL)
    code, out, err = ended(process)
    assert code != 0
    assert err == ""
    assert "EXIT CODE: 9" in out  # mpiexec's own words
    assert_all_ended(everybody)
    step = ckpt.load(here / "checkpoints/boats/last.npz").step
    process, _ = going(here, "--resume", n=3 - rank)
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 143
    assert meta_of(here / "checkpoints/boats/last.npz")["step"] > step
