"""The course: its small net computes what the package does, its answers are right, and its notebooks are current."""

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from test_docs import ROOT, blocks, in_bash, shell, without_blocks  # noqa: F401  `shell` is a fixture

from charrnn.config import ModelConfig
from charrnn.data.stream import Stream
from charrnn.insight.figures import COLORS
from charrnn.nn import model, optimizers
from charrnn.nn.bptt import Learner
from charrnn.nn.functional import log_softmax

COURSE = ROOT / "docs" / "learn"
CHAPTERS = sorted(COURSE.glob("[0-9]-*.md"))
PICTURES = sorted((COURSE / "pictures").iterdir())
ANSWERS = (COURSE / "answers.md").read_text(encoding="utf-8")
V, H = 23, 12


def load(name):
    """Return one of the course's programs as a module."""
    spec = importlib.util.spec_from_file_location(name, COURSE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


rnn = load("rnn")


@pytest.fixture
def notebooks():
    for needed in ("jupytext", "nbclient", "ipykernel"):
        pytest.importorskip(needed, reason=f"needs {needed}: pip install '.[learn]'")
    return load("notebooks")


def copies(params):
    return {name: array.copy() for name, array in params.items()}


def named(params):
    """Return copies of the small net's parameters under the package's names."""
    return {f"{'out' if name in ('W_hy', 'b_y') else 'layer0'}.{name}": array for name, array in copies(params).items()}


def assert_equal(small, package):
    """Fail unless arrays of the small net and of the package are the same to 1e-12."""
    for name, array in named(small).items():
        np.testing.assert_allclose(array, package[name], rtol=1e-12, atol=1e-12, err_msg=name)


@pytest.fixture
def net():
    """Return the parameters of a small net, ids that fill two windows, and the package's settings of the same net."""
    rng = np.random.default_rng(5)
    ids = rng.integers(V, size=rnn.B * rnn.T * 2 + 1)
    config = ModelConfig(V, cell="rnn", hidden_size=H, dropout=0.0, dtype="float64")
    return rnn.init_params(V, H, rng), ids, config


@pytest.mark.usefixtures("computed_by")
def test_the_small_net_predicts_what_the_package_does(net):
    params, ids, config = net
    inputs, h0 = ids[: rnn.T * rnn.B].reshape(rnn.T, rnn.B), np.random.default_rng(1).normal(size=(rnn.B, H))
    logits, state, _ = model.forward(model.prepare(named(params), config), inputs, h0[None, None])
    h, log_probs = rnn.forward(params, inputs, h0)
    np.testing.assert_allclose(log_probs, log_softmax(logits), rtol=0, atol=1e-12)
    np.testing.assert_allclose(h[-1], state[0, 0], rtol=0, atol=1e-12)


@pytest.mark.usefixtures("computed_by")
def test_the_small_net_trains_as_the_package_does(net):
    """Three steps: losses, states that cross windows, gradients, clipping and updates, and a new epoch."""
    params, ids, config = net
    package, stream, learner = named(params), Stream(ids, rnn.B, rnn.T), Learner(config, seed=1)
    adam = optimizers.adam(beta2=0.999)
    moments, state = adam.init(package), model.zero_state(config, rnn.B)
    before = copies(params)
    for step, small_loss in enumerate(rnn.train(ids, params, steps=3, rate=0.01)):
        window, h0 = stream[step], state[0, 0] * (step != 2)  # an epoch has two windows
        learner.set_params(package)
        loss, state, grads = learner.gradients(window, state, step, slice(0, rnn.B))
        assert small_loss == pytest.approx(loss, rel=1e-12)
        assert_equal(rnn.gradients(before, window.inputs, window.targets, h0)[1], grads)
        optimizers.clip_by_global_norm(grads, rnn.MAX_NORM)
        adam.update(package, grads, moments, 0.01 * (1 - step / 3), step)
        assert_equal(params, package)
        before = copies(params)


@pytest.mark.parametrize("limit", [1e-3, 1e3])
def test_the_small_net_clips_as_the_package_does(net, limit):
    params, _, _ = net
    package = named(params)
    optimizers.clip_by_global_norm(package, limit)
    rnn.clip(params, limit)
    assert_equal(params, package)


def test_the_small_net_is_small_and_learns():
    assert len((COURSE / "rnn.py").read_text(encoding="utf-8").splitlines()) < 100
    rng, chars = np.random.default_rng(1), ["\n", "a", "b"]
    params = rnn.init_params(len(chars), 8, rng)
    *_, last = rnn.train(np.arange(6 * rnn.B * rnn.T) % 3, params, steps=60, rate=0.03)
    assert last < 0.1
    assert rnn.sample(params, chars, 30, rng) == "ab\n" * 10
    assert rnn.sample(params, chars, 30, rng, temperature=100) != "ab\n" * 10


def answers():
    """Return each answer's program and output."""
    found = []
    for section in re.split(r"^## ", ANSWERS, flags=re.MULTILINE)[1:]:
        for number, answer in re.findall(r"^\*\*(\d)\.\*\*(.*?)(?=^\*\*|\Z)", section, re.MULTILINE | re.DOTALL):
            program, output = blocks(answer)
            found.append(pytest.param(program.body, output.body, id=f"{section.splitlines()[0]}, {number}"))
    return found


@pytest.mark.parametrize(("program", "output"), answers())
def test_an_answer_prints_what_is_shown(program, output, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setitem(sys.modules, "rnn", rnn)
    exec(compile(program, "answers.md", "exec"), {})
    assert capsys.readouterr().out == output


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_has_its_parts(path):
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"\]\(pictures/(.*?)\)", text) == [f"{path.stem}.png"]
    assert re.search(rf'savefig\("{path.stem}\.png"\)|--out {path.stem}\.png$', text, re.MULTILINE)
    assert re.search(r"\]\(\.\./\.\./charrnn/\w+/.*?\.py\)", text)
    exercises = text[text.index("\n## Exercises\n") :]
    assert re.findall(r"^(\d)\. ", exercises, re.MULTILINE) == ["1", "2"]
    (heading,) = re.findall(r"^# (.*)$", without_blocks(text), re.MULTILINE)
    _, answer = ANSWERS.split(f"\n## {heading}\n")
    assert re.findall(r"^\*\*(\d)\.\*\*", answer.split("\n## ")[0], re.MULTILINE) == ["1", "2"]
    assert f"[{heading}]({path.name})" in (COURSE / "README.md").read_text(encoding="utf-8")


def test_the_pictures_have_the_colours_of_all_figures():
    matplotlib = pytest.importorskip("matplotlib")
    style = matplotlib.rc_params_from_file(COURSE / "course.mplstyle", use_default_template=False)
    assert style["axes.prop_cycle"].by_key()["color"] == list(COLORS)


def test_the_pictures_are_small():
    sizes = {path.name: path.stat().st_size for path in PICTURES}
    assert set(sizes) == {f"{path.stem}.png" for path in CHAPTERS}
    assert max(sizes.values()) < 100_000
    assert sum(sizes.values()) < 400_000


def cells(notebook):
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def test_the_notebooks_are_current(notebooks):
    import nbformat

    assert [path.name for path in notebooks.CHAPTERS] == [*(path.name for path in CHAPTERS), "answers.md"]
    for chapter in notebooks.CHAPTERS:
        written = nbformat.read(notebooks.file_of(chapter), as_version=4)
        assert cells(written) == cells(notebooks.notebook(chapter)), "run `python docs/learn/notebooks.py`"
        assert not any(cell.get("outputs") for cell in written.cells)


def test_the_links_of_notebooks_resolve(notebooks):
    for chapter in notebooks.CHAPTERS:
        for _, source in cells(notebooks.notebook(chapter)):
            for target in re.findall(r"\]\(((?!https?:|#)[^)\s]+)\)", source):
                assert (COURSE / "notebooks" / target.partition("#")[0]).exists(), f"{chapter.name}: {target}"


@in_bash
@pytest.mark.slow
@pytest.mark.parametrize("chapter", [*CHAPTERS, COURSE / "answers.md"], ids=lambda path: path.stem)
def test_a_notebook_runs(chapter, notebooks, tmp_path, monkeypatch, shell):  # noqa: F811
    for name, value in shell.items():
        monkeypatch.setenv(name, value)
    notebooks.prepare(folder := tmp_path / "course")
    notebooks.run(chapter, folder)
    saved = {path.name for path in Path(folder).glob("*.png")}
    assert saved == ({f"{chapter.stem}.png"} if chapter in CHAPTERS else set())
