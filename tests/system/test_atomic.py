"""Files that are never half-written."""

import errno
import os
import signal
import threading

import pytest

from charrnn.errors import CharRNNError, ConfigError
from charrnn.system import atomic as files
from charrnn.system.atomic import InUseError, lock, output_file, replacing, uninterrupted, writing
from charrnn.system.signals import STOPPING


def test_the_file_appears_whole_and_alone(tmp_path):
    path = tmp_path / "file.bin"
    with replacing(path) as file:
        file.write(b"new\r\n\x00")
        assert not path.exists()
    assert path.read_bytes() == b"new\r\n\x00"
    assert os.listdir(tmp_path) == ["file.bin"]


def test_the_old_file_stands_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    with replacing(path) as file:
        file.write(b"new" * 100_000)
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new" * 100_000


def test_the_bytes_and_then_the_name_are_put_on_the_disk(tmp_path, monkeypatch):
    calls = []
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    sync, move = os.fsync, os.replace

    def fsync(descriptor):
        held = os.fstat(descriptor)
        folder = os.path.samestat(held, os.stat(tmp_path))
        calls.append("sync folder" if folder else f"sync {held.st_size} bytes")
        sync(descriptor)

    def replace(source, target):
        calls.append("replace")
        move(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    with replacing(path) as file:
        file.write(b"12345")
    assert calls[:2] == ["sync 5 bytes", "replace"]
    if os.name == "posix":
        assert calls[2:] == ["sync folder"]


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), SystemExit(3)])
def test_whatever_stops_the_writing_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    with pytest.raises(type(error)) as caught, replacing(path) as file:  # noqa: PT012
        file.write(b"half")
        raise error
    assert caught.value is error
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file.bin"]


def failing(number):
    """Return a function that fails with this error of the system."""

    def fail(*args, **options):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_disk_that_refuses_late_leaves_the_old_file(tmp_path, monkeypatch, name):
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")

    monkeypatch.setattr(files.os, name, failing(errno.EIO))
    with pytest.raises(CharRNNError) as caught, replacing(path) as file:
        file.write(b"new")
    assert f"cannot write {path}: {os.strerror(errno.EIO)}: choose another folder with --out; " in str(caught.value)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file.bin"]


#: How file systems say that they cannot do something.
UNSUPPORTED = [errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOLCK]


@pytest.mark.parametrize("number", UNSUPPORTED, ids=errno.errorcode.get)
def test_a_file_system_without_fsync_is_written_without_it(tmp_path, monkeypatch, number):
    monkeypatch.setattr(files.os, "fsync", failing(number))
    with replacing(tmp_path / "file.bin") as file:
        file.write(b"new")
    assert (tmp_path / "file.bin").read_bytes() == b"new"


@pytest.mark.skipif(os.name != "posix", reason="Windows opens no folders")
def test_a_folder_that_may_be_written_but_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(files.os, "open", failing(errno.EACCES))
    with replacing(tmp_path / "file.bin") as file:
        file.write(b"new")
    assert (tmp_path / "file.bin").read_bytes() == b"new"


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_only_an_answer_that_says_so_means_that_the_lock_is_taken(tmp_path, monkeypatch):
    with open(tmp_path / "lock", "w") as file:
        assert lock(file)
        for number in UNSUPPORTED:
            monkeypatch.setattr("fcntl.flock", failing(number))
            assert not lock(file)
        for number in (errno.EAGAIN, errno.EACCES):
            monkeypatch.setattr("fcntl.flock", failing(number))
            with pytest.raises(InUseError):
                lock(file)
        monkeypatch.setattr("fcntl.flock", failing(errno.EIO))
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            lock(file)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free space there, or ask elsewhere"),
        (errno.EACCES, "change the permissions there, or ask elsewhere"),
        (errno.EIO, "ask elsewhere"),
        (errno.EMFILE, "raise the limit on open files (`ulimit -n`)"),  # so it would be in another folder
    ],
    ids=lambda value: errno.errorcode.get(value),
)
def test_the_remedy_fits_the_error(tmp_path, number, remedy):
    with pytest.raises(CharRNNError) as caught, writing(tmp_path, "ask elsewhere", "; all is well"):
        failing(number)()
    assert str(caught.value) == f"cannot write {tmp_path}: {os.strerror(number)}: {remedy}; all is well"


def test_what_an_earlier_kill_left_behind_is_no_obstacle(tmp_path):
    path = tmp_path / "file.bin"
    with replacing(path) as file:
        left = tmp_path / os.path.basename(file.name)
        file.write(b"1")
    left.write_bytes(b"what a killed process left")
    with replacing(path) as file:
        file.write(b"2")
    assert path.read_bytes() == b"2"
    assert os.listdir(tmp_path) == ["file.bin"]


def test_the_temporary_file_stands_in_the_same_folder(tmp_path):
    # Only there is its renaming one indivisible act.
    with replacing(tmp_path / "file.bin") as file:
        assert os.path.dirname(file.name) == str(tmp_path)


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_a_folder_that_is_none_is_refused_in_one_line(tmp_path, kind):
    folder = tmp_path / "folder"
    if kind == "file":
        folder.write_bytes(b"")
    with pytest.raises(CharRNNError) as caught, replacing(folder / "file.bin"):
        pytest.fail("there is no such folder")
    message = str(caught.value)
    assert message.startswith(f"cannot write {folder / 'file.bin'}: ")
    assert "--out" in message
    assert "\n" not in message


def test_a_folder_in_place_of_the_file_is_refused(tmp_path):
    (tmp_path / "file.bin").mkdir()
    with pytest.raises(CharRNNError, match="cannot write"), replacing(tmp_path / "file.bin") as file:
        file.write(b"new")
    assert os.listdir(tmp_path) == ["file.bin"]
    assert os.listdir(tmp_path / "file.bin") == []


def test_only_the_systems_refusals_are_turned_into_one_line(tmp_path):
    with pytest.raises(CharRNNError) as caught, writing(tmp_path):
        raise OSError("a reason without a number")
    assert "a reason without a number" in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)
    error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError) as caught, writing(tmp_path):
        raise error
    assert caught.value is error


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_read_only_folder_is_refused(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(CharRNNError, match=os.strerror(errno.EACCES)), replacing(path):
            pytest.fail("nothing can be written there")
    finally:
        tmp_path.chmod(0o700)
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_waits_until_it_is_over(number):
    got, done = [], []
    earlier = signal.signal(number, lambda number, _: got.append(number))
    handler = signal.getsignal(number)
    try:
        with uninterrupted():
            signal.raise_signal(number)
            signal.raise_signal(number)
            assert not got
            done.append(True)
        assert (done, got, signal.getsignal(number)) == ([True], [number, number], handler)
    finally:
        signal.signal(number, earlier)


def test_ctrl_c_is_raised_when_it_is_over():
    done = []

    def work():
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            done.append(True)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_leaves_the_signals_as_they_were():
    with pytest.raises(CharRNNError, match="full"), uninterrupted():
        raise CharRNNError("full")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_have_no_signals_to_wait_for():
    done = []

    def work():
        with uninterrupted():
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done


@pytest.mark.skipif(os.name != "posix", reason="Windows has no named pipes, and links only for some users")
def test_an_output_file_is_neither_a_pipe_nor_a_folder_and_a_link_stays_a_link(tmp_path):
    os.mkfifo(pipe := tmp_path / "pipe")
    (link := tmp_path / "link").symlink_to(tmp_path / "file")
    assert output_file(link) == (tmp_path / "file").resolve()
    assert output_file(str(tmp_path / "new")) == tmp_path / "new"
    problems = {
        pipe: "is not a file",
        "-": "is not a file",
        tmp_path: "is a folder",
        tmp_path / "no" / "a": "there is no folder",
    }
    for name, problem in problems.items():
        with pytest.raises(ConfigError, match=problem):
            output_file(name)
    (tmp_path / "to-pipe").symlink_to(pipe)
    with pytest.raises(ConfigError, match="is not a file: try FILE"):
        output_file(tmp_path / "to-pipe", "try FILE")
