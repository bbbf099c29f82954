"""Ranks that are killed, again and again: what is on disk is whole, and the run goes on from it as if nothing was."""

import os
import random
import signal
import time
from contextlib import suppress
from itertools import pairwise

import pytest
from fixtures_mpi import (
    CHARRNN,
    ended,
    is_alive,
    mpiexec,
    needs_mpi,
    no_files_left,
    offspring,
    on_ranks,
    ranks_below,
    wait_for,
)
from fixtures_run import arrays_of, log_of, meta_of, write_text

from charrnn import checkpoint as ckpt

pytestmark = [pytest.mark.slow, needs_mpi]

#: Saves and logs so often that most moments are ones of writing.
BUSY = "--hidden-size 8 --dropout 0.1 --batch-size 6 --seq-len 10 --seed 5 --schedule constant --learning-rate 0.001"
BUSY += " --log-every 1 --save-every 1 --eval-every 5"
KILLS = 100
STEPS = 500  # and as many more whenever these are done before the next kill

LONG = 600  # seconds for a run that nobody kills


def assert_usable(folder):
    """Assert that what a kill left behind is whole, and that the log has each report once."""
    for path in (folder / "best.npz", folder / "last.npz"):
        if path.exists():
            ckpt.load(path)
    if (folder / "log.jsonl").exists():
        *lines, last = (folder / "log.jsonl").read_text().split("\n")
        assert [line.split(",")[0] for line in lines] == [f'{{"step": {step}' for step in range(1, len(lines) + 1)]
        assert last == "" or not last.endswith("}")


def killed(process, n, folder, moments):
    """Kill a random rank at a random moment, in half of the cases while the run begins; return the exit code."""
    ranks, last = ranks_below(process, n), folder / "last.npz"
    if moments.random() < 0.5:
        time.sleep(moments.uniform(0, 1.5))
    else:
        had = last.stat().st_mtime_ns if last.exists() else 0
        while process.poll() is None and not (last.exists() and last.stat().st_mtime_ns > had):
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.2))
    everybody = offspring(process.pid)
    with suppress(ProcessLookupError):  # the run was complete before
        os.kill(moments.choice(ranks), signal.SIGKILL)
    code, _, err = ended(process)
    assert "Traceback" not in err, err
    wait_for(lambda: not any(map(is_alive, everybody)))
    return code


@pytest.mark.parametrize("several", [(2,), (1, 2, 3)], ids=["two", "several"])
def test_a_hundred_kills_lose_nothing(tmp_path, several):
    text, folder, reached = write_text(tmp_path), tmp_path / "run", [0]
    moments, total = random.Random(len(several)), STEPS

    def command(path):
        way = ["--resume"] if (path / "last.npz").exists() else BUSY.split()
        return ("train", text, "--out", path, "--steps", total, "--quiet", *way)

    while len(reached) <= KILLS:
        n = moments.choice(several)
        with no_files_left():
            code = killed(mpiexec(*CHARRNN, *command(folder), n=n), n, folder, moments)
        assert_usable(folder)
        if code == 0:
            total += STEPS
        else:
            assert code in (9, 255)  # SIGKILL's number; rarely, mpiexec loses the connection to what it started first
            reached.append(meta_of(folder / "last.npz")["step"] if (folder / "last.npz").exists() else 0)
            assert reached[-1] >= reached[-2]
    assert on_ranks(*command(folder), patience=LONG) == (0, "", "")
    assert meta_of(folder / "last.npz")["step"] == total
    assert [record["step"] for record in log_of(folder)] == list(range(1, total + 1))
    advances = sum(after > before for before, after in pairwise(reached))
    print(f"{KILLS} kills, {advances} of them after at least one more step, {total} steps in all")
    if several == (2,):
        assert on_ranks(*command(tmp_path / "whole"), patience=LONG) == (0, "", "")
        for name in ("last.npz", "best.npz"):
            ours, whole = arrays_of(folder / name), arrays_of(tmp_path / "whole" / name)
            assert ours.keys() == whole.keys()
            for key in ours.keys() - {"meta"}:
                assert ours[key].tobytes() == whole[key].tobytes(), (name, key)
        assert log_of(folder, clock=False) == log_of(tmp_path / "whole", clock=False)
