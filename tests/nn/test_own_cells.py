"""Cells of the user: registered, checked against the contract, saved by name, and shared with other processes."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from fixtures_run import TEXT, finish, start

import charrnn
from charrnn import checkpoint as ckpt
from charrnn import config
from charrnn.arrays import FRESH
from charrnn.data.corpus import Corpus
from charrnn.errors import CheckpointError, ConfigError, UnknownCellError
from charrnn.nn.cells import CELLS, packed, register_cell, unpack
from charrnn.nn.cells.base import Cell
from charrnn.parallel.plan import make_plan

pytestmark = pytest.mark.usefixtures("no_sync", "own_cells")

RNN = replace(CELLS["rnn"], layer=None)


@pytest.fixture
def importable():
    """Return a cell whose functions other processes can import."""
    return replace(RNN)


def test_a_registered_cell_is_trained_saved_and_loaded_like_one_of_ours(tmp_path, importable):
    register_cell("mine", importable)
    finish(start(tmp_path / "mine", cell="mine", steps=5))
    finish(start(tmp_path / "rnn", cell="rnn", steps=5))
    mine, ours = charrnn.load(tmp_path / "mine"), charrnn.load(tmp_path / "rnn")
    assert mine.checkpoint.model_config.cell == "mine"
    assert mine.sample(20, seed=1) == ours.sample(20, seed=1)
    assert "cell:mine|" in mine.evaluate(TEXT[:50]).signature
    assert charrnn.CELLS["mine"] is importable


def test_a_checkpoint_of_a_cell_that_is_missing_says_what_to_do(tmp_path, importable):
    finish(start(tmp_path / "run", cell=registered("mine", importable), steps=3))
    forget("mine")
    with pytest.raises(CheckpointError) as caught:
        charrnn.load(tmp_path / "run")
    assert str(caught.value) == (
        f"{tmp_path}/run/best.npz: the cell 'mine' is not registered: import the module that calls "
        "charrnn.register_cell (on the command line: --import MODULE)"
    )


def test_a_checkpoint_never_causes_an_import(tmp_path, importable, monkeypatch):
    (tmp_path / "loaded.py").write_text("raise SystemExit('imported')\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    finish(start(tmp_path / "run", cell=registered("loaded:CELL", importable), steps=3))
    forget("loaded:CELL")
    with pytest.raises(
        CheckpointError, match=r"give --import loaded \(in Python: charrnn.register_cell\('loaded:CELL'"
    ):
        charrnn.load(tmp_path / "run")
    with pytest.raises(CheckpointError):
        charrnn.Run.resume(tmp_path / "run")
    with pytest.raises(UnknownCellError):
        list(charrnn.fit(Corpus.from_text(TEXT), cell="loaded:CELL", steps=3))
    assert "loaded" not in sys.modules


def registered(name, cell):
    register_cell(name, cell)
    return name


def forget(name):
    del CELLS[name]
    config.OWN_CELLS.remove(name)


# Names


def test_a_name_is_taken_once(importable):
    register_cell("mine", importable)
    register_cell("mine", importable)  # the same cell: a module may be run again
    with pytest.raises(ConfigError, match=r"a cell 'mine' is already registered: .*replace=True"):
        register_cell("mine", replace(importable))
    other = replace(importable)
    register_cell("mine", other, replace=True)
    assert CELLS["mine"] is other
    with pytest.raises(ConfigError, match="'lstm' is a built-in cell"):
        register_cell("lstm", importable, replace=True)


@pytest.mark.parametrize("name", ["", "a b", "a|b", "a:b:c", ":a", "a:", "-a", "a\n", 5])
def test_a_name_is_a_word(name, importable):
    with pytest.raises(ConfigError, match="is not the name of a cell"):
        register_cell(name, importable)


@pytest.mark.parametrize("name", ["lsmt", "mods:CELL"])
def test_a_cell_that_is_not_registered_is_refused(name):
    known = "rnn, lstm, gru, lnlstm, lnmlstm, mlstm or mingru"
    with pytest.raises(UnknownCellError, match=f"--cell must be {known}, got '{name}'; for a cell of"):
        charrnn.ModelConfig(5, cell=name)


def test_a_cell_is_given_by_its_name(importable):
    with pytest.raises(ConfigError, match=r"--cell takes a name: register the cell with charrnn.register_cell"):
        charrnn.ModelConfig(5, cell=importable)


# The contract


def broken(part, wrong):
    """Return the plain cell with a function around one of its parts, which changes what that returns."""
    right = getattr(RNN, part)
    return replace(RNN, **{part: lambda *args, **more: wrong(*right(*args, **more))})


def backwards(change):
    """Return the plain cell with another backward pass: `change` gets dx, dstate0 and grads."""
    return broken("forward", lambda h, state, backprop: (h, state, lambda dh, ds: change(*backprop(dh, ds))))


def no_reset(weights, x, state, *, reset=None, scratch=None):
    return RNN.forward(weights, x, state)


def stale_read(weights, x, state, *, reset=None, scratch=None):
    return RNN.read(weights, x, state.copy(), reset=reset)


def read_of_another_window(weights, x, state, *, reset=None, scratch=FRESH):
    return RNN.read(weights, x[::-1], state, reset=reset)


def forwards_only(weights, x, state, *, reset=None, scratch=FRESH):
    """Read memory from its lowest address on, as code in another language might."""
    return RNN.forward(weights, x[::-1] if x.strides[0] < 0 else x, state, reset=reset, scratch=scratch)


def backwards_only(weights, x, state, *, reset=None, scratch=FRESH):
    """Confuse the gradients of the steps after the first, if these are reversed."""
    h, last, backprop = RNN.forward(weights, x, state, reset=reset, scratch=scratch)
    return h, last, lambda dh, ds: backprop(np.concatenate([dh[:1], dh[:0:-1]]) if dh.strides[0] < 0 else dh, ds)


def leaking(weights, x, state, *, reset=None, scratch=FRESH):
    """Let gradients pass a reset."""
    h, last, backprop = RNN.forward(weights, x, state, reset=reset, scratch=scratch)
    if reset is None:
        return h, last, backprop
    return h, last, lambda dh, dstate: (lambda dx, dstate0, grads: (dx + 1, dstate0, grads))(*backprop(dh, dstate))


BROKEN = {
    "must be a charrnn.Cell, got function": RNN.forward,
    "n_states must be a whole number of at least 1, got 0": replace(RNN, n_states=0),
    "n_states must be a whole number of at least 1, got True": replace(RNN, n_states=True),
    "prepare must be a function, got None": replace(RNN, prepare=None),
    "read must be a function, got 5": replace(RNN, read=5),
    "gates must be a dict of names and SIGMOID or TANH, got {'z': 3}": replace(RNN, gates={"z": 3}),
    "init_params: there is no W_hh and no W_xh among U": replace(
        RNN, init_params=lambda D, H, rng, init: {"U": np.zeros((H, H))}
    ),
    "init_params: W_xh has shape (4, 5)": replace(RNN, init_params=lambda D, H, rng, init: {"W_xh": np.zeros((H, D))}),
    "init_params: W_hh has shape (5, 4)": replace(RNN, init_params=lambda D, H, rng, init: {"W_hh": np.zeros((D, H))}),
    "init_params: b_h is float32": replace(
        RNN, init_params=lambda *args: RNN.init_params(*args) | {"b_h": np.zeros(4, np.float32)}
    ),
    "init_params: TypeError": replace(RNN, init_params=lambda D, H: {}),
    "forward: TypeError": replace(RNN, forward=lambda weights, x, state: RNN.forward(weights, x, state)),
    "forward: h has shape (3, 2)": broken("forward", lambda h, state, backprop: (h[..., 0], state, backprop)),
    "forward: state has shape (2, 4)": broken("forward", lambda h, state, backprop: (h, state[0], backprop)),
    "forward: state[0] is not the last h": broken("forward", lambda h, state, backprop: (h, -state, backprop)),
    "forward: reset does not set": replace(RNN, forward=no_reset),
    "backprop: dx has shape (3, 2)": backwards(lambda dx, dstate0, grads: (dx[..., 0], dstate0, grads)),
    "backprop: dx is None": backwards(lambda dx, dstate0, grads: (None, dstate0, grads)),
    "backprop: dstate0 has shape (2, 4)": backwards(lambda dx, dstate0, grads: (dx, dstate0[0], grads)),
    "backprop: gradients ['W_hh', 'W_xh']": backwards(
        lambda dx, dstate0, grads: (dx, dstate0, {key: grads[key] for key in ("W_xh", "W_hh")})
    ),
    "forward: a window that is reversed in time differs from its copy": replace(RNN, forward=forwards_only),
    "backprop: a window that is reversed in time differs from its copy": replace(RNN, forward=backwards_only),
    "backprop: a gradient passes a reset": replace(RNN, forward=leaking),
    "read: its state differs from forward's": replace(RNN, read=stale_read),
    "read: h differs from forward's": replace(RNN, read=read_of_another_window),
    "read: TypeError": replace(RNN, read=lambda weights, x, state: RNN.read(weights, x, state)),
}


@pytest.mark.parametrize("reason", BROKEN)
def test_a_cell_that_breaks_the_contract_is_refused(reason):
    with pytest.raises(ConfigError) as caught:
        register_cell("mine", BROKEN[reason])
    message = str(caught.value)
    assert message.startswith("cell 'mine'")
    assert reason in message
    assert message.endswith(": see charrnn/nn/cells/base.py")
    assert "\n" not in message
    assert "mine" not in CELLS


@pytest.mark.parametrize("name", config.CELL_NAMES)
def test_our_cells_keep_the_contract(name):
    register_cell("mine", replace(CELLS[name], layer=None))


# Other processes


def test_a_cell_of_an_importable_module_is_sent_to_other_processes(importable):
    register_cell("mine", importable)
    sent = packed("mine")
    forget("mine")
    unpack("mine", sent)
    assert CELLS["mine"].forward is RNN.forward
    assert packed("lstm") == ""


def test_a_cell_made_from_a_built_in_one_is_not_read_by_the_equations_of_that():
    with pytest.raises(ConfigError, match="layer is for built-in cells alone"):
        register_cell("mine", CELLS["rnn"])


def test_a_cell_that_cannot_be_sent_stays_in_one_process(tmp_path):
    register_cell("mine", replace(RNN, prepare=lambda params: dict(params)))
    assert packed("mine") is None
    assert make_plan(charrnn.ModelConfig(5, cell="mine"), 1, 32, 10, threads=2)[-2:] == (1, 2)
    run = start(tmp_path / "run", cell="mine", batch_size=16, threads=2, steps=2)
    assert any(note.startswith("cell 'mine' cannot be sent to other processes") for note in run.notes)
    finish(run)


def test_a_function_of_the_main_module_cannot_be_sent(monkeypatch):
    def prepare(params):
        return dict(params)

    prepare.__module__, prepare.__qualname__ = "__main__", "prepare"
    monkeypatch.setattr(sys.modules["__main__"], "prepare", prepare, raising=False)
    register_cell("mine", replace(RNN, prepare=prepare))
    assert packed("mine") is None


def test_processes_train_an_own_cell_as_one_does(tmp_path, importable):
    register_cell("mine", importable)
    for threads in (1, 2):
        finish(start(tmp_path / str(threads), cell="mine", batch_size=16, threads=threads, steps=3, dtype="float64"))
    one, two = (ckpt.load(tmp_path / str(threads) / "last.npz") for threads in (1, 2))
    assert make_plan(one.model_config, 1, 16, 10, threads=2).processes == 2
    for name, array in one.params.items():
        np.testing.assert_allclose(two.params[name], array, atol=1e-9)


def test_the_contract_needs_no_read():
    register_cell("mine", Cell(1, RNN.init_params, dict, RNN.forward))
