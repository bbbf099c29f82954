"""Commands on ranks of MPI: started by `mpiexec`, looked into, and ended."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import charrnn

MPIEXEC = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))

needs_mpi = pytest.mark.skipif(
    sys.platform != "linux" or MPIEXEC is None or importlib.util.find_spec("mpi4py") is None,
    reason="needs mpiexec and mpi4py: pip install mpich mpi4py",
)

SHARED_MEMORY = Path("/dev/shm")
TIMEOUT = 60  # seconds after which ranks count as hanging
CHARRNN = (sys.executable, "-m", "charrnn")


def environment(**more):
    """Return the environment of ranks: this one's, with this charrnn, one thread for products, and more put in."""
    packages = [str(Path(charrnn.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = {"PYTHONPATH": os.pathsep.join(packages), "NO_COLOR": "1", "COLUMNS": "80", "OPENBLAS_NUM_THREADS": "1"}
    return os.environ | own | more


def mpiexec(*words, n=2, cwd=None, env=None, **options):
    """Start a command line on so many ranks; after ":" among its words, another begins that other ranks start."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(
        [MPIEXEC, "-n", str(n), *map(str, words)], cwd=cwd, env=environment(**env or {}), text=True, **pipes | options
    )


def ended(process, input=None, patience=TIMEOUT):
    """Wait for the end; return exit code, standard output and standard error. Fail, ending all, where they hang."""
    try:
        out, err = process.communicate(input, timeout=patience)
    except subprocess.TimeoutExpired:
        process.kill()
        pytest.fail(f"the ranks hang: {process.communicate()}")
    return process.returncode, out, err


def on_ranks(*args, n=2, input=None, patience=TIMEOUT, **options):
    """Run charrnn with these arguments on so many ranks; return exit code, standard output and standard error."""
    if input is not None:
        options["stdin"] = subprocess.PIPE
    return ended(mpiexec(*CHARRNN, *args, n=n, **options), input, patience)


def offspring(pid):
    """Return the processes below one, each with its own id after that of its parent."""
    found = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(child): int(parent) for child, parent in map(str.split, found.splitlines())}
    below = [pid]
    for each in below:
        below += [child for child, parent in parents.items() if parent == each]
    return below[1:]


def ranks_below(process, n):
    """Return the ids of the processes that an mpiexec starts, so many, in the order of their ranks."""
    until = time.monotonic() + TIMEOUT
    while time.monotonic() < until and process.poll() is None:
        found = {rank: pid for pid in offspring(process.pid) if (rank := _rank(pid)) is not None}
        if len(found) == n:
            return [found[rank] for rank in range(n)]
        time.sleep(0.02)
    pytest.fail(f"{n} ranks were not started: {process.communicate()}")


def _rank(pid):
    """Return which rank a process is; None if it is none, or a process that a rank has started."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        variables = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # it has ended
        return None
    rank = re.search(rb"(?:^|\0)PMI_RANK=(\d+)", variables)
    return int(rank[1]) if rank and b"charrnn" in command and b"-c\0" not in command else None


def is_alive(pid):
    """Return whether a process is there, and not a zombie that waits to be asked for its end."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition):
    """Return what the condition returns as soon as it is true."""
    until = time.monotonic() + TIMEOUT
    while not (found := condition()):
        assert time.monotonic() < until
        time.sleep(0.01)
    return found


@contextmanager
def no_files_left():
    """Remove, at the end, what ranks that were killed have left in shared memory: MPICH does not."""
    before = set(SHARED_MEMORY.glob("mpich_*"))
    yield
    used = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):  # it has ended, or is somebody else's
            used.update(map(Path, re.findall(r"/dev/shm/mpich_\S+", maps.read_text())))
    for file in set(SHARED_MEMORY.glob("mpich_*")) - before - used:
        with suppress(OSError):
            file.unlink()
