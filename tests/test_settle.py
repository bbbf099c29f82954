"""What is settled before a run: how many threads serve it, kept and reused."""

from dataclasses import replace

import pytest
from fixtures_run import finish, start, stop_at, write_text
from threadpoolctl import threadpool_info, threadpool_limits

from charrnn import checkpoint as ckpt
from charrnn.blas import blas
from charrnn.lanes import available_threads, usual_threads
from charrnn.run import Run
from charrnn.settle import tell_of_changes
from charrnn.train import Stepped


def blas_threads():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


@pytest.mark.parametrize(
    ("hidden_size", "available", "threads"), [(1, 8, 1), (32, 8, 1), (33, 8, 8), (512, 2, 2), (512, 1, 1)]
)
def test_small_layers_are_served_by_one_thread(hidden_size, available, threads):
    assert usual_threads(hidden_size, available) == threads


def test_a_run_reads_its_text_as_the_settings_say(tmp_path):
    run = start(tmp_path / "run", batch_size=3, seq_len=9, seed=4, reset_rate=0.25)
    stream = run.training.stream
    assert (stream.batch_size, stream.seq_len, stream.seed, stream.reset_rate) == (3, 9, 4, 0.25)
    run.close()


def test_what_is_available_is_what_numpy_would_use_now():
    for threads in (1, 2):
        with threadpool_limits(threads, "blas"):
            assert available_threads() == threads


def test_a_run_keeps_to_its_threads_and_gives_them_back(tmp_path):
    with threadpool_limits(2, "blas"):
        run = start(tmp_path / "run", threads=1)
        assert blas_threads() == {2}
        seen = {(type(event), *blas_threads()) for event in run.events() if isinstance(event, Stepped)}
        run.close()
        assert seen == {(Stepped, 1)}
        assert blas_threads() == {2}


def test_the_number_is_kept_and_reused_and_another_one_is_told_of(tmp_path):
    with threadpool_limits(2, "blas"):
        run = start(tmp_path / "run", write_text(tmp_path), hidden_size=40)
        stop_at(run, lambda event: isinstance(event, Stepped))
    assert ckpt.load(tmp_path / "run" / "last.npz").train_config.threads == 2
    again = Run.resume(tmp_path / "run")
    assert (again.training.config.threads, again.notes) == (2, [])
    again.close()
    other = Run.resume(tmp_path / "run", settings={"threads": 1})
    assert other.training.config.threads == 1
    assert "not bit for bit" in other.notes[0]
    finish(other)


def test_the_checkpoint_records_the_blas_and_its_kernel(tmp_path):
    library = blas()
    start(tmp_path / "run").close()
    versions = ckpt.load(tmp_path / "run" / "last.npz").versions
    assert versions.get("kernel") == library.kernel
    assert versions.get("blas", "").split() == [word for word in (library.name, library.version) if word]


HERE = {"charrnn": "1.0", "numpy": "2.4.0", "python": "3.12.0", "blas": "scipy-openblas 0.3.31", "kernel": "Haswell"}


@pytest.mark.parametrize(
    ("then", "before", "here"),
    [
        ({"kernel": "SkylakeX"}, "kernel SkylakeX", "kernel Haswell"),
        ({"numpy": "2.3.0", "python": "3.11.0"}, "numpy 2.3.0", "numpy 2.4.0"),
        (
            {"numpy": "2.3.0", "blas": "scipy-openblas 0.3.29"},
            "numpy 2.3.0, blas scipy-openblas 0.3.29",
            "numpy 2.4.0, blas scipy-openblas 0.3.31",
        ),
    ],
)
def test_what_bits_depend_on_and_has_changed_is_told(then, before, here):
    notes = []
    tell_of_changes(HERE | then, HERE, notes)
    assert notes == [
        f"the run was on {before}, and from here on it is on {here}: results agree to rounding but not bit for bit"
    ]


@pytest.mark.parametrize("then", [HERE, HERE | {"python": "3.11.0", "charrnn": "0.1"}, {"numpy": "2.4.0"}, {}])
def test_what_is_the_same_or_not_known_is_not_told(then):
    notes = []
    tell_of_changes(then, HERE, notes)
    tell_of_changes(HERE, then, notes)
    assert notes == []


@pytest.mark.parametrize(
    ("then", "now", "told"),
    [
        ({}, {"numba": "0.68.1"}, "on no numba, and from here on it is on numba 0.68.1:"),
        ({"numba": "0.68.1"}, {}, "on numba 0.68.1, and from here on it is on no numba:"),
        ({"numba": "0.61.0"}, {"numba": "0.68.1"}, "on numba 0.61.0, and from here on it is on numba 0.68.1:"),
    ],
)
def test_numba_is_told_of_when_it_comes_or_goes(then, now, told):
    notes = []
    tell_of_changes(HERE | then, HERE | now, notes)
    assert [told in note for note in notes] == [True]


def test_a_resume_on_another_kernel_says_so_and_records_it(tmp_path, monkeypatch):
    run = start(tmp_path / "run", write_text(tmp_path))
    stop_at(run, lambda event: isinstance(event, Stepped))
    now = ckpt.current_versions() | {"kernel": "Another"}
    monkeypatch.setattr(ckpt, "blas", lambda: replace(blas(), kernel="Another"))
    assert ckpt.current_versions() == now
    again = Run.resume(tmp_path / "run")
    assert [note for note in again.notes if "kernel Another" in note] == again.notes
    assert len(again.notes) == (blas().kernel is not None)
    finish(again)
    assert ckpt.load(tmp_path / "run" / "last.npz").versions["kernel"] == "Another"
