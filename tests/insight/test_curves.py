"""Learning curves: their points, the seeds that share one, smoothing, and the figure's lines."""

from types import SimpleNamespace

import numpy as np
import pytest

from charrnn.errors import ConfigError
from charrnn.insight.curves import UNITS, Curve, Curves, Line, curves_of, learning_curves, smoothed
from charrnn.insight.figures import save
from charrnn.insight.log import Log
from charrnn.training.compare import Row

pytest.importorskip("matplotlib")


def log(steps, loss, val_loss=None, *, per_step=2.0):
    """Return a log with these losses; nan in val_loss where nothing was validated."""
    step = np.array(steps)
    empty = np.full(len(step), np.nan)
    names = ("val_accuracy", "learning_rate", "grad_norm", "clipped", "chars_per_second")
    return Log(
        step=step,
        epoch=step / 10,
        seconds=step * per_step,
        chars=step * 7.0,
        loss=np.array(loss, float),
        val_loss=empty if val_loss is None else np.array(val_loss, float),
        **dict.fromkeys(names, empty),
        grad_norms={},
        saturation={},
        recoveries=[],
        samples=[],
        reasons=[],
    )


def row(*names, labels=None, **settings):
    """Return a row of runs with these names, whose paths are their names."""
    runs = [SimpleNamespace(name=name, path=name, labels=labels) for name in names]
    return Row({name: (value,) for name, value in settings.items()}, runs)


def one(found, **options):
    """Return the curve of a single run."""
    (curve,) = curves_of([row("one")], {"one": found}, **options).curves
    return curve


def test_the_points_are_those_of_the_log():
    curve = one(log([1, 2, 3], [3, 2, 1], [np.nan, 2.5, 2.6]))
    assert (curve.label, curve.runs, curve.best) == ("one", ("one",), (2.0, 2.5))
    for line in (curve.training, curve.smoothed):
        assert np.array_equal(line, [[1, 2, 3], *[[3, 2, 1]] * 3])
    assert np.array_equal(curve.validation, [[2, 3], *[[2.5, 2.6]] * 3])


@pytest.mark.parametrize(("by", "best"), [("step", 2.0), ("epoch", 0.2), ("seconds", 4.0), ("chars", 14.0)])
def test_the_horizontal_axis_is_chosen(by, best):
    assert one(log([1, 2, 3], [3, 2, 1], [np.nan, 2.5, 2.6]), by=by).best == (best, 2.5)


def test_bits_are_nats_by_the_logarithm_of_two():
    curve = one(log([1, 2], [2 * np.log(2), np.log(2)], [np.log(2), np.nan]), unit="bits")
    assert curve.training.y == pytest.approx([2, 1])
    assert curve.validation.y == pytest.approx([1])
    assert curve.best.loss == pytest.approx(1)
    assert UNITS.keys() == {"nats", "bits"}


def test_without_validation_there_is_no_best():
    curve = one(log([1, 2], [2, 1]))
    assert curve.best is None
    assert curve.validation.x.size == 0


def test_the_moving_average_is_the_weighted_mean_of_the_past():
    values = np.array([3.0, 1.0, 2.0])
    expected = [3, (0.5 * 3 + 1) / 1.5, (0.25 * 3 + 0.5 * 1 + 2) / 1.75]
    assert smoothed(values, 0.5) == pytest.approx(expected)
    assert smoothed(values, 0.0).tolist() == values.tolist()


def test_only_long_runs_are_smoothed_unless_a_weight_is_given():
    short, long = log(range(1, 101), [1.0] * 100), log(range(1, 201), [1.0] * 200)
    assert curves_of([row("one")], {"one": short}).smoothing == 0
    assert curves_of([row("one")], {"one": long}).smoothing == 0.5
    curves = curves_of([row("one")], {"one": log([1, 2], [3, 1])}, smoothing=0.5)
    assert curves.curves[0].smoothed.y == pytest.approx([3, 2.5 / 1.5])
    assert curves.curves[0].training.y.tolist() == [3, 1]


def test_seeds_share_a_curve_with_mean_and_band_where_all_have_values():
    logs = {"a": log([2, 4, 6], [4, 2, 1], [3, 2, 1]), "b": log([3, 5], [4, 2], [3.5, 3])}
    (curve,) = curves_of([row("a", "b", cell="lstm")], logs).curves
    assert (curve.label, curve.runs) == ("cell=lstm (2 runs)", ("a", "b"))
    assert curve.training.x.tolist() == [3, 4, 5]
    assert curve.training.y.tolist() == [3.5, 2.5, 1.75]
    assert curve.training.low.tolist() == [3, 2, 1.5]
    assert curve.training.high.tolist() == [4, 3, 2]
    assert curve.validation.y.tolist() == [3, 2.625, 2.25]
    assert curve.best == (5.5, 2.0)


def test_runs_without_a_common_stretch_have_no_line_but_a_best():
    (curve,) = curves_of([row("a", "b")], {"a": log([1, 2], [2, 1], [2, 1]), "b": log([5], [3], [3])}).curves
    assert curve.training.x.size == curve.validation.x.size == 0
    assert curve.best == (3.5, 2.0)
    assert curve.label == "a (2 runs)"


def test_settings_that_differ_within_a_row_are_not_in_its_label():
    mixed = Row({"cell": ("rnn", "gru"), "hidden_size": (64,)}, row("a", "b").runs)
    (curve,) = curves_of([mixed], {"a": log([1], [1]), "b": log([1], [1])}).curves
    assert curve.label == "hidden-size=64 (2 runs)"


def test_runs_without_a_log_are_left_out():
    curves = curves_of([row("a", "b", cell="rnn"), row("c")], {"a": log([1], [1])}).curves
    assert [(curve.label, curve.runs) for curve in curves] == [("a", ("a",))]


def test_a_log_without_times_has_no_axis_of_seconds():
    found = log([1, 2], [2, 1], per_step=np.nan)
    with pytest.raises(ConfigError, match="one has no log of its seconds: use --by step or --by epoch"):
        one(found, by="seconds")
    assert one(found, by="epoch").training.x.tolist() == [0.1, 0.2]


def test_only_the_first_tenth_of_a_curve_may_lie_above_the_top():
    steps = range(0, 21)
    assert curves_of([row("a")], {"a": log(steps, [9, 8, 3] + [2] * 18)}).top == 3
    assert curves_of([row("a")], {"a": log(steps, [9, 8, 3] + [2] * 18, [np.nan] * 20 + [4])}).top == 4
    assert Curves([], "step", "nats", 0.0).top == -np.inf


def test_a_loss_that_is_not_finite_is_left_out_of_the_top():
    assert curves_of([row("one")], {"one": log(range(1, 5), [3.0, 2.0, np.nan, np.inf])}).top == 2.0
    assert curves_of([row("one")], {"one": log([1], [np.nan])}).top == -np.inf


def lines_of(figure):
    """Return the points of the lines in a figure that have some, by label."""
    lines = figure.axes[0].get_lines()
    return [(line.get_label(), *map(list, line.get_data())) for line in lines if len(line.get_xdata())]


def test_the_figure_of_one_run_has_training_validation_and_the_mark(tmp_path):
    made = learning_curves(curves_of([row("one")], {"one": log([1, 2, 3], [3, 2, 1], [np.nan, 2.5, 2.6])}))
    (training, validation, mark) = lines_of(made)
    assert training == ("training", [1, 2, 3], [3, 2, 1])
    assert validation == ("validation, best 2.5000 at 2", [2, 3], [2.5, 2.6])
    assert mark[1:] == ([2], [2.5])
    axes = made.axes[0]
    assert (axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel()) == (
        "one",
        "steps",
        "loss in nats per character",
    )
    save(made, tmp_path / "one.svg")
    assert "best 2.5000" in (tmp_path / "one.svg").read_text()


def test_the_raw_losses_are_drawn_under_smoothed_ones():
    made = learning_curves(curves_of([row("one")], {"one": log([1, 2], [3, 1])}, smoothing=0.5))
    raw, smooth = lines_of(made)
    assert raw[2] == [3, 1]
    assert smooth[0] == "training"
    assert smooth[2] == pytest.approx([3, 5 / 3])


def test_the_figure_of_several_runs_has_a_colour_for_each_and_a_band():
    logs = {"a": log([1, 2], [3, 2], [3, 2]), "b": log([1, 2], [3, 2], [4, 3]), "c": log([1, 2], [3, 1])}
    made = learning_curves(curves_of([row("a", "b", cell="rnn"), row("c")], logs))
    (axes,) = made.axes
    (band,) = axes.collections
    corners = {tuple(point) for point in band.get_paths()[0].vertices.tolist()}
    assert corners == {(1, 3), (2, 2), (1, 4), (2, 3)}
    legend = [text.get_text() for text in made.legends[0].get_texts()]
    assert legend == ["cell=rnn (2 runs), best 2.5000 at 2", "c, training", "training"]
    colors = {line.get_label(): line.get_color() for line in axes.get_lines()}
    assert len({colors[label] for label in legend}) == 3


def test_any_name_and_any_number_of_runs_can_be_drawn(tmp_path):
    names = ["_hidden", "$x^$", "a_{b", "唐诗", "n" * 200, *map(str, range(31))]
    logs = {name: log([1, 2], [3, 2], [3, 2]) for name in names}
    made = learning_curves(curves_of([row(name) for name in names], logs))
    save(made, tmp_path / "all.png")
    legend = [text.get_text() for text in made.legends[0].get_texts()]
    assert len(legend) == len(names) + 1
    assert legend[0].strip().startswith("_hidden, best")
    assert max(map(len, legend)) < 80
    lines = made.axes[0].get_lines()
    marks = {(line.get_color(), line.get_marker()) for line in lines if line.get_linestyle() == "None"}
    assert len(marks) == 36


def test_a_long_run_is_drawn_with_a_thousand_points_the_last_one_included():
    steps = range(1, 30_001)
    made = learning_curves(curves_of([row("one")], {"one": log(steps, [1 + step % 7 for step in steps])}))
    for _, x, _ in lines_of(made):
        assert (len(x), x[0], x[-1]) == (1000, 1, 30_000)


def test_curves_without_points_make_an_empty_figure(tmp_path):
    empty = Line(*np.zeros((4, 0)))
    for curves in ([], [Curve("none", ("none",), empty, empty, empty, None)]):
        made = learning_curves(Curves(curves, "step", "nats", 0.0))
        assert lines_of(made) == []
        save(made, tmp_path / "empty.png")


def test_a_single_point_can_be_seen(tmp_path):
    made = learning_curves(curves_of([row("one")], {"one": log([100], [2.35])}))
    assert [line.get_marker() for line in made.axes[0].get_lines()] == ["."]
    save(made, tmp_path / "point.png")


def test_losses_of_classifiers_are_per_text():
    def label(*labels):
        rows = [row(str(at), labels=each) for at, each in enumerate(labels)]
        return curves_of(rows, {str(at): log([1], [1.0]) for at in range(len(labels))}).y_label

    assert label(None) == "loss in nats per character"
    assert label(3, 2) == "loss in nats per text"
    assert label(3, None) == "loss in nats per prediction"
