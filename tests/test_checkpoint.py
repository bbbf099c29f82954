"""Checkpoints: what is saved comes back, and what is damaged is refused before anything is done with it."""

import hashlib
import io
import json
import math
import os
import pickle
import shutil
import tracemalloc
import warnings
import zipfile
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from fixtures_memory import some_cache
from fixtures_run import TEXT, arrays_of, finish, meta_of, same, set_clock, start, stop_at, write_text

from charrnn import checkpoint as ckpt
from charrnn.api import LanguageModel
from charrnn.checkpoint import Checkpoint
from charrnn.config import CELL_NAMES, OPTIMIZER_DEFAULTS, ModelConfig, TrainConfig
from charrnn.data.corpus import Source
from charrnn.data.vocab import Vocab
from charrnn.errors import CheckpointError
from charrnn.memory.cache import FEATURES
from charrnn.memory.gate import shares
from charrnn.nn import model
from charrnn.training.run import Run
from charrnn.version import __version__

KEPT = Path(__file__).parent / "checkpoint_v1"

pytestmark = pytest.mark.usefixtures("no_sync")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return the folder of a short run, with two layers and an embedding so that every kind of array is there."""
    folder = tmp_path_factory.mktemp("trained")
    finish(start(folder, num_layers=2, embed_size=3))
    return folder


@pytest.fixture(params=["best.npz", "last.npz"])
def either(request, trained):
    """Return the path of a good checkpoint: the model alone, or with its run."""
    return trained / request.param


def small(symbols="abc", **changes):
    """Return a tiny checkpoint with fresh weights."""
    config = ModelConfig(len(symbols), hidden_size=4)
    params = model.init_params(config, np.random.default_rng(1))
    train_config = TrainConfig(steps=3, batch_size=2, seq_len=5, seed=1, eval_every=3)
    made = Checkpoint(config, train_config, Vocab(symbols), params, 3, Source("text.txt", "00" * 32))
    return replace(made, **changes)


def rewrite(path, good, *, meta=None, **arrays):
    """Write the good checkpoint with other arrays (None: without it) and with its meta changed; return the path."""
    held = arrays_of(good) | arrays
    if meta is not None:
        settings = json.loads(str(held["meta"]))
        meta(settings)
        held["meta"] = np.array(json.dumps(settings))
    np.savez(path, **{name: array for name, array in held.items() if array is not None})
    return path


def refusal(path):
    """Return the one line with which a checkpoint is refused."""
    with pytest.raises(CheckpointError) as caught:
        ckpt.load(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


# What is saved comes back


@pytest.mark.parametrize("cell", CELL_NAMES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_everything_comes_back(tmp_path, cell, dtype):
    config = ModelConfig(5, cell=cell, hidden_size=4, num_layers=2, embed_size=3, dropout=0.25, dtype=dtype)
    rng = np.random.default_rng(3)
    params = model.init_params(config, rng)
    state = rng.normal(size=model.zero_state(config, 3).shape).astype(dtype)
    train_config = TrainConfig(steps=9, batch_size=3, seq_len=7, seed=2**63 - 1, optimizer="sgd", learning_rate=1 / 3)
    saved = Checkpoint(
        model_config=config,
        train_config=train_config,
        vocab=Vocab("\nabé🚣", counts=(1, 2, 3, 4, 5), starts=(0, 1, 0, 0, 0)),
        params=params,
        step=7,
        source=Source("a folder/text.txt", "ab" * 32),
        val_source=Source("val.txt", "cd" * 32),
        init_from="other/best.npz",
        earlier_totals=[3, 5],
        history=[{"step": 3, "epoch": 0.1, "loss": 1 / 3, "val_loss": None, "learning_rate": 1e-3}],
        progress={"reported": 6, "loss_sum": 0.1 + 0.2, "best_loss": None},
        opt_state={f"m/{name}": rng.normal(size=array.shape).astype(dtype) for name, array in params.items()},
        state=state,
    )
    ckpt.save(tmp_path / "file.npz", saved)
    assert os.listdir(tmp_path) == ["file.npz"]
    loaded = ckpt.load(tmp_path / "file.npz")
    assert same(loaded.params, saved.params)
    assert list(loaded.params) == list(saved.params)
    assert same(loaded.opt_state, saved.opt_state)
    assert same({"state": loaded.state}, {"state": saved.state})
    settings = vars(saved).keys() - {"params", "opt_state", "state"}
    assert {name: vars(loaded)[name] for name in settings} == {name: vars(saved)[name] for name in settings}
    ckpt.save(tmp_path / "again.npz", loaded)
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "file.npz").read_bytes()


@pytest.mark.parametrize("embed_size", [3, 8])
def test_a_tied_model_comes_back_and_is_refused_where_its_sizes_are_not_its_arrays(tmp_path, embed_size):
    run = start(tmp_path / "run", embed_size=embed_size, tied=True)
    finish(run)
    good = tmp_path / "run" / "last.npz"
    loaded = ckpt.load(good)
    assert loaded.model_config.tied
    assert same(loaded.params, run.state.params)
    for name, value in {"model__hidden_size": 10**18, "model__embed_size": 10**18, "model__tied": False}.items():
        assert "damaged" in refusal(rewrite(tmp_path / "file.npz", good, meta=change(**{name: value})))


def test_a_model_alone_comes_back(tmp_path):
    ckpt.save(tmp_path / "file.npz", small())
    loaded = ckpt.load(tmp_path / "file.npz")
    assert (loaded.opt_state, loaded.state, loaded.val_source, loaded.init_from) == ({}, None, None, None)


@pytest.mark.parametrize("optimizer", list(OPTIMIZER_DEFAULTS))
def test_the_state_of_every_optimizer_loads(tmp_path, optimizer):
    begun = start(tmp_path, optimizer=optimizer)
    begun.close()
    assert same(ckpt.load(tmp_path / "last.npz").opt_state, begun.state.opt_state)


def test_arrays_are_written_as_they_are_wherever_they_lie(tmp_path):
    good = small()
    strided = {name: np.asfortranarray(array) for name, array in good.params.items()}
    ckpt.save(tmp_path / "file.npz", replace(good, params=strided))
    assert same(ckpt.load(tmp_path / "file.npz").params, good.params)


@pytest.mark.parametrize(
    "symbols", ["\0", "a\0"[::-1], "\n\r", "ab\U0010ffff", "🚣🚤", "\ufeff\uffff", "\ud800", "'\"\\", "\x85\u2028"]
)
def test_a_vocabulary_of_odd_characters_comes_back(tmp_path, symbols):
    symbols = "".join(sorted(symbols))
    ckpt.save(tmp_path / "file.npz", small(symbols))
    loaded = ckpt.load(tmp_path / "file.npz")
    assert loaded.vocab.symbols == symbols
    assert loaded.vocab.decode(loaded.vocab.encode(symbols * 2)) == symbols * 2


def test_a_path_of_odd_characters_comes_back(tmp_path):
    source = Source("a \udcff file\0 🚣.txt", "00" * 32)  # what is no UTF-8 in a file's name is kept by a surrogate
    ckpt.save(tmp_path / "file.npz", small(source=source))
    assert ckpt.load(tmp_path / "file.npz").source == source


def test_the_file_is_plain_arrays_and_one_json_string(either):
    with zipfile.ZipFile(either) as archive:
        assert all(item.compress_type == zipfile.ZIP_STORED for item in archive.infolist())
        assert all(item.date_time == (1980, 1, 1, 0, 0, 0) for item in archive.infolist())
    arrays = arrays_of(either)
    assert arrays["meta"].shape == ()
    for name, array in arrays.items():
        assert name == "meta" or array.dtype == np.float32, name
        assert name == "meta" or name == "state" or name.startswith(("params/", "opt/")), name
    meta = meta_of(either)
    assert meta["format"] == "charrnn"
    assert meta["format_version"] == ckpt.FORMAT_VERSION == 1
    assert meta["versions"]["charrnn"] == __version__
    assert meta["versions"] == ckpt.current_versions()
    assert meta["model"] == asdict(ckpt.load(either).model_config)
    loaded = ckpt.load(either)
    assert meta["train"] == asdict(loaded.text_config) | asdict(loaded.train_config)
    assert meta["vocab"]["symbols"] == "".join(sorted(set(TEXT)))


def test_the_json_is_strict(either):
    def refuse(name):
        pytest.fail(f"{name} is no JSON")

    json.loads(str(arrays_of(either)["meta"]), parse_constant=refuse)


def test_no_clock_time_is_kept(tmp_path, monkeypatch):
    # Two runs at different times have the same bytes; so what a clock says can be in neither.
    finish(start(tmp_path / "one"))
    now = iter(range(10**6))
    set_clock(monkeypatch, lambda: 1e6 + 1000.0 * next(now))
    finish(start(tmp_path / "other"))
    for name in ("best.npz", "last.npz"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


# What is refused: files


def test_a_missing_file_is_refused(tmp_path):
    assert "does not exist" in refusal(tmp_path / "absent.npz")
    assert "does not exist" in refusal(tmp_path / "absent" / "file.npz")


def test_a_folder_is_refused(tmp_path):
    assert "cannot read" in refusal(tmp_path)


@pytest.mark.parametrize(
    "data",
    [b"", b"P", b"PK", b"once upon a time\n" * 100, b"PKonce upon a time" * 100, b"\x93NUMPY\x01\x00", b"\x00" * 5000],
    ids=["empty", "one byte", "two bytes", "text", "text like a zip", "npy", "zeros"],
)
def test_what_is_no_npz_is_refused(tmp_path, data):
    path = tmp_path / "file.npz"
    path.write_bytes(data)
    message = refusal(path)
    if not data.startswith(b"PK"):
        assert "not a charrnn checkpoint" in message


def test_a_single_array_is_refused(tmp_path):
    np.save(tmp_path / "file.npy", np.zeros(3))
    assert "not a charrnn checkpoint" in refusal(tmp_path / "file.npy")


def test_another_npz_is_refused(tmp_path):
    np.savez(tmp_path / "file.npz", a=np.zeros(3))
    assert "not a charrnn checkpoint" in refusal(tmp_path / "file.npz")


def test_an_empty_npz_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "file.npz", "w"):
        pass
    refusal(tmp_path / "file.npz")


def test_a_zip_of_other_files_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "file.npz", "w") as archive:
        archive.writestr("readme.txt", "text")
    assert "not a charrnn checkpoint" in refusal(tmp_path / "file.npz")


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.99, 0.999])
def test_a_file_cut_short_is_refused(tmp_path, either, share):
    data = either.read_bytes()
    path = tmp_path / "file.npz"
    path.write_bytes(data[: int(len(data) * share)])
    assert "damaged" in refusal(path)


def test_a_file_that_lacks_its_last_bytes_is_refused(tmp_path, either):
    data = either.read_bytes()
    path = tmp_path / "file.npz"
    for missing in (1, 2, 5, 20, 22, 23, 60):
        path.write_bytes(data[:-missing])
        assert "damaged" in refusal(path)


def test_one_byte_changed_in_the_middle_of_an_array_is_refused(tmp_path, either):
    data = bytearray(either.read_bytes())
    path = tmp_path / "file.npz"
    weights = [array for name, array in arrays_of(either).items() if "params/" in name and array.ndim == 2]
    for at in [data.index(array.tobytes()) + array.nbytes // 2 for array in weights]:
        data[at] ^= 0x10
        path.write_bytes(data)
        assert "damaged" in refusal(path)
        data[at] ^= 0x10


def flip(path, good, places):
    """Change one bit at each place in turn: the file must be refused, or be as good as before."""
    data, wanted = bytearray(good.read_bytes()), ckpt.load(good)
    for at, bit in places:
        data[at] ^= 1 << bit
        path.write_bytes(data)
        with suppress(CheckpointError):
            found = ckpt.load(path)
            assert same(found.params, wanted.params)
            assert (found.vocab, found.step) == (wanted.vocab, wanted.step)
        data[at] ^= 1 << bit


def structure(good):
    """Return the places in a file that are no numbers of an array: the headers of the archive and of its arrays."""
    data = good.read_bytes()
    with zipfile.ZipFile(good) as archive:
        directory = archive.start_dir
        places = set(range(directory, len(data)))
        for item in archive.infolist():
            places |= set(range(item.header_offset, item.header_offset + 200))
    return sorted(place for place in places if place < len(data))


def test_a_bit_changed_in_a_header_never_goes_unseen(tmp_path):
    ckpt.save(tmp_path / "good.npz", small("ab"))
    places = structure(tmp_path / "good.npz")
    rng = np.random.default_rng(1)
    # A sample, and the two places where a change once led to an error that nobody caught: an array's header whose
    # brackets are then open, and an entry that is then encrypted.
    chosen = [(int(place), int(rng.integers(8))) for place in rng.choice(places, 300, replace=False)]
    data = (tmp_path / "good.npz").read_bytes()
    chosen += [
        (at, bit) for at in range(data.index(b"\x93NUMPY") + 6, data.index(b"\x93NUMPY") + 12) for bit in range(8)
    ]
    entry = data.index(b"PK\x01\x02")
    chosen += [(entry + at, bit) for at in range(6, 12) for bit in range(8)]
    flip(tmp_path / "file.npz", tmp_path / "good.npz", chosen)


@pytest.mark.slow
def test_no_byte_changed_in_a_header_goes_unseen(tmp_path):
    ckpt.save(tmp_path / "good.npz", small("ab"))
    places = structure(tmp_path / "good.npz")
    bits = np.random.default_rng(2).integers(8, size=len(places)).tolist()
    flip(tmp_path / "file.npz", tmp_path / "good.npz", zip(places, bits, strict=True))


# What is refused: settings


def change(**changes):
    """Return a function that sets entries of the meta, `a__b` for `b` in `a`, or removes those that are `...`."""

    def apply(meta):
        for name, value in changes.items():
            *outer, last = name.split("__")
            held = meta
            for key in outer:
                held = held[key]
            if value is ...:
                del held[last]
            else:
                held[last] = value

    return apply


def test_another_format_is_refused(tmp_path, either):
    path = rewrite(tmp_path / "file.npz", either, meta=change(format="another"))
    assert "not a charrnn checkpoint" in refusal(path)


@pytest.mark.parametrize("text", ["", "not json", "{", "[]", "null", "3", '"charrnn"', "[" * 100_000])
def test_a_meta_that_is_no_json_object_is_refused(tmp_path, either, text):
    np.savez(tmp_path / "file.npz", **arrays_of(either) | {"meta": np.array(text)})
    assert "not a charrnn checkpoint" in refusal(tmp_path / "file.npz")


def test_a_meta_that_is_no_text_is_refused(tmp_path, either):
    for meta in (np.zeros(3), np.array(3), np.array([b"{}", b"{}"])):
        np.savez(tmp_path / "file.npz", **arrays_of(either) | {"meta": meta})
        assert "not a charrnn checkpoint" in refusal(tmp_path / "file.npz")


@pytest.mark.parametrize("version", [2, 99, 0, "1", None])
def test_another_format_version_is_refused(tmp_path, either, version):
    path = rewrite(tmp_path / "file.npz", either, meta=change(format_version=version))
    message = refusal(path)
    assert f"format version {version}" in message
    assert "reads version 1" in message


def test_a_newer_version_is_refused_before_anything_else_is_looked_at(tmp_path):
    meta = {"format": "charrnn", "format_version": 2, "all": "else is unknown"}
    np.savez(tmp_path / "file.npz", meta=np.array(json.dumps(meta)))
    assert "format version 2" in refusal(tmp_path / "file.npz")


@pytest.mark.parametrize(
    "name",
    "versions model train vocab step source val_source init_from earlier_totals history progress "
    "model__cell vocab__symbols vocab__kind source__sha256".split(),
)
def test_a_missing_setting_is_refused_unless_it_has_a_default(tmp_path, trained, name):
    path = rewrite(tmp_path / "file.npz", trained / "last.npz", meta=change(**{name: ...}))
    if name == "model__cell":  # a setting that a later version may add is what it was before
        assert ckpt.load(path).model_config == ckpt.load(trained / "last.npz").model_config
    else:
        assert "damaged" in refusal(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model__cell", "none"),
        ("model__hidden_size", "8"),
        ("model__hidden_size", 8.0),
        ("model__hidden_size", -8),
        ("model__vocab_size", 0),
        ("model__unheard_of", 1),
        ("model", None),
        ("model", []),
        ("model", "lstm"),
        ("train__optimizer", "none"),
        ("train__batch_size", 0),
        ("train__unheard_of", 1),
        ("train", 3),
        ("train", []),
        ("vocab__symbols", "ba"),
        ("vocab__symbols", ""),
        ("vocab__symbols", 7),
        ("vocab__symbols", ["a", "b"]),
        ("vocab__kind", "words"),
        ("vocab__counts", [1, 2]),
        ("vocab__counts", None),
        ("vocab", None),
        ("vocab", []),
        ("source", None),
        ("source", {"path": "a"}),
        ("val_source", 3),
        ("step", "7"),
        ("step", 7.5),
        ("step", -1),
        ("step", True),
        ("step", None),
        ("history", 3),
        ("earlier_totals", None),
        ("progress", None),
        ("versions", []),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(tmp_path, trained, name, value):
    path = rewrite(tmp_path / "file.npz", trained / "last.npz", meta=change(**{name: value}))
    assert ("not registered" if name == "model__cell" else "damaged") in refusal(path)


def test_a_progress_that_is_not_known_here_is_refused(tmp_path, trained):
    path = rewrite(tmp_path / "last.npz", trained / "last.npz", meta=change(progress={"unheard_of": 1}))
    source = ckpt.load(path).source
    text = write_text(tmp_path)
    assert source.sha256 == hashlib.sha256(TEXT.encode()).hexdigest()
    with pytest.raises(CheckpointError):
        Run.resume(tmp_path, text, settings={"steps": 30}).close()


def test_a_vocabulary_of_another_size_is_refused(tmp_path, either):
    symbols = "".join(sorted({*TEXT, "é"}))
    path = rewrite(tmp_path / "file.npz", either, meta=change(vocab={"symbols": symbols} | BARE))
    assert f"it has {len(symbols)} symbols for a model of {len(symbols) - 1}" in refusal(path)


BARE = {"counts": [], "starts": [], "specials": [], "kind": "chars"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model__hidden_size", 10**6),
        ("model__hidden_size", 10**18),
        ("model__num_layers", 10**7),
        ("model__embed_size", 10**13),
        ("model__embed_size", 10**18),
        ("train__batch_size", 10**13),
        ("train__batch_size", 10**18),
    ],
)
def test_a_huge_size_is_refused_before_memory_is_taken_for_it(tmp_path, trained, name, value):
    path = rewrite(tmp_path / "file.npz", trained / "last.npz", meta=change(**{name: value}))
    tracemalloc.start()
    try:
        assert "damaged" in refusal(path)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


# What is refused: arrays


@pytest.mark.parametrize("name", ["params/layer0.W_hh", "params/out.W_hy", "params/out.b_y", "params/embed.W_e"])
def test_a_missing_array_is_refused_by_its_name(tmp_path, either, name):
    path = rewrite(tmp_path / "file.npz", either, **{name: None})
    message = refusal(path)
    assert "damaged" in message
    assert "W_hh" in name or name.removeprefix("params/") in message


@pytest.mark.parametrize("name", ["opt/m/out.b_y", "opt/v/layer1.W_hh"])
def test_a_missing_array_of_the_optimizer_is_refused(tmp_path, trained, name):
    path = rewrite(tmp_path / "file.npz", trained / "last.npz", **{name: None})
    assert name in refusal(path)


@pytest.mark.parametrize("slots", ["", "m", "v", "mvz"])
def test_an_optimizer_with_other_slots_is_refused(tmp_path, trained, slots):
    held = arrays_of(trained / "last.npz")
    state = {name: array for name, array in held.items() if name.startswith("opt/")}
    kept = {name: array for name, array in state.items() if name[4] in slots}
    more = {name.replace("opt/m/", "opt/z/"): array for name, array in state.items() if "z" in slots}
    np.savez(tmp_path / "file.npz", **{name: held[name] for name in held.keys() - state.keys()}, **kept | more)
    assert "damaged" in refusal(tmp_path / "file.npz")


def test_a_missing_state_is_refused(tmp_path, trained):
    # What resuming needs is there whole or not at all: without the state it is a model alone.
    path = rewrite(tmp_path / "last.npz", trained / "last.npz", state=None)
    with pytest.raises(CheckpointError):
        Run.resume(path.parent)


@pytest.mark.parametrize(
    "name",
    ["params/layer2.W_hh", "params/layer0.W_zz", "params/extra", "opt/m/extra", "opt/z/out.b_y", "extra", "meta2"],
)
def test_an_extra_array_is_refused(tmp_path, trained, name):
    path = rewrite(tmp_path / "file.npz", trained / "last.npz", **{name: np.zeros(3, np.float32)})
    assert "damaged" in refusal(path)


ARRAYS = [
    "params/layer0.W_xh",
    "params/layer1.b_h",
    "params/out.W_hy",
    "params/embed.W_e",
    "opt/m/layer0.W_hh",
    "state",
]


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_of_another_shape_is_refused(tmp_path, trained, name):
    array = arrays_of(trained / "last.npz")[name]
    for wrong in (array[..., :-1], array[None], array.T if array.ndim > 1 else array[:1], array[..., 0], array[:0]):
        path = rewrite(tmp_path / "file.npz", trained / "last.npz", **{name: wrong})
        message = refusal(path)
        assert "shape" in message
        assert name.removeprefix("params/") in message


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_of_another_type_is_refused(tmp_path, trained, name):
    array = arrays_of(trained / "last.npz")[name]
    kinds = ["float64", "float16", "int32", "complex64", "bool", "S4", "datetime64[s]", ">f4"]
    for kind in kinds:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wrong = array.astype("int64").astype(kind) if kind.startswith("datetime") else array.astype(kind)
        path = rewrite(tmp_path / "file.npz", trained / "last.npz", **{name: wrong})
        message = refusal(path)
        assert name in message
        assert "float32" in message


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_an_array_with_numbers_that_are_not_finite_is_refused(tmp_path, trained, name, value):
    array = arrays_of(trained / "last.npz")[name].copy()
    array.flat[-1] = value
    path = rewrite(tmp_path / "file.npz", trained / "last.npz", **{name: array})
    message = refusal(path)
    assert f"{name} contains numbers that are not finite" in message


def test_a_member_that_is_no_array_is_refused(tmp_path, either):
    shutil.copy(either, tmp_path / "good.npz")
    with zipfile.ZipFile(either) as good, zipfile.ZipFile(tmp_path / "file.npz", "w") as bad:
        for item in good.infolist():
            bad.writestr(item, b"text" if item.filename == "params/out.W_hy.npy" else good.read(item))
    assert "damaged" in refusal(tmp_path / "file.npz")


def test_a_member_without_its_suffix_is_refused(tmp_path, either):
    with zipfile.ZipFile(either) as good, zipfile.ZipFile(tmp_path / "file.npz", "w") as bad:
        for item in good.infolist():
            if item.filename == "params/out.W_hy.npy":
                bad.writestr("params/out.W_hy", b"text")
            else:
                bad.writestr(item, good.read(item))
    assert "damaged" in refusal(tmp_path / "file.npz")


def test_an_array_whose_header_promises_too_much_is_refused(tmp_path, either):
    array = io.BytesIO()
    np.lib.format.write_array_header_1_0(array, {"descr": "<f4", "fortran_order": False, "shape": (10**12,)})
    with zipfile.ZipFile(either) as good, zipfile.ZipFile(tmp_path / "file.npz", "w") as bad:
        for item in good.infolist():
            promising = item.filename == "params/out.b_y.npy"
            bad.writestr(item, array.getvalue() + b"\0" * 8 if promising else good.read(item))
    assert "damaged" in refusal(tmp_path / "file.npz")


# What is refused: files that unpack to far more than they should


def unpacked_to(path, good, changes, *, sizes=None, kind=zipfile.ZIP_DEFLATED):
    """Write the good checkpoint, compressed, with members changed; return the path.

    changes: the bytes of a member by its name, or (its first bytes, a number of zeros that follow)
    sizes:   what the archive's directory says of a member's size, where that is not the truth
    """
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(path, "w", kind) as new:
        for name in {**dict.fromkeys(old.namelist()), **changes}:
            begin, zeros = changes[name] if name in changes else (old.read(name), 0)
            with new.open(name, "w", force_zip64=True) as member:
                member.write(begin)
                for _ in range(zeros >> 20):
                    member.write(bytes(1 << 20))
        for name, size in (sizes or {}).items():
            new.getinfo(name).file_size = size
    return path


def header(*shape, descr="<f4"):
    """Return the first bytes of an array of this shape."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue()


BOMB = 1 << 26  # bytes
BOMBS = {
    "an array of another shape": {"params/out.b_y.npy": (header(BOMB // 4), BOMB)},
    "an array of the optimizer": {"opt/m/out.b_y.npy": (header(BOMB // 4), BOMB)},
    "the state": {"state.npy": (header(BOMB // 4), BOMB)},
    "another type": {"state.npy": (header(2, 2, 4, 8, descr="<U999999"), BOMB)},
    "a name that is not known": {"extra.npy": (header(BOMB // 4), BOMB)},
    "a layer that is not there": {"params/layer9.W_hh.npy": (header(BOMB // 4), BOMB)},
    "no array at all": {"readme.txt": (b"", BOMB)},
    "zeros behind an array": {"state.npy": (header(2, 2, 4, 8) + bytes(512), BOMB)},
    "a header without an end": {"state.npy": (b"\x93NUMPY\x02\x00" + (BOMB).to_bytes(4, "little"), BOMB)},
    "zeros alone": {"state.npy": (b"", BOMB)},
}


def assert_refused_unread(path, most=8e6):
    """Assert that a checkpoint is refused, and that little memory was ever taken for it; return the message."""
    tracemalloc.start()
    try:
        message = refusal(path)
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()
    assert "damaged" in message
    return message


@pytest.mark.parametrize("name", BOMBS)
def test_what_unpacks_to_more_than_the_settings_imply_is_refused_unread(tmp_path, trained, name):
    path = unpacked_to(tmp_path / "file.npz", trained / "last.npz", BOMBS[name])
    assert path.stat().st_size < BOMB / 100
    assert_refused_unread(path)


def test_a_directory_that_lies_about_a_size_is_refused_unread(tmp_path, trained):
    first = header(2, 2, 4, 8) + bytes(512)
    sizes = {"state.npy": len(first)}
    path = unpacked_to(tmp_path / "file.npz", trained / "last.npz", {"state.npy": (first, BOMB)}, sizes=sizes)
    assert_refused_unread(path)


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compression_whose_output_cannot_be_bounded_is_refused_unread(tmp_path, trained, kind):
    path = unpacked_to(tmp_path / "file.npz", trained / "last.npz", {"extra.npy": (b"", BOMB)}, kind=kind)
    assert_refused_unread(path)


@pytest.mark.parametrize("read", [ckpt.load, ckpt.read_meta])
@pytest.mark.parametrize("where", ["shape", "itemsize", "behind"])
def test_a_meta_beyond_its_bound_is_refused_unread(tmp_path, monkeypatch, either, read, where):
    monkeypatch.setattr(ckpt, "MAX_META", 1 << 20)
    meta = {
        "shape": (header(BOMB // 4, descr="<U1"), BOMB),
        "itemsize": (header(descr=f"<U{BOMB // 4}"), BOMB),
        "behind": (header(descr="<U2") + "{}".encode("utf-32-le"), BOMB),
    }[where]
    path = unpacked_to(tmp_path / "file.npz", either, {"meta.npy": meta})
    monkeypatch.setattr(ckpt, "load", read)
    if where == "itemsize":
        assert "its settings have 16,777,216 characters, more than 1,048,576" in assert_refused_unread(path)
    else:
        tracemalloc.start()
        refusal(path)
        assert tracemalloc.get_traced_memory()[1] < 8e6
        tracemalloc.stop()


def test_a_meta_up_to_its_bound_is_read(tmp_path, monkeypatch, either):
    monkeypatch.setattr(ckpt, "MAX_META", len(str(arrays_of(either)["meta"])))
    assert ckpt.load(either).step == ckpt.read_meta(either)["step"]


def test_a_vocabulary_of_all_of_unicode_is_within_the_bound():
    symbols = "".join(map(chr, range(0x10FF00, 0x110000)))  # the last, which take the most characters each
    vocab = Vocab(symbols, counts=(10**9,) * len(symbols), starts=(10**7,) * len(symbols))
    assert len(json.dumps(vocab.to_dict())) * (0x110000 / len(symbols)) < ckpt.MAX_META


def test_many_unknown_names_are_refused_in_a_short_line(tmp_path, trained):
    names = {f"params/{number}.npy": (b"", 0) for number in range(5000)}
    message = refusal(unpacked_to(tmp_path / "file.npz", trained / "last.npz", names))
    assert "damaged" in message
    assert len(message) < 500


@pytest.mark.parametrize("lies", [False, True])
def test_a_model_is_refused_before_memory_is_taken_for_what_headers_only_promise(tmp_path, trained, lies):
    # A model of 29 GB by its settings and by its headers, and by the archive's directory if that lies too: the
    # recurrent matrices have no numbers behind their headers.
    H, V = 30_000, ckpt.load(trained / "best.npz").vocab.size
    path = rewrite(tmp_path / "meta.npz", trained / "best.npz", meta=change(model__hidden_size=H))
    shapes = {"params/out.W_hy.npy": (H, V), "params/layer0.W_hh.npy": (H, 4 * H), "params/layer1.W_hh.npy": (H, 4 * H)}
    members = {name: (header(*shape), 0) for name, shape in shapes.items()}
    members["params/out.W_hy.npy"] = (header(H, V) + bytes(H * V * 4), 0)
    sizes = {name: len(header(*shape)) + 4 * math.prod(shape) for name, shape in shapes.items()} if lies else None
    assert "is not as long as its header says" in assert_refused_unread(
        unpacked_to(tmp_path / "file.npz", path, members, sizes=sizes)
    )


def test_a_cell_without_recurrent_weights_must_have_the_input_weights_of_its_settings(tmp_path):
    finish(start(tmp_path / "run", num_layers=2, cell="mingru"))
    good, H = tmp_path / "run" / "best.npz", 30_000
    V = ckpt.load(good).vocab.size
    path = rewrite(tmp_path / "meta.npz", good, meta=change(model__hidden_size=H))
    members = {"params/out.W_hy.npy": (header(H, V) + bytes(H * V * 4), 0)}
    for shape, why in (((8, 16), "its first axis must be 30000"), ((H, 2 * H), "is not as long as its header says")):
        members["params/layer1.W_xh.npy"] = (header(*shape) + bytes(512), 0)  # as many as (8, 16) takes
        assert why in assert_refused_unread(unpacked_to(tmp_path / "file.npz", path, members))


@pytest.mark.parametrize("name", ["best.npz", "last.npz"])
def test_a_checkpoint_that_somebody_compressed_is_read(tmp_path, trained, name):
    loaded = ckpt.load(unpacked_to(tmp_path / "file.npz", trained / name, {}))
    assert same(loaded.params, ckpt.load(trained / name).params)


# What is refused: code


class Trap:
    """An object whose unpickling makes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_trap_works_where_it_is_unpickled(tmp_path):
    pickle.loads(pickle.dumps(Trap(tmp_path / "sprung"))).close()
    assert (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["meta", "params/out.b_y", "opt/m/out.b_y", "state", "extra"])
def test_a_pickled_array_is_refused_and_never_run(tmp_path, trained, name):
    sprung = tmp_path / "sprung"
    held = arrays_of(trained / "last.npz") | {name: np.array([Trap(sprung)], dtype=object)}
    np.savez(tmp_path / "file.npz", **held)
    why = "unknown: extra" if name == "extra" else "pickled objects"
    assert why in refusal(tmp_path / "file.npz")
    assert not sprung.exists()


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_is_refused_and_never_run(tmp_path, protocol):
    sprung, path = tmp_path / "sprung", tmp_path / "file.npz"
    path.write_bytes(pickle.dumps(Trap(sprung), protocol))
    assert "not a charrnn checkpoint" in refusal(path)
    assert not sprung.exists()


def test_a_pickle_inside_an_archive_is_refused_and_never_run(tmp_path, either):
    sprung, path = tmp_path / "sprung", tmp_path / "file.npz"
    with zipfile.ZipFile(either) as good, zipfile.ZipFile(path, "w") as bad:
        for item in good.infolist():
            trap = item.filename == "meta.npy"
            bad.writestr(item, pickle.dumps(Trap(sprung)) if trap else good.read(item))
    refusal(path)
    assert not sprung.exists()


# A checkpoint of format version 1, made once by checkpoint_v1/make.py


@pytest.fixture
def kept(tmp_path):
    """Return a folder with copies of the kept files, in which a test may write."""
    return Path(shutil.copytree(KEPT, tmp_path / "kept"))


def test_the_kept_files_are_small():
    assert sum(path.stat().st_size for path in KEPT.iterdir() if path.is_file()) < 60_000


@pytest.mark.parametrize("name", ["best.npz", "last.npz"])
def test_a_kept_checkpoint_gives_the_same_logits(kept, name):
    loaded = LanguageModel(ckpt.load(kept / name))
    expected = arrays_of(kept / "expected.npz")
    ids = loaded.checkpoint.vocab.encode((kept / "corpus.txt").read_text(encoding="utf-8")[:60])
    config = loaded.checkpoint.model_config
    logits, state, _ = model.forward(loaded.weights, ids[:, None], model.zero_state(config, 1))
    np.testing.assert_allclose(logits[:, 0], expected["logits"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(state, expected["state"], atol=1e-5, rtol=0)
    assert loaded.checkpoint.source.path == "corpus.txt"


def test_a_kept_run_goes_on(kept):
    expected = arrays_of(kept / "expected.npz")
    going = Run.resume(kept, str(kept / "corpus.txt"))
    assert going.state.step == 5
    finish(going)
    assert going.state.step == 10
    for name, array in going.state.params.items():
        np.testing.assert_allclose(array, expected[f"resumed/{name}"], atol=1e-4, rtol=0)


def test_a_kept_checkpoint_says_the_same_when_it_is_saved_again(kept):
    ckpt.save(kept / "again.npz", ckpt.load(kept / "last.npz"))
    again, before = meta_of(kept / "again.npz"), meta_of(kept / "last.npz")
    as_it_is = {
        "encoding": "utf-8",
        "normalize": "none",
        "min_count": 1,
        "also": [],
        "recover": True,
        "document_rules": 2,
        "warmup_share": 0.1,
        "ranks": 1,
    }
    for name in ("model", "train", "vocab", "source"):  # what was not yet known then has values that change nothing
        new = {key: value for key, value in again[name].items() if key not in before[name]}
        assert all(value == as_it_is.get(key, value) for key, value in new.items())
        assert not any(value for key, value in new.items() if key not in as_it_is)
        again[name] = {key: value for key, value in again[name].items() if key in before[name]}
    assert again.pop("averaged") is False
    assert again.pop("validated") is None
    assert again == before
    assert same(
        {name: array for name, array in arrays_of(kept / "again.npz").items() if name != "meta"},
        {name: array for name, array in arrays_of(kept / "last.npz").items() if name != "meta"},
    )


def test_a_kept_run_serves_as_a_beginning(kept, tmp_path):
    begun = start(tmp_path / "run", init_from=kept / "best.npz", extend_vocab=True)
    stop_at(begun, lambda event: True)
    assert ckpt.load(tmp_path / "run" / "last.npz").init_from == str(kept / "best.npz")


@pytest.mark.skipif(os.name != "posix", reason="needs a named pipe")
def test_a_checkpoint_is_not_read_from_a_pipe(tmp_path):
    pipe = tmp_path / "pipe.npz"
    os.mkfifo(pipe)
    held = os.open(pipe, os.O_RDWR)  # so that the reader need not wait for a writer
    assert f"{pipe} can be read only once, and a checkpoint is read in parts: give a file" in refusal(pipe)
    os.close(held)


# The memory


@pytest.fixture
def with_memory(tmp_path):
    """Return the path of a checkpoint with a memory."""
    path = tmp_path / "memory.npz"
    ckpt.save(path, small(cache=some_cache(ModelConfig(3, hidden_size=4), 2000)))
    return path


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_memory_comes_back_bit_for_bit(tmp_path, dtype):
    config = ModelConfig(3, hidden_size=70, dtype=dtype)
    params = model.init_params(config, np.random.default_rng(1))
    cache = some_cache(config, 1234, fitted_to="ab" * 32)
    ckpt.save(tmp_path / "one.npz", small(model_config=config, params=params, cache=cache))
    loaded = ckpt.load(tmp_path / "one.npz")
    for name in ("mean", "projection", "gates"):
        before, after = getattr(cache, name), getattr(loaded.cache, name)
        assert (before.tobytes(), before.dtype, before.shape) == (after.tobytes(), after.dtype, after.shape)
    assert (loaded.cache.size, loaded.cache.sharpness, loaded.cache.fitted_to) == (1234, 12.0, "ab" * 32)
    ckpt.save(tmp_path / "two.npz", loaded)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    assert len(arrays_of(tmp_path / "one.npz")) == len(params) + 3


def test_a_checkpoint_without_a_memory_has_no_trace_of_one(tmp_path):
    ckpt.save(tmp_path / "bare.npz", small())
    assert ckpt.load(tmp_path / "bare.npz").cache is None
    assert "cache" not in meta_of(tmp_path / "bare.npz")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("size", -1, "size -1"),
        ("size", 1.5, "size is no int"),
        ("size", True, "size is no int"),
        ("size", 10_000_001, "its memory reaches back 10,000,001 characters"),
        ("sharpness", math.nan, "the sharpness of its memory is nan"),
        ("sharpness", math.inf, "the sharpness of its memory is inf"),
        ("sharpness", "20", "sharpness is no float"),
        ("gates", [], "the gates of its memory are not 6 by 9 numbers"),
        ("gates", [[0.0] * 9] * 5, "the gates of its memory are not 6 by 9 numbers"),
        ("gates", [[math.nan] * 9] * 6, "the gates of its memory are not 6 by 9 numbers"),
        ("gates", [["x"] * 9] * 6, "do not make sense"),
        ("gates", [[0.0], [1.0, 2.0]], "do not make sense"),
        ("fitted_to", None, "fitted_to is no str"),
    ],
)
def test_a_memory_that_makes_no_sense_is_refused(with_memory, tmp_path, name, value, says):
    found = refusal(rewrite(tmp_path / "bad.npz", with_memory, meta=lambda meta: meta["cache"].update({name: value})))
    assert says in found
    assert found.endswith("use another copy")


@pytest.mark.parametrize("name", ["size", "sharpness", "gates", "fitted_to"])
def test_a_memory_that_lacks_something_is_refused(with_memory, tmp_path, name):
    found = refusal(rewrite(tmp_path / "bad.npz", with_memory, meta=lambda meta: meta["cache"].pop(name)))
    assert f"do not make sense ('{name}')" in found


@pytest.mark.parametrize(
    ("name", "array", "says"),
    [
        ("mean", None, "arrays missing or unknown: cache/mean"),
        ("projection", None, "arrays missing or unknown: cache/projection"),
        ("mean", np.zeros(5, np.float32), "cache/mean has shape (5,), not (4,)"),
        ("projection", np.zeros((4, 3), np.float32), "cache/projection has shape (4, 3), not (4, 4)"),
        ("mean", np.zeros(4), "cache/mean is float64, not float32"),
        ("mean", np.full(4, np.nan, np.float32), "cache/mean contains numbers that are not finite"),
        ("projection", np.full((4, 4), np.inf, np.float32), "cache/projection contains numbers that are not finite"),
    ],
)
def test_a_memory_of_other_arrays_is_refused(with_memory, tmp_path, name, array, says):
    assert says in refusal(rewrite(tmp_path / "bad.npz", with_memory, **{f"cache/{name}": array}))


def test_arrays_of_a_memory_that_is_not_described_are_refused(with_memory, tmp_path):
    found = refusal(rewrite(tmp_path / "bad.npz", with_memory, meta=lambda meta: meta.pop("cache")))
    assert "arrays missing or unknown: cache/mean, cache/projection" in found


@pytest.mark.parametrize("name", ["best.npz", "last.npz"])
def test_a_checkpoint_of_before_has_no_memory_until_it_is_asked_for(name):
    old, text = LanguageModel(ckpt.load(KEPT / name)), (KEPT / "corpus.txt").read_text(encoding="utf-8")
    assert old.checkpoint.cache is None
    assert old.evaluate(text).memory is None
    lm = replace(old, memory=500)
    cache = lm.cache
    assert (cache.size, cache.sharpness, cache.fitted_to) == (500, 20.0, "")
    np.testing.assert_allclose(shares(np.ones((1, FEATURES)), cache.gates, None), 0.1)
    assert len(np.unique(cache.gates, axis=0)) == 1
    result = lm.evaluate(text)
    assert result.nats_per_char == pytest.approx(old.evaluate(text).nats_per_char, rel=1e-6)
    assert result.memory.signature.endswith("|memory:500")
    assert result.memory.nats_per_char != pytest.approx(result.nats_per_char, rel=1e-4)
    assert len(lm.sample(50, seed=1)) == 50
