"""The folder of a run: its files, its log, its lock, and how a model is found."""

import errno
import json
import os
from pathlib import Path

import pytest
from fixtures_run import output_of, python, start, write_text

from charrnn.errors import CharRNNError, CheckpointError, RunFolderError
from charrnn.training import folder as folder_module
from charrnn.training.folder import UNLOCKED, RunFolder, find_model, find_run, run_names
from charrnn.training.run import Run

LINES = [{"step": step, "seconds": step / 10, "loss": 1 / step} for step in (3, 6, 7, 9)]


def folder_with_log(path, lines=LINES, end=""):
    """Return a folder whose log has the lines, and `end` after them."""
    folder = RunFolder(path)
    for line in lines:
        folder.append(line)
    with open(folder.log, "a", encoding="utf-8") as file:
        file.write(end)
    return folder


def touch(path, seconds):
    """Make a file that was last changed at this time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    os.utime(path, (seconds, seconds))
    return path


def test_the_names_of_the_files(tmp_path):
    folder = RunFolder(tmp_path)
    assert (folder.best, folder.last, folder.log) == tuple(
        tmp_path / name for name in ("best.npz", "last.npz", "log.jsonl")
    )
    assert folder.files() == []
    assert folder.model() is None


def test_only_a_runs_own_files_are_removed(tmp_path):
    folder = RunFolder(tmp_path)
    notes = touch(tmp_path / "notes.txt", 0)
    for path in (folder.best, folder.last, folder.log):
        touch(path, 0)
    assert folder.files() == [folder.best, folder.last, folder.log]
    folder.clear()
    assert folder.files() == []
    assert notes.exists()


def test_the_best_model_serves_and_the_last_one_where_there_is_none(tmp_path):
    folder = RunFolder(tmp_path)
    touch(folder.last, 20)
    assert folder.model() == folder.last
    touch(folder.best, 10)
    assert folder.model() == folder.best


def test_the_log_has_one_json_object_a_line_and_ends_with_a_newline(tmp_path):
    folder = folder_with_log(tmp_path, [{"a": 1, "b": None}, {"a": 2.5, "b": "é\u2028"}])
    data = folder.log.read_bytes()
    assert data.endswith(b"}\n")
    assert b"\r" not in data
    records = [json.loads(line) for line in data.decode().splitlines()]
    assert records == [{"a": 1, "b": None}, {"a": 2.5, "b": "é\u2028"}]


@pytest.mark.parametrize(
    ("step", "kept", "seconds"),
    [(0, 0, 0.0), (2, 0, 0.0), (3, 1, 0.3), (6, 2, 0.6), (8, 3, 0.7), (9, 4, 0.9), (50, 4, 0.9)],
)
def test_the_log_is_cut_back_to_a_step(tmp_path, step, kept, seconds):
    folder = folder_with_log(tmp_path)
    before = folder.log.read_bytes().splitlines(keepends=True)
    assert folder.cut_log(step) == seconds
    assert folder.log.read_bytes() == b"".join(before[:kept])
    assert sorted(os.listdir(tmp_path)) == ["log.jsonl"]


@pytest.mark.parametrize(
    ("reported", "recoveries", "step", "kept"),
    [
        (0, 0, 0, 1),
        (0, 0, 2, 2),  # saved after step 2: its sample stays, its report is done again
        (2, 0, 2, 3),
        (2, 0, 3, 3),
        (2, 0, 4, 4),
        (4, 0, 4, 5),  # a state from before the recovery
        (2, 1, 2, 6),
        (2, 1, 4, 7),
        (4, 1, 5, 8),
    ],
)
def test_samples_are_cut_by_their_step_and_the_reasons_stay(tmp_path, reported, recoveries, step, kept):
    lines = [
        {"step": 0, "seconds": 0.0, "recoveries": 0, "reasons": ["short"]},
        {"step": 2, "seconds": 0.2, "recoveries": 0, "sample": "a"},
        {"step": 2, "seconds": 0.3, "recoveries": 0, "loss": 1.0},
        {"step": 4, "seconds": 0.4, "recoveries": 0, "sample": "b"},
        {"step": 4, "seconds": 0.5, "recoveries": 0, "loss": 1.0},
        {"step": 5, "back_to": 2, "seconds": 0.6, "recoveries": 1},
        {"step": 4, "seconds": 0.7, "recoveries": 1, "sample": "c"},
        {"step": 4, "seconds": 0.8, "recoveries": 1, "loss": 1.0},
    ]
    folder = folder_with_log(tmp_path, lines)
    seconds = folder.cut_log(reported, recoveries, step)
    assert [json.loads(line) for line in folder.log.read_text().splitlines()] == lines[:kept]
    assert seconds == next(line["seconds"] for line in reversed(lines[:kept]) if "sample" not in line)


@pytest.mark.parametrize(
    "end", ['{"step": 9', '{"step": 9, "seconds": 0.9, "loss": 0.', "{", "\x00\x00", '{"step": 9}x']
)
@pytest.mark.parametrize("step", [6, 9, 50])
def test_a_line_that_a_kill_cut_short_is_dropped(tmp_path, end, step):
    folder = folder_with_log(tmp_path, LINES[:2], end)
    assert folder.cut_log(step) == 0.6
    folder.append(LINES[2])
    assert [json.loads(line) for line in folder.log.read_text().splitlines()] == LINES[:3]


@pytest.mark.parametrize("end", [b"\xff\xfe\n", b"3\n", b"{}\n", b"null\n", b"[]\n", b'{"step": "4"}\n'])
def test_a_log_that_was_damaged_is_kept_up_to_there(tmp_path, end):
    folder = folder_with_log(tmp_path, LINES[:2])
    with open(folder.log, "ab") as file:
        file.write(end)
    folder.append(LINES[2])
    assert folder.cut_log(50) == 0.6
    assert [json.loads(line) for line in folder.log.read_text().splitlines()] == LINES[:2]


def test_a_log_without_its_last_newline_is_mended(tmp_path):
    folder = folder_with_log(tmp_path, LINES[:2])
    folder.log.write_bytes(folder.log.read_bytes().rstrip())
    folder.cut_log(50)
    folder.append(LINES[2])
    assert [json.loads(line) for line in folder.log.read_text().splitlines()] == LINES[:3]


def test_a_missing_log_is_no_obstacle(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.cut_log(5) == 0.0
    assert not folder.log.exists()


def test_a_log_that_cannot_be_written_is_refused_in_one_line(tmp_path):
    folder = RunFolder(tmp_path)
    folder.log.mkdir()
    with pytest.raises(CharRNNError) as caught:
        folder.append({})
    assert str(caught.value).startswith(f"cannot write {folder.log}: ")


def test_a_file_in_place_of_the_folder_is_refused_in_one_line(tmp_path):
    taken = tmp_path / "taken"
    taken.write_bytes(b"mine")
    for path, told in ((taken, f"{taken} is a file: "), (taken / "below", f"cannot write {taken / 'below'}: ")):
        with pytest.raises(CharRNNError) as caught:
            RunFolder(path).create()
        assert str(caught.value).startswith(told)
        assert "--out" in str(caught.value)
    assert taken.read_bytes() == b"mine"


def test_the_lock_holds_off_a_second_one_and_is_given_back(tmp_path):
    folder = RunFolder(tmp_path)
    with folder.locked():
        with pytest.raises(RunFolderError, match="in use by another training run"), RunFolder(tmp_path).locked():
            pytest.fail("two hold the lock")
        with pytest.raises(RunFolderError), RunFolder(tmp_path).locked():  # the refusal did not break it
            pytest.fail("two hold the lock")
    with folder.locked():
        pass
    with pytest.raises(ZeroDivisionError), folder.locked():
        raise ZeroDivisionError
    with folder.locked():
        pass


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EIO])
def test_a_file_system_without_locks(tmp_path, monkeypatch, number):
    def fail(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", fail)
    if number == errno.EIO:
        with pytest.raises(CharRNNError, match=os.strerror(number)), RunFolder(tmp_path).locked():
            pytest.fail("a broken disk is not a file system without locks")
        return
    with RunFolder(tmp_path).locked() as is_locked, RunFolder(tmp_path).locked():
        assert not is_locked
    run = start(tmp_path / "run", steps=2)
    assert run.notes == [UNLOCKED]
    run.close()
    resumed = Run.resume(tmp_path / "run", write_text(tmp_path))
    assert UNLOCKED in resumed.notes
    resumed.close()


TAKE_LOCK = """
import sys
from pathlib import Path
from charrnn.errors import RunFolderError
from charrnn.training.folder import RunFolder
try:
    with RunFolder(Path(sys.argv[1])).locked():
        print("taken", flush=True)
        sys.stdin.read()
except RunFolderError as error:
    print(error)
"""


def test_the_lock_holds_between_processes_and_goes_with_a_killed_one(tmp_path):
    with RunFolder(tmp_path).locked():
        assert f"{tmp_path} is in use" in output_of(TAKE_LOCK, tmp_path)
    with python(TAKE_LOCK, tmp_path, stdin=-1) as process:
        assert process.stdout.readline() == "taken\n"
        with pytest.raises(RunFolderError, match="in use"), RunFolder(tmp_path).locked():
            pytest.fail("two hold the lock")
        process.kill()
    with RunFolder(tmp_path).locked():
        pass


@pytest.mark.skipif(os.name != "posix", reason="Windows removes no file that is open")
def test_a_lock_on_a_file_that_has_been_removed_does_not_count(tmp_path, monkeypatch):
    lock = folder_module.lock

    def late(file, **options):
        monkeypatch.setattr(folder_module, "lock", lock)
        (tmp_path / ".lock").unlink()  # as `remove` does, between opening the file and locking it
        return lock(file, **options)

    monkeypatch.setattr(folder_module, "lock", late)
    with RunFolder(tmp_path).locked():
        with pytest.raises(RunFolderError, match="in use"), RunFolder(tmp_path).locked():
            pytest.fail("two hold the lock")


@pytest.mark.skipif(os.name != "posix", reason="Windows removes no file that is open")
def test_a_run_is_removed_under_its_lock(tmp_path, monkeypatch):
    folder, held = RunFolder(tmp_path / "run"), []
    touch(folder.last, 0)
    unlink = Path.unlink

    def watched(path, **options):
        if path.name == ".lock":
            held.append("in use" in output_of(TAKE_LOCK, tmp_path / "run"))
        unlink(path, **options)

    monkeypatch.setattr(Path, "unlink", watched)
    assert folder.remove()
    assert held == [True]


def test_the_newest_run_is_found_while_another_is_being_removed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    best = touch(Path("checkpoints/there/best.npz"), 5)
    touch(Path("checkpoints/going/best.npz"), 9)
    files = RunFolder.files

    def vanishing(folder):
        found = files(folder)
        if folder.path.name == "going":
            for path in found:
                path.unlink()
        return found

    monkeypatch.setattr(RunFolder, "files", vanishing)
    assert find_model(None) == best


def test_a_model_is_found_by_its_file_or_folder(tmp_path):
    best = touch(tmp_path / "run" / "best.npz", 0)
    assert find_model(best) == best
    assert find_model(str(tmp_path / "run")) == best


def test_a_model_is_found_by_its_name_under_checkpoints(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    best = touch(Path("checkpoints", "names", "best.npz"), 0)
    single = touch(Path("checkpoints", "single.npz"), 0)
    assert find_model("names") == best
    assert find_model("names/best.npz") == best
    assert find_model("single.npz") == single
    assert run_names() == ["names"]
    Path("names").mkdir()
    assert find_model("names") == best  # a folder that holds no model does not hide one
    assert find_model("names/") == best
    nearer = touch(Path("names", "last.npz"), 0)
    assert find_model("names") == nearer
    assert find_run("names").path == Path("names")


def test_a_text_does_not_hide_the_run_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    best = touch(Path("checkpoints", "enwik8", "best.npz"), 0)
    Path("enwik8").write_text("a text without a suffix\n")
    assert find_model("enwik8") == best
    assert find_run("enwik8").path == best.parent
    other = touch(Path("enwik9"), 0)
    assert find_model("enwik9") == other  # and is told to be no checkpoint


@pytest.mark.parametrize("name", ["absent.npz", "x" * 5000, "nul\0", "a/b/c", "loop/x"])
def test_a_model_that_is_absent_is_told_with_near_names(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    touch(Path("checkpoints", "names", "best.npz"), 0)
    touch(Path("checkpoints", "nanes", "last.npz"), 0)
    with pytest.raises(CheckpointError, match=r"does not exist, here or under \./checkpoints: train a model first"):
        find_model(name)
    with pytest.raises(CheckpointError, match="did you mean names or nanes"):
        find_model("namess")
    with pytest.raises(RunFolderError, match=r"there is no run .*`charrnn list`"):
        find_run(name)
    with pytest.raises(RunFolderError, match="did you mean names or nanes"):
        find_run("namess")


def test_a_folder_without_a_model_is_refused(tmp_path):
    touch(tmp_path / "log.jsonl", 0)
    with pytest.raises(CheckpointError, match=r"has no best\.npz or last\.npz"):
        find_model(tmp_path)


def test_without_a_name_the_newest_run_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = tmp_path / "checkpoints"
    with pytest.raises(CheckpointError, match="charrnn train"):
        find_model(None)
    touch(runs / "empty" / "log.jsonl", 99)
    touch(runs / "stray.npz", 99)
    with pytest.raises(CheckpointError, match="no model under"):
        find_model(None)
    touch(runs / "old" / "best.npz", 10)
    touch(runs / "new" / "best.npz", 20)
    touch(runs / "new" / "last.npz", 90)
    touch(runs / "middle" / "best.npz", 40)
    touch(runs / "middle" / "last.npz", 40)
    assert find_model(None).resolve() == runs / "new" / "best.npz"  # the run that went on last, not the newest best.npz
    touch(runs / "other" / "last.npz", 95)
    assert find_model(None).resolve() == runs / "other" / "last.npz"
