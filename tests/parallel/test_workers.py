"""Processes that share a step: they do what one process does, and end in order whatever happens to any of them."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fixtures_run import assert_same_run, begin, finish, make_training, start, stop_at, write_text

from charrnn.config import CELL_NAMES
from charrnn.errors import CharRNNError
from charrnn.nn.bptt import Learner
from charrnn.parallel import plan as plan_module
from charrnn.parallel import workers as workers_module
from charrnn.parallel.plan import make_plan
from charrnn.parallel.shared import memory_file
from charrnn.parallel.workers import Workers
from charrnn.system.signals import SAVING, STOPPING
from charrnn.training.loop import Stepped

posix = pytest.mark.skipif(os.name != "posix" or not shutil.which("ps"), reason="needs processes, and ps to see them")

#: A batch that two processes share.
SHARED = {"batch_size": 16, "threads": 2}


def step_with(training, processes, step=3):
    """Return loss, state and gradients of a step shared by so many processes, from a state that is not zero."""
    (result,) = steps_with(training, processes, [training.stream[step]], step)
    return result


def steps_with(training, processes, windows, step=3):
    """Yield what `step_with` returns, for each of these windows in the place of the step's."""
    config = training.config
    state = begin(training)
    before = np.random.default_rng(2).normal(size=state.state.shape).astype(state.state.dtype)
    plan = make_plan(training.model_config, config.seed, config.batch_size, config.seq_len, processes)
    with Workers(plan._replace(processes=processes)) as workers:
        workers.set_params(state.params)
        for window in windows:
            loss, last, grads = workers.gradients(window, before, step)
            yield loss, last.copy(), {name: grad.copy() for name, grad in grads.items()}


def test_shared_memory_is_a_file_where_the_system_has_no_other(monkeypatch):
    def refuse(name):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(os, "memfd_create", refuse, raising=False)
    with memory_file() as file:
        os.truncate(file.fileno(), 9)
        assert file.read() == bytes(9)


@posix
@pytest.mark.parametrize(
    "settings", [*({"cell": cell} for cell in CELL_NAMES), {"embed_size": 3, "tied": True}, {"attention": 7}]
)
def test_processes_compute_what_one_process_does(settings):
    training = make_training(
        dtype="float64", num_layers=2, dropout=0.4, weight_drop=0.3, batch_size=5, seq_len=9, **settings
    )
    last = training.stream.steps_per_epoch - 1
    windows = [training.stream[0], training.stream[3], training.stream[last]]
    counted = np.random.default_rng(1).random((9, 5)) < [0.2, 0.9, 0, 0.5, 0.5]
    windows += [windows[1]._replace(counted=counted), windows[1]._replace(counted=counted & False)]
    assert windows[0].reset is not None
    assert windows[1].reset is None
    assert len(windows[2].inputs) < 9
    alone = [*steps_with(training, 1, windows)]
    for processes in (2, 5):
        shared = steps_with(training, processes, windows)
        for (loss, state, grads), (other_loss, other_state, other_grads) in zip(alone, shared, strict=True):
            assert other_loss == pytest.approx(loss, rel=1e-13)
            np.testing.assert_allclose(other_state, state, rtol=0, atol=1e-12)
            assert other_grads.keys() == grads.keys()
            for name, grad in grads.items():
                np.testing.assert_allclose(other_grads[name], grad, rtol=0, atol=1e-13, err_msg=name)


@posix
@pytest.mark.parametrize("attention", [0, 7])
def test_a_window_may_have_fewer_rows_than_there_are_processes(attention):
    training = make_training(dtype="float64", batch_size=4, attention=attention)
    params, window = begin(training).params, training.stream[1].rows(slice(1))
    state, found = begin(training).state[:, :, :1], []
    for processes in (1, 2):
        with Workers(make_plan(training.model_config, 1, 4, 10, 1)._replace(processes=processes)) as workers:
            workers.set_params(params)
            found.append((*workers.score(window, state.copy()), workers.read(window, state.copy())))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-13)


@posix
@pytest.mark.parametrize("processes", [2, 3, 5])
@pytest.mark.parametrize("many", [0, 10**9], ids=["each adds a share", "one adds all"])
def test_gradients_are_added_in_order_of_rank_whoever_adds_them(monkeypatch, processes, many):
    monkeypatch.setattr(plan_module, "_MANY", many)
    training = make_training(num_layers=2, dropout=0.4, batch_size=5, seq_len=9)
    assert training.model_config.dtype == "float32"
    state, window = begin(training), training.stream[3]
    before = np.random.default_rng(2).normal(size=state.state.shape).astype(state.state.dtype)
    learner = Learner(training.model_config, training.config.seed)
    learner.set_params(state.params)
    expected_loss, expected = 0.0, dict[str, np.ndarray]()
    for rank in range(processes):
        rows = slice(5 * rank // processes, 5 * (rank + 1) // processes)
        loss, _, grads = learner.gradients(window, before, 3, rows)
        expected_loss += loss
        expected = {name: expected[name] + grad if rank else grad.copy() for name, grad in grads.items()}
    found_loss, _, found = step_with(training, processes)
    assert found_loss == expected_loss
    assert list(found) == list(expected)  # norms add up in this order
    for name, grad in expected.items():
        np.testing.assert_array_equal(found[name], grad, err_msg=name)


@posix
@pytest.mark.parametrize(("processes", "units", "asks"), [(2, 8, False), (2, 512, True), (3, 8, False), (3, 256, True)])
def test_other_processes_are_asked_to_add_only_if_there_is_much_to_add(monkeypatch, processes, units, asks):
    sent, send = [], workers_module._Other.send
    monkeypatch.setattr(
        workers_module._Other, "send", lambda other, message: sent.append(message) or send(other, message)
    )
    step_with(make_training(hidden_size=units, batch_size=4, seq_len=2), processes)
    size = workers_module._REQUEST.size
    tasks = [workers_module._REQUEST.unpack(message)[0] for message in sent if len(message) == size]
    assert tasks.count(workers_module._GRADIENTS) == processes - 1
    assert tasks.count(workers_module._SUM) == asks * (processes - 1)


@posix
def test_a_shared_run_is_repeated_and_resumed_bit_for_bit(tmp_path):
    corpus = write_text(tmp_path)
    settings = SHARED | {"dropout": 0.3}
    for name in ("one", "two"):
        finish(start(tmp_path / name, corpus, **settings))
    assert_same_run(tmp_path / "one", tmp_path / "two")
    run = start(tmp_path / "stopped", corpus, **settings)
    stop_at(run, lambda event: isinstance(event, Stepped) and event.step == 5)
    finish(type(run).resume(tmp_path / "stopped"))
    assert_same_run(tmp_path / "one", tmp_path / "stopped")


@posix
def test_a_run_leaves_no_process_behind(tmp_path):
    run = start(tmp_path / "run", **SHARED)
    events = run.events()
    next(events)
    assert children(os.getpid())
    events.close()
    assert not children(os.getpid())
    run.close()


@posix
def test_a_process_that_is_killed_ends_the_run_and_loses_nothing(tmp_path):
    run = start(tmp_path / "run", **SHARED)
    events = run.events()
    next(event for event in events if isinstance(event, Stepped))
    run.save()
    before = (tmp_path / "run" / "last.npz").read_bytes()
    (child,) = children(os.getpid())
    os.kill(child, signal.SIGKILL)
    with pytest.raises(CharRNNError, match=r"ended by SIGKILL.*--threads 1"):
        list(events)
    run.close()
    assert (tmp_path / "run" / "last.npz").read_bytes() == before
    assert not children(os.getpid())


@posix
def test_signals_to_all_processes_of_a_job_end_no_other_process():
    training = make_training(batch_size=4)
    with Workers(make_plan(training.model_config, 1, 4, 10, 1)._replace(processes=2)) as workers:
        (child,) = children(os.getpid())
        for number in (*STOPPING, *SAVING):
            os.kill(child, number)
        state = begin(training)
        workers.set_params(state.params)
        workers.gradients(training.stream[0], state.state, 0)
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
    assert not children(os.getpid())


@posix
def test_the_error_that_stops_a_process_is_reported(monkeypatch):
    failing = (
        "import charrnn.nn.bptt as bptt\n"
        "def fail(*given): raise MemoryError('no room')\n"
        "bptt.Learner.gradients = fail\n"
    )
    monkeypatch.setattr(workers_module, "_START", failing + workers_module._START)
    training = make_training(batch_size=4)
    with pytest.raises(CharRNNError, match="MemoryError: no room"):
        step_with(training, 2)


@posix
def test_what_a_process_prints_is_no_answer(tmp_path, monkeypatch, capfd):
    (tmp_path / "sitecustomize.py").write_text("print('hello')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    training = make_training(batch_size=4)
    loss, _, _ = step_with(training, 2)
    assert loss == pytest.approx(step_with(training, 1)[0], rel=1e-6)
    assert capfd.readouterr() == ("", "")


@posix
@pytest.mark.parametrize("answer", [b"hello", b".."])
def test_an_unexpected_answer_ends_the_process(monkeypatch, answer):
    stray = f"import os, sys; os.write({{answers}}, {answer!r}); sys.stdin.read()"
    monkeypatch.setattr(workers_module, "_START", stray)
    with pytest.raises(CharRNNError) as caught:
        step_with(make_training(batch_size=4), 2)
    assert f"unexpected answer {answer!r}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not children(os.getpid())


@posix
def test_a_process_that_cannot_start_is_told_by_its_exit_code(monkeypatch):
    monkeypatch.setattr(workers_module, "_START", "{answers}; raise SystemExit(3)")
    with pytest.raises(CharRNNError, match=r"stopped \(exit code 3\)"):
        step_with(make_training(batch_size=4), 2)


@posix
def test_a_process_that_does_not_listen_is_ended_too(monkeypatch):
    monkeypatch.setattr(workers_module, "_START", "import time; {answers}; time.sleep(1000)")
    training = make_training(batch_size=16, threads=2)
    with training.workers():
        pass
    assert not children(os.getpid())


@posix
def test_the_processes_end_when_the_one_that_started_them_is_killed(tmp_path):
    corpus = write_text(tmp_path)
    command = [sys.executable, "-m", "charrnn", "train", corpus, "--hidden-size", "16", "--batch-size", "16"]
    command += ["--seq-len", "10", "--threads", "2", "--steps", "1000000", "--quiet", "--out", str(tmp_path / "run")]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    (child,) = wait_for(lambda: children(process.pid))
    process.kill()
    process.wait()
    assert wait_for(lambda: not is_alive(child))


@posix
def test_the_start_command_finds_its_module_in_a_fresh_process():
    command = workers_module._command(1)
    assert "charrnn.parallel.workers" in command[-1]
    ended = subprocess.run(command, input=b"", capture_output=True, check=True, cwd="/")
    assert ended.stderr == b""
    assert ended.stdout.startswith(b"!JSONDecodeError")  # it ran, and reports that the settings are missing


@posix
def test_a_process_whose_answers_nobody_reads_ends_quietly():
    listening, talking = os.pipe()
    os.close(listening)
    ended = subprocess.run(
        workers_module._command(1), input=b"no request\n", stdout=talking, stderr=subprocess.PIPE, check=True
    )
    os.close(talking)
    assert ended.stderr == b""


def wait_for(condition):
    """Wait for the function to return something true, at most a minute, and return that."""
    for _ in range(600):
        if found := condition():
            return found
        time.sleep(0.1)
    return pytest.fail("waited in vain")


def children(pid):
    """Return the ids of the workers that this process started and that have not ended."""
    return [int(child) for child, parent, _ in processes() if int(parent) == pid]


def is_alive(pid):
    """Return whether the process has not ended; a zombie has."""
    return any(int(child) == pid for child, _, _ in processes())


def processes():
    """Return id, parent and state of all workers that have not ended."""
    listed = subprocess.run(["ps", "-eww", "-o", "pid=,ppid=,stat=,args="], capture_output=True, text=True, check=True)
    rows = [line.split(None, 3) for line in listed.stdout.splitlines()]
    return [row[:3] for row in rows if "charrnn.parallel.workers" in row[3] and not row[2].startswith("Z")]
