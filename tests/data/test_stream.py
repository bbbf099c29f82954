"""The stream of windows: which pairs an epoch has, in which order, and where the state is reset."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.data import stream as stream_module
from charrnn.data.stream import Stream


@st.composite
def streams(draw, reset_rates=(0.0,)):
    """A stream over 0 .. N-1, so that each pair shows its own position."""
    N = draw(st.integers(2, 60))
    return Stream(
        np.arange(N),
        batch_size=draw(st.integers(1, N - 1)),
        seq_len=draw(st.integers(1, 25)),
        seed=draw(st.integers(0, 2**63 - 1)),
        reset_rate=draw(st.sampled_from(reset_rates)),
    )


epochs = st.integers(0, 1000)


def epoch_of(stream, epoch):
    """Return the windows of an epoch, in order."""
    first = epoch * stream.steps_per_epoch
    return [stream[first + index] for index in range(stream.steps_per_epoch)]


def lanes(windows):
    """Return the inputs of these windows in a row (pairs of a batch row, B)."""
    return np.concatenate([window.inputs for window in windows])


@given(streams(), epochs)
def test_an_epoch_learns_every_pair_and_hardly_any_twice(stream, epoch):
    pairs = len(stream.ids) - 1
    inputs = lanes(epoch_of(stream, epoch))
    assert inputs.shape == (stream.row_length, stream.batch_size)
    assert np.array_equal(np.unique(inputs), np.arange(pairs))
    assert 0 <= inputs.size - pairs < stream.batch_size


@given(streams(), epochs)
def test_each_lane_runs_on_from_window_to_window_and_into_the_next_lane(stream, epoch):
    columns = lanes(epoch_of(stream, epoch)).T
    for column in columns:
        assert np.array_equal(np.diff(column), np.ones(stream.row_length - 1))
    for one, following in pairwise(columns):
        assert following[0] - one[-1] in (0, 1)
    assert columns[0, 0] == 0


@given(streams(), epochs)
def test_targets_are_the_successors(stream, epoch):
    for window in epoch_of(stream, epoch):
        assert np.array_equal(window.targets, window.inputs + 1)  # so the pair (last, first) never occurs


@given(st.text("abc", min_size=2, max_size=40), st.integers(1, 5))
def test_targets_are_the_successors_in_a_text(text, seq_len):
    ids = np.frombuffer(text.encode(), np.uint8)
    windows = epoch_of(Stream(ids, batch_size=1, seq_len=seq_len), 0)
    assert {array.dtype for window in windows for array in window[:2]} == {np.dtype(np.uint8)}
    pairs = [pair for window in windows for pair in zip(window.inputs.flat, window.targets.flat, strict=True)]
    assert pairs == list(pairwise(ids))


@given(streams(), epochs)
def test_windows_are_full_but_for_the_last_which_is_kept(stream, epoch):
    lengths = [len(window.inputs) for window in epoch_of(stream, epoch)]
    assert all(length == stream.seq_len for length in lengths[:-1])
    assert 1 <= lengths[-1] <= stream.seq_len
    assert sum(lengths) == stream.row_length


@given(streams(), epochs)
def test_chars_counts_what_a_step_predicts(stream, epoch):
    first = epoch * stream.steps_per_epoch
    steps = range(first, first + stream.steps_per_epoch)
    assert [stream.chars(step) for step in steps] == [stream[step].targets.size for step in steps]
    assert sum(stream.chars(step) for step in steps) == stream.row_length * stream.batch_size


@given(streams(), epochs)
def test_the_state_is_reset_where_an_epoch_and_where_the_text_begins(stream, epoch):
    for index, window in enumerate(epoch_of(stream, epoch)):
        expected = window.inputs == 0
        if index == 0:
            expected[0] = True
        if window.reset is None:
            assert not expected.any()
        else:
            assert window.reset.dtype == bool
            assert np.array_equal(window.reset, expected)


@given(streams((0.5,)), epochs)
def test_chance_resets_where_a_window_begins_and_changes_nothing_else(stream, epoch):
    for window, plain in zip(epoch_of(stream, epoch), epoch_of(replace(stream, reset_rate=0.0), epoch), strict=True):
        assert np.array_equal(window.inputs, plain.inputs)
        assert np.array_equal(window.targets, plain.targets)
        reset, expected = (
            np.zeros(each.inputs.shape, bool) if each.reset is None else each.reset for each in (window, plain)
        )
        assert (window.reset is None) == (not reset.any())
        assert np.array_equal(reset[1:], expected[1:])
        assert (reset[0] >= expected[0]).all()


def test_chance_resets_every_lane_and_step_by_itself_and_as_often_as_asked_for():
    drawn = np.array([resets(0, step) for step in range(200) if step % 7])  # 7 steps are an epoch
    assert abs(drawn.mean() - 0.3) <= 4 * (0.3 * 0.7 / drawn.size) ** 0.5
    assert len(np.unique(drawn, axis=0)) == len(drawn)
    assert len(np.unique(drawn, axis=1).T) == 50
    assert not np.array_equal(resets(1, 1), resets(0, 1))


def resets(seed, step):
    """Return which of 50 batch rows are reset at the start of this window; nearly a third are."""
    return Stream(np.arange(351), batch_size=50, seq_len=1, seed=seed, reset_rate=0.3)[step].reset[0]


@given(streams((0.0, 0.5)), st.lists(st.integers(0, 10_000), min_size=1, max_size=5))
def test_a_window_is_a_function_of_its_step(stream, steps):
    again = replace(stream, ids=stream.ids.copy())
    before = stream.ids.copy()
    windows = [stream[step] for step in steps]
    for step, window in reversed(list(zip(steps, windows, strict=True))):
        other = again[step]
        assert np.array_equal(window.inputs, other.inputs)
        assert np.array_equal(window.targets, other.targets)
        assert (window.reset is None) == (other.reset is None)
        assert window.reset is None or np.array_equal(window.reset, other.reset)
        window.inputs[...] = 0  # a window is the reader's own
        window.targets[...] = 0
    assert np.array_equal(stream.ids, before)


@given(streams(), epochs)
def test_all_epochs_are_alike(stream, epoch):
    for one, other in zip(epoch_of(stream, 0), epoch_of(stream, epoch), strict=True):
        assert np.array_equal(one.inputs, other.inputs)


@pytest.mark.parametrize(("seq_len", "steps"), [(1, 12), (2, 6), (5, 3), (100, 1)])
def test_the_number_of_steps(seq_len, steps):
    assert Stream(np.arange(24), batch_size=2, seq_len=seq_len).steps_per_epoch == steps


def test_a_whole_epoch_by_hand():
    stream = Stream(np.array([7, 1, 8, 2, 8, 1, 8, 2]), batch_size=2, seq_len=3)  # 7 pairs: 4 a row, one in both
    assert (stream.row_length, stream.steps_per_epoch) == (4, 2)
    assert [stream.chars(step) for step in range(3)] == [6, 2, 6]
    first, second = epoch_of(stream, 0)
    assert first.inputs.tolist() == [[7, 2], [1, 8], [8, 1]]
    assert first.targets.tolist() == [[1, 8], [8, 1], [2, 8]]
    assert first.reset.tolist() == [[True, True], [False, False], [False, False]]
    assert second.inputs.tolist() == [[2, 8]]
    assert second.targets.tolist() == [[8, 2]]
    assert second.reset is None


@given(streams(), epochs, st.integers(0, 9))
def test_the_state_is_reset_where_documents_begin(stream, epoch, end):
    marked = replace(stream, ids=stream.ids % 10, end=end)
    for plain, window in zip(epoch_of(stream, epoch), epoch_of(marked, epoch), strict=True):
        reset = np.zeros(plain.inputs.shape, bool) if plain.reset is None else plain.reset
        found = np.zeros(plain.inputs.shape, bool) if window.reset is None else window.reset
        assert np.array_equal(found, reset | (plain.inputs % 10 == end))


@given(st.text("ab\t|", max_size=90), st.integers(1, 4), st.integers(1, 9), st.integers(1, 3))
def test_what_follows_the_first_tab_of_a_document_counts_up_to_its_end(text, batch_size, seq_len, back):
    text = f"|{text}|"
    counted, inside = [], False
    for char in text[:-1]:
        inside = char == "\t" or (inside and char != "|")
        counted.append(inside)
    ids = np.array(["ab\t|".index(char) for char in text])
    stream = Stream(ids, min(batch_size, len(ids) - 1), seq_len, end=3, tab=2)
    at = Stream(np.arange(len(ids)), stream.batch_size, seq_len)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream_module, "_BACK", back)
        patch.setattr(stream_module, "_FURTHEST", 2 * back)
        for step in range(stream.steps_per_epoch):
            window, positions = stream[step], at[step].inputs
            assert np.array_equal(window.counted, np.array(counted)[positions])
            assert window.predictions == np.array(counted)[positions].sum()
    assert stream_module.count_targets(ids, 3, 2) == (sum(counted), sum("\t" in one for one in text.split("|")))


def test_without_a_tab_everything_counts():
    window = Stream(np.arange(9), 2, 3, end=4)[0]
    assert window.counted is None
    assert window.predictions == 6
