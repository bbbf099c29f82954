"""Ranks without MPI: threads take its place, so what they do is tested wherever the tests run.

What needs MPI itself is in `tests/parallel/test_mpi.py` and `tests/cli/test_mpi.py`.
"""

import errno
import os
import signal
import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from fixtures_run import (
    TEXT,
    arrays_of,
    assert_same_run,
    begin,
    finish,
    log_of,
    make_training,
    start,
    stop_at,
    write_text,
)

from charrnn.config import CELL_NAMES
from charrnn.errors import NO_MEMORY, CharRNNError, ConfigError, MissingExtraError
from charrnn.nn.bptt import Learner
from charrnn.nn.cells import CELLS, register_cell
from charrnn.parallel import ranks as ranks_module
from charrnn.parallel import sums
from charrnn.parallel.ranked import RankedWorkers
from charrnn.parallel.ranks import Ranks, _Place, _refuse_differences, _threads, _with_own_names
from charrnn.parallel.workers import SlowRank
from charrnn.training import follow as follow_module
from charrnn.training.loop import Recovered, Stepped, fit, validate
from charrnn.training.run import Run

from ._world import ranks_of

pytestmark = pytest.mark.usefixtures("no_sync")

#: All that could go wrong in a share of a batch, which no number of ranks above one divides.
AWKWARD = {"num_layers": 2, "dropout": 0.4, "weight_drop": 0.3, "batch_size": 5, "seq_len": 9, "reset_rate": 0.3}
PLACE = _Place("here", 0, "1.0", (), frozenset(range(8)), 8, {})


def random_state(training):
    """Return a state of the batch rows that is not zero."""
    shape = begin(training).state.shape
    return np.random.default_rng(2).normal(size=shape).astype(training.model_config.dtype)


def trained(training, steps=None):
    """Return the state after the training, or after so many steps, and the events."""
    state, events = begin(training), []
    for event in fit(training, state):
        events.append(event)
        if isinstance(event, Stepped) and event.step == steps:
            break
    return state, events


def assert_close(ours, theirs, atol):
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_allclose(array, theirs[name], rtol=0, atol=atol, err_msg=name)


# The same result


@pytest.mark.parametrize(
    "settings", [*({"cell": cell} for cell in CELL_NAMES), {"embed_size": 3, "tied": True}, {"attention": 7}]
)
def test_ranks_compute_what_one_process_does(monkeypatch, settings):
    training = make_training(**AWKWARD | {"dtype": "float64"} | settings)
    windows = [training.stream[step] for step in (0, 3, training.stream.steps_per_epoch - 1)]
    assert any(window.reset is not None for window in windows)
    assert len(windows[2].inputs) < 9
    before, params = random_state(training), begin(training).params
    learner = Learner(training.model_config, training.config.seed)
    learner.set_params(params)
    for size in (2, 4):
        with ranks_of(size, monkeypatch) as ranks, replace(training, ranks=ranks).workers() as workers:
            workers.hold(params, {})
            workers.set_params(params)
            for window in windows:
                loss, state, grads = learner.gradients(window, before, 3, slice(0, 5))
                own_loss, own_state, own_grads = workers.gradients(window, before, 3)
                assert own_loss == pytest.approx(loss, rel=1e-13)
                np.testing.assert_allclose(own_state, state, rtol=0, atol=1e-12)
                assert_close(own_grads, grads, 1e-13)
                scores = learner.score(window, before, slice(0, 5))
                for ours, theirs in zip(workers.score(window, before), scores, strict=True):
                    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)
                np.testing.assert_allclose(workers.read(window, before), scores[2], rtol=0, atol=1e-12)


@pytest.mark.parametrize("least", [2**19, 50], ids=["at once", "in pieces"])
def test_gradients_are_added_in_the_order_of_the_ranks(monkeypatch, least):
    monkeypatch.setattr(sums, "_LEAST", least)
    training = make_training(**AWKWARD)
    assert training.model_config.dtype == "float32"
    window, before, params = training.stream[3], random_state(training), begin(training).params
    learner = Learner(training.model_config, training.config.seed)
    learner.set_params(params)
    expected_loss, expected = 0.0, {}
    for rank in range(3):
        rows = slice(5 * rank // 3, 5 * (rank + 1) // 3)
        loss, _, grads = learner.gradients(window, before, 3, rows)
        expected_loss += loss
        expected = {name: expected[name] + grad if rank else grad.copy() for name, grad in grads.items()}
    with ranks_of(3, monkeypatch) as ranks, replace(training, ranks=ranks).workers() as workers:
        workers.hold(params, {})
        workers.set_params(params)
        found_loss, _, found = workers.gradients(window, before, 3)
    assert found_loss == expected_loss
    assert list(found) == list(expected)  # norms add up in this order
    for name, grad in expected.items():
        np.testing.assert_array_equal(found[name], grad, err_msg=name)


@pytest.mark.parametrize(
    "settings",
    [
        {"clip_norm": 0.1, "average": 0.9},
        {"optimizer": "sgd", "learning_rate": 0.5, "clip_value": 0.01},
        {"optimizer": "adam", "weight_decay": 0.1, "warmup_steps": 3},
    ],
    ids=lambda settings: settings.get("optimizer", "averaged"),
)
def test_ranks_train_as_one_process_does(monkeypatch, settings):
    training = make_training(val_text=TEXT[:60], **AWKWARD | {"dtype": "float64", "steps": 8} | settings)
    alone, events = trained(training)
    with ranks_of(2, monkeypatch) as ranks:
        shared, others = trained(replace(training, ranks=ranks))
    assert [type(event) for event in others if not isinstance(event, SlowRank)] == [type(event) for event in events]
    assert [record["val_loss"] for record in shared.history] == pytest.approx(
        [record["val_loss"] for record in alone.history], rel=1e-12
    )
    assert_close(shared.params, alone.params, 1e-11)
    assert_close(shared.opt_state, alone.opt_state, 1e-11)
    np.testing.assert_allclose(shared.state, alone.state, rtol=0, atol=1e-11)


@pytest.mark.usefixtures("own_cells")
def test_ranks_that_have_registered_a_cell_of_the_users_own_train_it(monkeypatch):
    register_cell("own", replace(CELLS["rnn"], layer=None))
    training = make_training(cell="own", steps=3, dtype="float64")
    alone, _ = trained(training)
    with ranks_of(2, monkeypatch) as ranks:
        shared, _ = trained(replace(training, ranks=ranks))
    assert_close(shared.params, alone.params, 1e-12)


@pytest.mark.parametrize(
    ("chars", "settings"), [(2, {}), (3, {}), (40, {}), (40, {"attention": 7}), (40, {"cell": "lnlstm"})]
)
def test_a_validation_split_may_have_fewer_rows_than_there_are_ranks(monkeypatch, chars, settings):
    training = make_training(val_text=TEXT[:chars], dtype="float64", batch_size=4, **settings)
    params = begin(training).params
    with training.workers() as workers:
        *_, alone = validate(training, params, workers)
    with ranks_of(4, monkeypatch) as ranks:
        training = replace(training, ranks=ranks)
        with training.workers() as workers:
            *_, shared = validate(training, params, workers)
    assert shared.chars == alone.chars == chars - 1
    assert shared.nats_per_char == pytest.approx(alone.nats_per_char, rel=1e-13)


def test_a_run_that_diverges_recovers_as_on_one_process(monkeypatch):
    wild = {"optimizer": "sgd", "learning_rate": 100.0, "clip_norm": 0.0, "schedule": "constant", "eval_every": 5}
    training = make_training(val_text=TEXT[:60], **wild, steps=15, dtype="float64")
    alone, events = trained(training)
    with ranks_of(3, monkeypatch) as ranks:
        shared, others = trained(replace(training, ranks=ranks))
    recoveries = [event for event in events if isinstance(event, Recovered)]
    assert recoveries
    assert [event[:2] for event in others if isinstance(event, Recovered)] == [event[:2] for event in recoveries]
    assert_close(shared.params, alone.params, 1e-9)


# Runs in folders


def test_a_run_on_ranks_is_repeated_and_resumed_bit_for_bit(tmp_path, monkeypatch):
    corpus, settings = write_text(tmp_path), {"dropout": 0.3, "average": 0.9, "steps": 9, "save_every": 2}
    with ranks_of(2, monkeypatch) as ranks:
        for name in ("one", "two"):
            finish(start(tmp_path / name, corpus, ranks=ranks, **settings))
        run = start(tmp_path / "stopped", corpus, ranks=ranks, **settings)
        stop_at(run, lambda event: isinstance(event, Stepped) and event.step == 5)
        going = Run.resume(tmp_path / "stopped", ranks=ranks)
        assert not [note for note in going.notes if "bit for bit" in note]
        finish(going)
    assert_same_run(tmp_path / "one", tmp_path / "two")
    assert_same_run(tmp_path / "one", tmp_path / "stopped")


@pytest.mark.parametrize(
    ("then", "now", "words"), [(2, 1, "2 ranks and is now on 1 rank:"), (1, 3, "1 rank and is now on 3 ranks:")]
)
def test_a_run_resumes_on_another_number_of_ranks_and_says_so(tmp_path, monkeypatch, then, now, words):
    corpus, settings = write_text(tmp_path), {"dtype": "float64", "steps": 9}
    with ranks_of(then, monkeypatch) as ranks:
        run = start(tmp_path / "run", corpus, ranks=ranks if then > 1 else None, **settings)
        stop_at(run, lambda event: isinstance(event, Stepped) and event.step == 5)
    with ranks_of(now, monkeypatch) as ranks:
        going = Run.resume(tmp_path / "run", ranks=ranks if now > 1 else None)
        assert f"the run was on {words} results agree to rounding but not bit for bit" in going.notes
        assert going.config.ranks == now
        finish(going)
    finish(start(tmp_path / "whole", corpus, **settings))
    for name in ("last.npz", "best.npz"):
        ours, theirs = arrays_of(tmp_path / "run" / name), arrays_of(tmp_path / "whole" / name)
        assert_close(
            {key: ours[key] for key in ours if key != "meta"}, {k: theirs[k] for k in theirs if k != "meta"}, 1e-11
        )
    losses = [[record["loss"] for record in log_of(tmp_path / name)] for name in ("run", "whole")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)


def test_a_resumed_run_may_send_its_gradients_with_another_precision(tmp_path):
    finish(start(tmp_path))
    more = {"steps": 24, "half_gradients": True}
    run = Run.resume(tmp_path, write_text(tmp_path), settings=more)
    run.close()
    assert run.config.half_gradients
    assert run.notes == ["gradients are now sent with another precision, so results differ a little"]


def test_more_ranks_than_batch_rows_are_refused(tmp_path, monkeypatch):
    with (
        ranks_of(3, monkeypatch) as ranks,
        pytest.raises(ConfigError, match=r"^3 ranks for 2 batch rows: start at most 2 ranks, or .* --batch-size$"),
    ):
        start(tmp_path / "run", ranks=ranks, batch_size=2)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "note"),
    [
        ({"batch_size": 8}, "8 batch rows are few for 2 ranks: --batch-size 16 would use them better"),
        ({"batch_size": 16, "threads": 4}, "--threads 4 on 1 core for each rank: threads wait"),
        ({"batch_size": 16}, None),
    ],
)
def test_what_uses_ranks_badly_is_said(tmp_path, monkeypatch, settings, note):
    monkeypatch.setattr(ranks_module, "_cores", lambda: frozenset(range(2)))
    monkeypatch.setattr(ranks_module, "available_threads", lambda: 2)
    with ranks_of(2, monkeypatch) as ranks:
        assert ranks.threads == 1
        run = start(tmp_path / "run", ranks=ranks, **settings)
    run.close()
    assert [each.startswith(note or "") for each in run.notes] == [True] * (note is not None)


# What fails


def failing(monkeypatch, rank, error):
    """Let the first gradients that this rank computes fail."""
    gradients, faults = Learner.gradients, [error]

    def fail(learner, window, state, step, rows, part=None):
        if part and (part.first > 0) == (rank > 0) and faults:
            raise faults.pop()
        return gradients(learner, window, state, step, rows, part)

    monkeypatch.setattr(Learner, "gradients", fail)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError("no room"), NO_MEMORY),
        (OSError(errno.ENOSPC, "No space left on device", "here"), "here: No space left on device: free space there"),
        (ZeroDivisionError("oops"), "ZeroDivisionError: oops"),
        (CharRNNError("no luck"), "no luck"),
    ],
)
def test_a_rank_that_fails_is_named_and_the_others_go_on(monkeypatch, rank, error, words):
    training = make_training()
    params = begin(training).params
    failing(monkeypatch, rank, error)
    with ranks_of(2, monkeypatch) as ranks, replace(training, ranks=ranks).workers() as workers:
        workers.hold(params, {})
        workers.set_params(params)
        with pytest.raises(CharRNNError if rank else type(error)) as caught:
            workers.gradients(training.stream[0], begin(training).state, 0)
        assert str(caught.value) == (f"{ranks.names[1]}: {words}" if rank else str(error))
        again = workers.gradients(training.stream[0], begin(training).state, 0)
    with training.workers() as workers:
        workers.set_params(params)
        alone = workers.gradients(training.stream[0], begin(training).state, 0)
    assert again[0] == pytest.approx(alone[0], rel=1e-6)


def test_a_rank_that_lacks_the_cell_is_named_before_training(monkeypatch):
    def lack(name, packed):
        raise ModuleNotFoundError("No module named 'mine'")

    monkeypatch.setattr(follow_module, "unpack", lack)
    with (
        ranks_of(2, monkeypatch) as ranks,
        pytest.raises(CharRNNError, match=r"^rank 1 on .*: ModuleNotFoundError: No module named 'mine'$"),
        replace(make_training(), ranks=ranks).workers(),
    ):
        pass


@pytest.mark.skipif(os.name != "posix", reason="raises a signal")
@pytest.mark.parametrize(
    ("method", "place"),
    [
        ("gradients", "send"),
        ("gradients", "Ialltoall"),
        ("gradients", "Iallgather"),
        ("gradients", "improbe"),
        ("score", "send"),
        ("score", "improbe"),
        ("read", "improbe"),
    ],
)
def test_a_signal_in_the_midst_of_an_exchange_waits_for_its_end(monkeypatch, method, place):
    training = make_training()
    params, state = begin(training).params, begin(training).state
    args = (training.stream[0], state)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with ranks_of(3, monkeypatch) as ranks, replace(training, ranks=ranks).workers() as workers:
            workers.hold(params, {})
            workers.set_params(params)
            loss, *_ = workers.gradients(*args, 0)
            with monkeypatch.context() as patch:
                call, wanted = getattr(ranks._comm, place), [signal.SIGINT]

                def interrupted(*given, **named):
                    if wanted:
                        signal.raise_signal(wanted.pop())
                    return call(*given, **named)

                patch.setattr(ranks._comm, place, interrupted)
                with pytest.raises(KeyboardInterrupt):
                    getattr(workers, method)(*args, *((0,) if method == "gradients" else ()))
                assert not wanted
            assert workers.gradients(*args, 0)[0] == loss
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("alike", [True, False])
def test_after_each_evaluation_ranks_that_round_differently_train_on_from_the_weights_of_the_first(monkeypatch, alike):
    training, sent = make_training(steps=8, eval_every=3), []
    with ranks_of(2, monkeypatch) as ranks:
        assert ranks.alike
        ranks.alike = alike
        for name in ("send_all", "share", "asked"):
            method = getattr(ranks, name)

            def noted(message, method=method):
                sent.append(type(message[0] if type(message) is list else message).__name__)
                return method(message)

            monkeypatch.setattr(ranks, name, noted)
        trained(replace(training, ranks=ranks))
    step, renewed = ["Learn", "Update"], [] if alike else ["Hold"]
    sent = [name for name in sent if name != "_Shared"]
    assert sent == ["Open", "Hold", *(step * 3 + renewed) * 2, *step * 2, *renewed, "Close", "End"]


@pytest.mark.parametrize("numerics", [("2.0", "Haswell", "avx2"), ("2.0", "SkylakeX", None)])
def test_ranks_with_other_kernels_round_differently(monkeypatch, numerics):
    places = [PLACE._replace(numerics=("2.0", "Haswell", "avx2")), PLACE._replace(numerics=numerics)]
    monkeypatch.setattr(ranks_module, "_world", lambda: SimpleNamespace(rank=0, size=2, allgather=lambda own: places))
    monkeypatch.setattr(ranks_module, "_node", lambda world: 0)
    assert Ranks({}).alike == (numerics == ("2.0", "Haswell", "avx2"))


def test_hosts_of_the_same_name_are_told_apart():
    hosts = [("pi", 0), ("pi", 1), ("pi", 0), ("other", 3), ("pi", 4), ("pi", 1)]
    places = [PLACE._replace(host=host, node=node) for host, node in hosts]
    assert [place.host for place in _with_own_names(places)] == ["pi", "pi 2", "pi", "other", "pi 3", "pi 2"]


# The ranks meet


def test_the_ranks_of_a_host_share_its_cores():
    one = PLACE._replace(cores=frozenset({0, 1}), threads=8)
    two, far = one._replace(cores=frozenset({2, 3})), one._replace(host="there", cores=frozenset(range(16)))
    assert [_threads(place, [one, two, far]) for place in (one, two, far)] == [2, 2, 8]
    assert _threads(far._replace(threads=1), [one, two, far]) == 1  # as the environment says
    assert _threads(one, [one] * 5) == 1


def test_all_ranks_have_as_many_threads_as_the_one_that_has_least(monkeypatch):
    monkeypatch.setattr(ranks_module, "available_threads", lambda: 8)
    monkeypatch.setattr(ranks_module, "_cores", lambda: frozenset(range(8)))
    with ranks_of(3, monkeypatch) as ranks:
        assert ranks.threads == 2
        assert [name.split(" on ")[0] for name in ranks.names] == ["rank 0", "rank 1", "rank 2"]
    with ranks_of(1, monkeypatch) as ranks:
        assert ranks.threads == 8


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"version": "0.9"}, "rank 2 on there has charrnn 0.9, and rank 0 has 1.0: install the same version"),
        ({"settings": {}}, "rank 2 on there was started without --dropout, and rank 0 with --dropout 0: give all the"),
        ({"settings": {"dropout": "--dropout 0.5"}}, "was started with --dropout 0.5, and rank 0 with --dropout 0: "),
        ({"settings": {"dropout": "--dropout 0", "force": "--force"}}, "with --force, and rank 0 without --force: "),
    ],
)
def test_a_rank_that_differs_is_named(own, words):
    first = PLACE._replace(settings={"dropout": "--dropout 0"})
    other = first._replace(host="there", cores=frozenset(range(4)), threads=2)
    names = ["rank 0 on here", "rank 1 on there", "rank 2 on there"]
    _refuse_differences(names, [first, other, other])
    with pytest.raises(ConfigError) as caught:
        _refuse_differences(names, [first, other, other._replace(**own)])
    assert words in str(caught.value)


def test_nothing_is_sent_after_ranks_were_found_to_differ(monkeypatch):
    with ranks_of(2, monkeypatch) as ranks:
        sent = []
        monkeypatch.setattr(ranks._comm, "send", lambda message, dest: sent.append(message))
        ranks._places[1] = ranks._places[1]._replace(version="0")
        with pytest.raises(ConfigError):
            ranks.refuse_differences()
        ranks.end(2)
        assert not sent
        ranks._ended = False
        monkeypatch.undo()


@pytest.mark.parametrize(
    ("seconds", "slow"),
    [
        ([100.0, 140.0, 100.0], None),
        ([100.0, 100.0, 180.0], SlowRank("rank 2", 1.8)),
        ([30.0, 10.0], SlowRank("rank 0", 3.0)),
        ([20.0, 20.0], None),
        ([50.0, 10.0, 20.0, 30.0], SlowRank("rank 0", 2.5)),
        ([10.0, 1.0], None),  # the others have hardly waited
    ],
)
def test_a_rank_that_the_others_wait_for_is_named(seconds, slow):
    ranks = SimpleNamespace(size=len(seconds), names=[f"rank {rank}" for rank in range(len(seconds))])
    training = make_training(batch_size=16)
    workers = RankedWorkers(training.workers().plan, ranks, training.config)
    workers.seconds = seconds
    assert workers.slow_rank() == slow


# MPI that is not there, or another one


class Mpi(SimpleNamespace):
    """What `mpi4py.MPI` has, as far as it is asked."""

    def __init__(self, vendor="MPICH", size=1):
        super().__init__(started=[], COMM_WORLD=SimpleNamespace(rank=0, size=size), Finalize=lambda: None)
        self.get_vendor = lambda: (vendor, (5, 0, 0))

    def Init(self):
        self.started.append(True)

    def Is_initialized(self):
        return bool(self.started)


@pytest.fixture
def mpi(monkeypatch):
    """Return a function that puts this MPI, or one that fails like this, in place of mpi4py's, and sets variables."""
    for name in os.environ:
        if name.startswith(("PMI", "OMPI", "SLURM")):
            monkeypatch.delenv(name)
    monkeypatch.setattr(ranks_module.atexit, "register", lambda call: None)

    def put(found, **variables):
        package = ModuleType("mpi4py")
        package.rc = SimpleNamespace()

        def missing(name):
            raise found

        if isinstance(found, Exception):
            package.__getattr__ = missing
        else:
            package.MPI = found
        monkeypatch.setitem(sys.modules, "mpi4py", package)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return put


def test_mpi4py_that_is_missing_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(MissingExtraError, match=r'needs mpi4py: pip install "charrnn-numpy\[mpi\]"$'):
        Ranks({})


@pytest.mark.parametrize(
    "error", [RuntimeError("cannot load MPI library\nlibmpi.so: no"), ImportError("libmpi.so: no")]
)
def test_mpi4py_without_an_mpi_is_told_in_one_line(mpi, error):
    mpi(error)
    with pytest.raises(ConfigError) as caught:
        Ranks({})
    first = str(error).splitlines()[0]
    assert str(caught.value) == f"mpi4py finds no MPI ({first}): pip install mpich, or load your cluster's MPI"


def test_mpich_is_not_started_where_it_could_not_connect(mpi):
    mpich = Mpi()
    mpi(mpich, PMIX_RANK="0", SLURM_STEP_NUM_TASKS="4")
    with pytest.raises(ConfigError, match=r"^MPICH does not know PMIx: start the ranks with srun --mpi=pmi2$"):
        ranks_module._world()
    assert not mpich.started


@pytest.mark.parametrize(("vendor", "size"), [("Open MPI", 4), ("MPICH", 4)])
def test_another_mpi_or_launcher_starts(mpi, vendor, size):
    found = Mpi(vendor, size)
    variables = {"PMIX_RANK": "0", "SLURM_STEP_NUM_TASKS": "4"} if vendor == "Open MPI" else {"PMI_RANK": "0"}
    mpi(found, **variables, PMI_SIZE="4")
    assert ranks_module._world() is found.COMM_WORLD
    assert found.started


def test_processes_that_mpi_does_not_connect_are_counted(mpi):
    mpi(Mpi(size=1), OMPI_COMM_WORLD_RANK="0", OMPI_COMM_WORLD_SIZE="4")
    with pytest.raises(ConfigError, match=r"^4 processes were started, and MPI connects 1: start them with .* MPICH"):
        ranks_module._world()
