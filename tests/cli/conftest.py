"""What the tests of the command line share: a way to run it, in this process or in its own, and a trained run."""

from __future__ import annotations

import contextlib
import inspect
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

import charrnn
from charrnn.cli import main
from charrnn.system.signals import SAVING, STOPPING

from ._material import LABELLED, SMALL, TEXT, Command, Outcome, Terminal

ENVIRONMENT: dict[str, str | None] = {
    "COLUMNS": "80",
    "NO_COLOR": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OPENBLAS_CORETYPE": os.environ.get("OPENBLAS_CORETYPE", ""),  # in its own process as in this one, bit for bit
    "CHARRNN_MODEL": None,
    "CHARRNN_COLOR": None,
    "CHARRNN_CONFIG": None,
    "FORCE_COLOR": None,
    "TTY_COMPATIBLE": None,
    "PYTHONIOENCODING": None,
}


def invoke(
    *args: str | Path,
    input: str | bytes | None = None,
    code: int = 0,
    env: dict[str, str] | None = None,
) -> Outcome:
    """Run the command in this process; fail where it ends with another exit code, or with an exception."""
    streams = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}  # click < 8.2
    runner = CliRunner(env=ENVIRONMENT | (env or {}), **streams)
    result = runner.invoke(main, list(map(str, args)), input=input, prog_name="charrnn")
    crashed = result.exception is not None and not isinstance(result.exception, SystemExit)
    if crashed or result.exit_code != code:
        told = (
            f"charrnn {' '.join(map(str, args))}\nended with {result.exit_code}, not {code}\nstderr:\n{result.stderr}"
        )
        if crashed:
            raise AssertionError(f"{told}\nexception: {result.exception!r}") from result.exception
        pytest.fail(f"{told}\nstdout:\n{result.stdout}", pytrace=False)
    return Outcome(result.exit_code, result.stdout_bytes, result.stderr)


@pytest.fixture(autouse=True)
def cwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has an empty folder to itself, and is in it."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """Let every test, and every process it starts, begin with the handlers that Python has at first."""
    defaults = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    others = {number: signal.getsignal(number) for number in (*STOPPING, *SAVING)}
    before = others | {number: signal.signal(number, handler) for number, handler in defaults.items()}
    yield
    for number, handler in before.items():  # a command that a signal has stopped ignores all of them
        signal.signal(number, handler)


@pytest.fixture
def run() -> Callable[..., Outcome]:
    """`run(*args, input=None, code=0, env={})`: the command in this process, with what it wrote to either stream."""
    return invoke


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `tiny.txt` and a run on it in `checkpoints/tiny`; tests take copies."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.txt").write_bytes(TEXT.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        invoke("train", "tiny.txt", *SMALL, "--steps", "40", "--eval-every", "20", "--quiet")
    return folder


@pytest.fixture
def tiny(trained: Path, cwd: Path) -> Path:
    """Put `tiny.txt` and its run into the test's folder; return the run's folder."""
    shutil.copytree(trained, cwd, dirs_exist_ok=True)
    return Path("checkpoints/tiny")


@pytest.fixture(scope="session")
def trained_classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `labelled.tsv` and a classifier of it in `checkpoints/labelled`; tests take copies."""
    folder = tmp_path_factory.mktemp("classifier")
    (folder / "labelled.tsv").write_bytes(LABELLED.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        small = ("--hidden-size", "16", "--batch-size", "8", "--warmup-steps", "5", "--seed", "1", "--threads", "1")
        split = ("--val-fraction", "0.2", "--test-fraction", "0.1")
        invoke("classify", "train", "labelled.tsv", *small, *split, "--steps", "60", "--eval-every", "60", "--quiet")
    return folder


@pytest.fixture
def classifier(trained_classifier: Path, cwd: Path) -> Path:
    """Put `labelled.tsv` and its classifier into the test's folder; return the run's folder."""
    shutil.copytree(trained_classifier, cwd, dirs_exist_ok=True)
    return Path("checkpoints/labelled")


@pytest.fixture
def corpus(cwd: Path) -> str:
    """Put `tiny.txt` alone into the test's folder; return its name."""
    (cwd / "tiny.txt").write_bytes(TEXT.encode())
    return "tiny.txt"


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a process: this one's, with ENVIRONMENT and more put in."""
    env = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT}
    env |= {name: value for name, value in ENVIRONMENT.items() if value is not None}
    packages = [str(Path(charrnn.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return env | {"PYTHONPATH": os.pathsep.join(packages)} | more


@pytest.fixture
def command() -> Iterator[Command]:
    """`command(*args, env={}, **popen)`: the command as a process of its own, with a pipe for every stream."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*args: str | bytes, env: dict[str, str] | None = None, **popen: object) -> subprocess.Popen[bytes]:
        pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
        process = subprocess.Popen(
            [sys.executable, "-m", "charrnn", *args],
            env=environment(**(env or {})),
            **(pipes | popen),
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with process:  # closes its pipes and waits
            if process.poll() is None:
                process.kill()


@pytest.fixture
def terminal(command: Command) -> Iterator[Callable[..., Terminal]]:
    """`terminal(*args, stream="stderr", columns=160, rows=40, **env)`: the command with streams on a terminal."""
    pty = pytest.importorskip("pty", reason="needs a pseudo-terminal")
    import fcntl
    import struct
    import termios

    ours: list[int] = []

    def start(*args: str, stream: str = "stderr", columns: int = 160, rows: int = 40, **env: str) -> Terminal:
        master, slave = pty.openpty()
        ours.append(master)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        process = command(
            *args, env={"TERM": "xterm"} | env, stdin=subprocess.DEVNULL, **dict.fromkeys(stream.split(), slave)
        )
        os.close(slave)
        return Terminal(process, master)

    yield start
    for master in ours:
        with contextlib.suppress(OSError):
            os.close(master)
