"""Standard streams without a buffer, streams that do not block, and streams that fail."""

import errno
import io
import json
import os
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from charrnn.cli import _streams
from charrnn.cli._streams import OutputError, _Input, _Output, discard, open_streams

from ._material import TEXT, TIMEOUT, error_line, posix

pytestmark = posix


@pytest.fixture
def pipe():
    """Return both ends of a pipe that does not block."""
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    yield ends
    for end in ends:
        os.close(end)


def ended(process, input=None):
    """Return the exit code of a process, its output and what it wrote to standard error."""
    stdout, stderr = process.communicate(input, timeout=TIMEOUT)
    return process.returncode, stdout, stderr.decode()


# Input that has not arrived yet


@pytest.mark.parametrize(
    "read_all",
    [
        lambda reader: reader.read(),
        lambda reader: reader.read(100),
        lambda reader: b"".join(iter(reader.readline, b"")),
        lambda reader: b"".join(iter(lambda: reader.read1(100), b"")),
        lambda reader: reader.raw.readall(),
    ],
    ids=["read", "so many bytes", "lines", "read1", "raw"],
)
def test_an_empty_pipe_is_not_the_end_of_the_input(monkeypatch, read_all):
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    pieces = [b"one\ntw", b"o\n", b"three"]

    def arrive(*, input):
        os.write(theirs, pieces.pop(0)) if pieces else os.close(theirs)

    monkeypatch.setattr(_streams, "_wait_for", arrive)
    assert read_all(io.BufferedReader(_Input(ours))) == b"one\ntwo\nthree"
    os.close(ours)


def start_waiting(command, *args):
    """Start a command whose standard input is a pipe that does not block; return it and the writing end."""
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    process = command(*args, stdin=ours)
    os.close(ours)
    return process, os.fdopen(theirs, "wb", buffering=0)


def test_score_waits_for_lines(command, tiny):
    process, feed = start_waiting(command, "score", "--line-buffered")
    with feed:
        for line in TEXT.encode().splitlines(keepends=True)[:2]:
            feed.write(line)
            assert process.stdout.readline().endswith(b"\t" + line)
    assert ended(process) == (0, b"", f"Model: {tiny / 'best.npz'}\n")


def test_serve_waits_for_requests(command, tiny):
    process, feed = start_waiting(command, "serve", "--stdio")
    with feed:
        for number in (1, 2):
            feed.write(b'{"do": "health"}\n')
            assert json.loads(process.stdout.readline())["id"] == number
    assert ended(process)[0] == 0


# Output that is not written at once


def test_a_full_pipe_takes_everything_in_the_end(pipe):
    ours, theirs = pipe
    data, read = os.urandom(1 << 20), bytearray()

    def read_all():
        with io.BufferedReader(_Input(ours)) as reader:
            read.extend(reader.read(len(data)))

    thread = threading.Thread(target=read_all)
    writer = io.TextIOWrapper(_Output(theirs, OutputError), write_through=True)  # as PYTHONUNBUFFERED makes it
    thread.start()
    assert writer.buffer.write(memoryview(data).cast("I")) == len(data)
    thread.join(TIMEOUT)
    assert read == data


def test_after_an_interrupted_write_nothing_is_written_twice(pipe, monkeypatch):
    def interrupt(*, output):
        raise KeyboardInterrupt

    monkeypatch.setattr(_streams, "_wait_for", interrupt)
    ours, theirs = pipe
    capacity = os.write(theirs, bytes(1 << 20))
    os.read(ours, 4096)
    writer = io.BufferedWriter(_Output(theirs, OutputError))
    writer.write(b"x" * 6000)
    with pytest.raises(KeyboardInterrupt):
        writer.flush()
    assert os.read(ours, capacity).count(b"x") < 6000  # 4096 where a page has so many bytes
    writer.flush()
    with pytest.raises(BlockingIOError):
        os.read(ours, 1)


@pytest.mark.parametrize("failure", [OutputError, BrokenPipeError])
def test_a_stream_that_fails_can_be_discarded(failure):
    ours, theirs = os.pipe()
    os.close(ours)
    stream = io.TextIOWrapper(io.BufferedWriter(_Output(theirs, failure)))
    stream.write("text")
    with pytest.raises(failure) as caught:
        stream.flush()
    assert caught.value.errno == errno.EPIPE
    discard(stream)
    stream.write("more")
    stream.close()
    os.close(theirs)


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("args", [("score", "tiny.txt"), ("info", "--json")], ids=" ".join)
def test_output_that_does_not_fit_is_an_error(command, tiny, args, unbuffered):
    import resource

    with open("out", "wb") as file:
        process = command(
            *args,
            env={"PYTHONUNBUFFERED": unbuffered},
            stdout=file,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
        )
        code, _, stderr = ended(process)
    assert Path("out").stat().st_size == 1000
    assert code == 2
    told = error_line(stderr)
    assert told.startswith(f"cannot write to standard output: {os.strerror(errno.EFBIG)}: ")
    assert "ulimit -f" in told


# What is replaced


@contextmanager
def opened(*streams):
    """Open these in place of the standard streams; yield what takes their place."""
    with pytest.MonkeyPatch.context() as patch:
        for name, stream in zip(("stdin", "stdout", "stderr"), streams, strict=True):
            patch.setattr(sys, name, stream)
        open_streams()
        yield sys.stdin, sys.stdout, sys.stderr


def test_streams_keep_their_buffers_and_write_utf_8(cwd):
    Path("in").write_bytes(b"text")
    with (
        open("in", encoding="latin-1") as stdin,
        open("out", "w", encoding="latin-1") as stdout,
        io.TextIOWrapper(io.FileIO("err", "w"), write_through=True) as stderr,
    ):
        stdout.write("before ")
        with opened(stdin, stdout, stderr) as (ours, output, notes):
            assert ours.buffer.read() == b"text"
            output.write("Käfer\udce4")
            notes.write("Käfer")
            assert Path("err").read_text("utf-8") == "Käfer"
            assert Path("out").read_text("utf-8") == "before "
            output.flush()
            assert Path("out").read_text("utf-8") == "before Käfer\\udce4"
            with opened(ours, output, notes) as again:
                assert again == (ours, output, notes)


def test_streams_of_another_program_are_left_alone():
    stdin, stdout = io.StringIO(), io.TextIOWrapper(io.BytesIO(), "latin-1")
    with opened(stdin, stdout, None) as (ours, output, notes), notes.buffer.raw.replaced, notes:
        assert (ours, output, output.encoding) == (stdin, stdout, "utf-8")
        notes.write("lost")
