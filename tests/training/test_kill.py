"""A process killed at any moment, and a disk that refuses: what is there is whole, and the run goes on from it."""

import errno
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
from fixtures_run import arrays_of, finish, log_of, output_of, python, start, stop_at, write_text

from charrnn import checkpoint as ckpt
from charrnn.errors import CharRNNError
from charrnn.system import atomic as files
from charrnn.training.loop import Report, Stepped
from charrnn.training.run import Run

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills by a signal")

#: Saves and logs at every step, so that nearly every moment is one of writing.
BUSY = {"eval_every": 1, "save_every": 1, "log_every": 1, "schedule": "constant", "val_fraction": 0.2}


def assert_usable(folder):
    """Assert that what a kill left behind is whole: both files, where they are, and the log but for its last line."""
    for path in (folder / "best.npz", folder / "last.npz"):
        if path.exists():
            ckpt.load(path)
    if (folder / "log.jsonl").exists():
        *lines, last = (folder / "log.jsonl").read_text(encoding="utf-8").split("\n")
        steps = [json.loads(line)["step"] for line in lines]
        assert steps == list(range(1, len(steps) + 1))
        assert last == "" or not last.endswith("}")


# Every moment there is

#: Runs the training again and again in children of its own. The n-th child ends itself, as a kill would, at the n-th
#: time that it touches the disk: before or after a call, or in the midst of writing. Prints how many there were.
SUICIDES = """
import builtins, os, shutil, signal, sys
from pathlib import Path
from charrnn.system import atomic as files
from charrnn.training import folder as runfolder
from charrnn.training.run import Run
from fixtures_run import finish, start

text, folder, busy = sys.argv[1], Path(sys.argv[2]), eval(sys.argv[3])
left = 0

def moment():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

class Mortal:
    def __init__(self, file):
        self.file, self.writes = file, 0
    def write(self, data):
        self.writes += 1
        if self.writes % 30 != 1:  # an archive is written in very many pieces
            return self.file.write(data)
        half = len(data) // 2
        self.file.write(data[:half])
        self.file.flush()
        moment()
        self.file.write(data[half:])
        return len(data)
    def __getattr__(self, name):
        return getattr(self.file, name)
    def __enter__(self):
        return self
    def __exit__(self, *error):
        self.file.close()
        moment()

def mortal(call):
    def around(*args, **options):
        moment()
        result = call(*args, **options)
        moment()
        return result
    return around

def opened(path, mode="r", **options):
    moment()
    file = builtins.open(path, mode, **options)
    moment()
    return file if str(path).endswith(".lock") else Mortal(file)

def train(path):
    global left
    files.open = runfolder.open = opened
    os.replace, os.fsync = mortal(os.replace), mortal(lambda descriptor: None)
    left = int(path.name) + 1
    if resumed:
        finish(Run.resume(path))
    else:
        finish(start(path, text, steps=2, **busy))

for resumed in (False, True):
    count = 0
    while True:
        path = folder / ("resumed" if resumed else "begun") / str(count)
        if resumed:
            shutil.copytree(folder / "stopped", path)
        if os.fork() == 0:
            train(path)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.wait()[1])
        if code == 0:
            break
        assert code == -signal.SIGKILL, code
        count += 1
    print(count)
"""


@pytest.mark.usefixtures("no_sync")
def test_a_kill_at_any_touch_of_the_disk_leaves_a_run_that_goes_on(tmp_path):
    text = write_text(tmp_path)
    settings = BUSY | {"steps": 2}
    finish(start(tmp_path / "whole", text, **settings))
    stop_at(start(tmp_path / "stopped", text, **settings), lambda event: isinstance(event, Report))
    begun, resumed = map(int, output_of(SUICIDES, text, tmp_path, repr(BUSY)).split())
    assert begun > 40
    assert resumed > 20
    for name, count in (("begun", begun), ("resumed", resumed)):
        for at in range(count):
            folder = tmp_path / name / str(at)
            if not (folder / "last.npz").exists():  # killed before anything was worth keeping
                assert name == "begun"
                assert not (folder / "best.npz").exists()
                assert not (folder / "log.jsonl").exists()
                finish(start(folder, text, **settings))
            else:
                assert_usable(folder)
                if ckpt.load(folder / "last.npz").progress["reported"] < 2:
                    finish(Run.resume(folder))
            for file in ("best.npz", "last.npz"):
                assert (folder / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), (name, at, file)
            assert log_of(folder, clock=False) == log_of(tmp_path / "whole", clock=False), (name, at)


# Random moments

TRAIN = """
import sys
from pathlib import Path
from charrnn.training.run import Run
from fixtures_run import start
text, folder, busy = sys.argv[1], Path(sys.argv[2]), eval(sys.argv[3])
run = Run.resume(folder) if (folder / "last.npz").exists() else start(folder, text, steps=10**6, **busy)
print("begun", flush=True)
for event in run.events():
    pass
"""


def kill_again_and_again(tmp_path, kills, seed):
    """Train in another process, kill it at random moments and go on, so many times; see that all was well."""
    text, folder = write_text(tmp_path), tmp_path / "run"
    moments = random.Random(seed)
    for _ in range(kills):
        with python(TRAIN, text, folder, repr(BUSY)) as process:
            assert process.stdout.readline() == "begun\n", process.stderr.read()
            time.sleep(moments.uniform(0, 0.06))
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        assert_usable(folder)
    going = Run.resume(folder)
    reached = going.state.step
    stop_at(going, lambda event: isinstance(event, Report) and event.step == reached + 1)
    steps = [record["step"] for record in log_of(folder)]
    assert steps == list(range(1, reached + 2))
    # It is the very run that nobody ever killed.
    finish_like(tmp_path, text, reached + 1)
    ours, whole = arrays_of(folder / "last.npz"), arrays_of(tmp_path / "whole" / "last.npz")
    assert ours.keys() == whole.keys()
    for name, array in ours.items():
        assert array.tobytes() == whole[name].tobytes(), name


def finish_like(tmp_path, text, step):
    """Train to the report of this step in one go; only the end is saved."""
    whole = start(tmp_path / "whole", text, steps=10**6, **BUSY)
    kept, whole._written = whole._written, lambda path, checkpoint: None
    for event in whole.events():
        if isinstance(event, Report) and event.step == step:
            break
    whole._written = kept
    whole.save()
    whole.close()


def test_a_run_killed_at_random_moments_goes_on(tmp_path):
    kill_again_and_again(tmp_path, 6, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
def test_a_run_killed_at_a_hundred_random_moments_goes_on(tmp_path, seed):
    kill_again_and_again(tmp_path, 100, seed)


def test_a_run_killed_before_it_began_can_be_begun_again(tmp_path):
    # The lock goes with the process, and an empty folder is no run.
    text, folder = write_text(tmp_path), tmp_path / "run"
    folder.mkdir()
    (folder / ".last.npz.tmp").write_bytes(b"what a killed process left")
    finish(start(folder, text))
    assert not list(folder.glob(".*.tmp"))


# A disk that refuses


class Full:
    """A file on a disk that is full after so many bytes."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def write(self, data):
        data = memoryview(data).cast("B")
        self.file.write(data[: self.room])
        self.room -= len(data)
        if self.room < 0:
            self.room = 0
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return len(data)

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()


@pytest.fixture
def stopped(tmp_path, no_sync):
    """Return the folder of a run that was stopped after three of twenty steps."""
    stop_at(
        start(tmp_path / "run", write_text(tmp_path), **BUSY),
        lambda event: isinstance(event, Stepped) and event.step == 3,
    )
    return tmp_path / "run"


def contents(folder):
    """Return the bytes of every file in the folder, but for the lock."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


@pytest.mark.parametrize("room", [0, 1, 100, 3000, 10_000, 25_000])
def test_a_disk_that_fills_up_leaves_what_was_saved_before(stopped, monkeypatch, room):
    before = contents(stopped)
    assert len(before["last.npz"]) > 25_000
    going = Run.resume(stopped)
    with monkeypatch.context() as filling:
        filling.setattr(files, "open", lambda *args: Full(open(*args), room), raising=False)
        with pytest.raises(CharRNNError) as caught:
            going.save()
    message = str(caught.value)
    assert message.startswith(f"cannot write {stopped / 'last.npz'}: {os.strerror(errno.ENOSPC)}: free space there, ")
    assert "--out" in message
    assert "\n" not in message
    assert contents(stopped) == before
    going.save()  # space was freed: the run that is still there can be saved
    going.close()
    assert contents(stopped) == before
    ckpt.load(stopped / "last.npz")


def test_a_disk_that_fills_up_in_mid_training_ends_it_and_it_goes_on_later(stopped, tmp_path, monkeypatch):
    going = Run.resume(stopped)
    with monkeypatch.context() as filling:
        opened = iter(range(10**6))
        # The fifth file that is written finds the disk full.
        filling.setattr(
            files, "open", lambda *args: Full(open(*args), 500 if next(opened) >= 4 else 10**9), raising=False
        )
        with pytest.raises(CharRNNError, match=os.strerror(errno.ENOSPC)):
            finish(going)
    assert_usable(stopped)
    assert not list(stopped.glob(".*.tmp"))
    finish(Run.resume(stopped))
    finish(start(tmp_path / "whole", str(tmp_path / "boats.txt"), **BUSY))
    assert (stopped / "last.npz").read_bytes() == (tmp_path / "whole" / "last.npz").read_bytes()


LIMITED = """
import resource, sys
from pathlib import Path
from charrnn.errors import CharRNNError
from charrnn.training.run import Run
run = Run.resume(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    run.save()
except CharRNNError as error:
    print(error)
"""


@pytest.mark.parametrize("limit", [0, 20_000])
def test_a_file_that_may_not_grow_leaves_what_was_saved_before(stopped, limit):
    pytest.importorskip("resource")
    before = contents(stopped)
    message = output_of(LIMITED, stopped, limit)
    assert message == (
        f"cannot write {stopped / 'last.npz'}: {os.strerror(errno.EFBIG)}: raise the limit on file sizes "
        "(`ulimit -f`), or choose another folder with --out; files saved before are complete\n"
    )
    assert contents(stopped) == before


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_that_became_read_only_leaves_what_was_saved_before(stopped):
    before = contents(stopped)
    going = Run.resume(stopped)
    stopped.chmod(0o500)
    try:
        with pytest.raises(CharRNNError, match=os.strerror(errno.EACCES)):
            finish(going)
    finally:
        stopped.chmod(0o700)
    assert contents(stopped) == before


def test_a_folder_that_vanished_is_told_in_one_line(stopped):
    going = Run.resume(stopped)
    shutil.rmtree(stopped)
    with pytest.raises(CharRNNError) as caught:
        finish(going)
    assert str(caught.value).startswith("cannot write ")
    assert str(Path(stopped)) in str(caught.value)
    assert "\n" not in str(caught.value)
