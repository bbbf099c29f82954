"""A run that was stopped and resumed is, bit for bit, the run that was not."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from fixtures_run import (
    TEXT,
    arrays_of,
    assert_same_run,
    finish,
    log_of,
    meta_of,
    set_clock,
    start,
    stop_at,
    write_text,
)

from charrnn import checkpoint as ckpt
from charrnn.config import CELL_NAMES, OPTIMIZER_DEFAULTS, SCHEDULE_NAMES, STDIN, TextConfig
from charrnn.data.corpus import Corpus, Source
from charrnn.data.reading import text_of
from charrnn.errors import MAY_PASS, CharRNNError, CheckpointError, ConfigError, CorpusError, RunFolderError
from charrnn.system.blas import blas
from charrnn.training import budget
from charrnn.training.fitting import MemoryFitted
from charrnn.training.folder import RunFolder
from charrnn.training.loop import Evaluating, Report, Stepped
from charrnn.training.resume import version_notes
from charrnn.training.run import Run, Saved

pytestmark = pytest.mark.usefixtures("no_sync")

STEPS_PER_EPOCH = 26  # of the text less its validation part, by fours and tens


def at_step(step):
    """Want the end of this step."""
    return lambda event: isinstance(event, Stepped) and event.step == step


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return a function that gives a text's path and the folder of the run on it that was never stopped."""
    shared, made = tmp_path_factory.mktemp("whole"), {}
    path = write_text(shared)

    def make(**settings):
        key = tuple(sorted(settings.items()))
        if key not in made:
            made[key] = shared / str(len(made))
            finish(start(made[key], path, **settings))
        return path, made[key]

    return make


@pytest.fixture
def compare(tmp_path, whole):
    """Return a function that runs with stops, asserts that it is as without them, and gives the folder."""

    def with_stops(*stops, save=True, **settings):
        path, folder = whole(**settings)
        going = start(tmp_path / "parts", path, **settings)
        for wanted in stops:
            stop_at(going, wanted, save=save)
            going = Run.resume(tmp_path / "parts")
        finish(going)
        assert_same_run(tmp_path / "parts", folder)
        return tmp_path / "parts"

    return with_stops


def refusal(kind, *args, **options):
    """Return the one line with which a resume is refused, and see that nothing was changed by it."""
    folder = args[0]
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".lock"}
    with pytest.raises(kind) as caught:
        Run.resume(*args, **options).close()
    assert before == {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".lock"}
    assert "\n" not in str(caught.value)
    return str(caught.value)


# The same run


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_every_cell_goes_on_where_it_stopped(compare, cell):
    # Stopped in the second epoch, between two reports; with dropout, so that its masks must go on too.
    compare(at_step(31), cell=cell, optimizer="adamw", steps=40, dropout=0.2)


@pytest.mark.parametrize("optimizer", list(OPTIMIZER_DEFAULTS))
def test_every_optimizer_goes_on_where_it_stopped(compare, optimizer):
    compare(at_step(11), optimizer=optimizer)


@pytest.mark.parametrize("schedule", SCHEDULE_NAMES)
def test_every_schedule_goes_on_where_it_stopped(compare, schedule):
    compare(at_step(11), schedule=schedule, hidden_size=4)


@pytest.mark.parametrize(
    "settings",
    [
        {"num_layers": 2, "dropout": 0.3},
        {"embed_size": 5, "cell": "gru"},
        {"reset_rate": 0.4},
        {"embed_size": 5, "tied": True, "input_dropout": 0.2},
        {"dtype": "float64", "clip_value": 0.01},
        {"val_fraction": 0.5, "patience": 2, "learning_rate": 1.0, "eval_every": 2, "schedule": "constant"},
        {"clip_norm": 0.05, "weight_decay": 0.1, "optimizer": "adam"},
        {"attention": 15, "dropout": 0.3, "reset_rate": 0.2},
    ],
)
def test_whatever_is_set_goes_on_where_it_stopped(compare, settings):
    compare(at_step(3), **settings)


def reported_at(step):
    """Want the report of this step."""
    return lambda event: isinstance(event, Report) and event.step == step


def evaluating_at(count):
    """Want the evaluation of so many characters, the first time it is under way."""
    return lambda event: isinstance(event, Evaluating) and event.chars == count


STOPS = {
    "mid-epoch between reports": at_step(5),
    "at the first step": at_step(1),
    "at the last step of an epoch": at_step(19),
    "at the first step of the next": at_step(20),
    "before a report": at_step(6),
    "before an evaluation": at_step(7),
    "during an evaluation": evaluating_at(250),
    "after an evaluation's characters": evaluating_at(358),
    "after a report": reported_at(6),
    "after an evaluation": reported_at(14),
    "after best.npz": lambda event: isinstance(event, Saved) and event.path.name == "best.npz",
    "after last.npz": lambda event: isinstance(event, Saved) and event.path.name == "last.npz",
    "before the last evaluation": at_step(30),
}


@pytest.mark.parametrize("stop", STOPS)
def test_it_does_not_matter_where_it_stopped(compare, stop):
    folder = compare(STOPS[stop], steps=30, val_fraction=0.32, dropout=0.1)  # an epoch has 19 steps then
    assert len(log_of(folder)) == 13


def test_weight_drop_and_the_mean_of_the_weights_are_resumed_too(compare):
    settings = {"weight_drop": 0.3, "input_dropout": 0.2, "embed_size": 3, "average": 0.9}
    compare(at_step(5), steps=30, val_fraction=0.32, **settings)


def test_the_number_of_stops_does_not_matter(compare):
    stops = (at_step(1), at_step(2), at_step(7), evaluating_at(250), reported_at(9), at_step(19), at_step(20))
    compare(*stops, val_fraction=0.32)


@pytest.mark.parametrize(
    "stop", ["mid-epoch between reports", "during an evaluation", "after a report", "after best.npz"]
)
@pytest.mark.parametrize("save_every", [0, 1, 3])
def test_a_run_that_was_killed_goes_on_from_its_newest_save(compare, stop, save_every):
    # Nothing is saved at the stop: the log has lines, and best.npz may be, of steps that are done again.
    compare(STOPS[stop], steps=30, val_fraction=0.32, save_every=save_every, save=False)


@pytest.mark.parametrize("stop", [6, 7])
@pytest.mark.parametrize("save_every", [1, 6, 7])
def test_a_save_at_the_step_of_a_report_does_not_report_twice(compare, stop, save_every):
    # The step's save comes before its report; the kill comes after the report's line and before the next save.
    compare(reported_at(stop), save_every=save_every, save=False)


def sampling(run, every=2, count=None):
    """Go on with a run to its end, or to this event, and log a sample every so many steps before it."""
    for number, event in enumerate(run.events(), 1):
        if number == count:
            break
        if isinstance(event, Stepped) and event.step % every == 0:
            run.log_sample(f"{event.step} {run.state.params['out.b_y'].sum():.9f}")
    run.close()


@pytest.mark.parametrize("save_every", [0, 2, 3])
def test_samples_are_those_of_a_run_that_was_not_killed(tmp_path, save_every):
    path, settings = write_text(tmp_path), {"steps": 8, "eval_every": 4, "save_every": save_every}
    sampling(start(tmp_path / "whole", path, **settings))
    assert [line["step"] for line in log_of(tmp_path / "whole") if "sample" in line] == [2, 4, 6, 8]
    for count in range(1, 18):
        sampling(start(tmp_path / str(count), path, **settings), count=count)
        if not is_over(tmp_path / str(count)):
            sampling(Run.resume(tmp_path / str(count)))
        assert_same_run(tmp_path / str(count), tmp_path / "whole")


def is_over(folder):
    """Return whether a run has ended, so that it cannot be resumed."""
    return meta_of(folder / "last.npz")["progress"]["reported"] == 8


@pytest.mark.parametrize("end", ['{"step": 1', "{", "\x00\x00"])
def test_a_half_written_last_line_of_the_log_is_cut_off(tmp_path, end):
    path = write_text(tmp_path)
    finish(start(tmp_path / "whole", path))
    stop_at(start(tmp_path / "parts", path), at_step(11))
    with open(tmp_path / "parts" / "log.jsonl", "a", encoding="utf-8") as file:
        file.write(end)
    finish(Run.resume(tmp_path / "parts"))
    assert_same_run(tmp_path / "parts", tmp_path / "whole")


def test_a_lost_log_is_no_obstacle(tmp_path):
    path = write_text(tmp_path)
    finish(start(tmp_path / "whole", path))
    stop_at(start(tmp_path / "parts", path), at_step(11))
    (tmp_path / "parts" / "log.jsonl").unlink()
    finish(Run.resume(tmp_path / "parts"))
    assert log_of(tmp_path / "parts", clock=False) == log_of(tmp_path / "whole", clock=False)[-5:]
    assert arrays_of(tmp_path / "parts" / "last.npz").keys() == arrays_of(tmp_path / "whole" / "last.npz").keys()
    assert (tmp_path / "parts" / "last.npz").read_bytes() == (tmp_path / "whole" / "last.npz").read_bytes()


def test_stopping_does_not_count_as_training_time(tmp_path, monkeypatch):
    clock = {"now": 0.0}
    set_clock(monkeypatch, lambda: clock["now"])
    path = write_text(tmp_path)
    going = start(tmp_path / "run", path)
    for event in going.events():
        clock["now"] += 1
        if isinstance(event, Report):
            break
    going.save()
    going.close()
    told = log_of(tmp_path / "run")[-1]["seconds"]
    clock["now"] += 10_000
    finish(Run.resume(tmp_path / "run"))
    times = [record["seconds"] for record in log_of(tmp_path / "run")]
    assert told == times[0] == 3
    assert times == sorted(times)
    assert times[-1] < 100


def test_the_time_before_a_stop_between_two_lines_of_the_log_is_kept(tmp_path, monkeypatch):
    clock = {"now": 0.0}
    set_clock(monkeypatch, lambda: clock["now"])
    path = write_text(tmp_path)

    def go_on(run, last=None):
        for event in run.events():
            if isinstance(event, Stepped) and event.step == 5:  # the lines are those of steps 3 and 6
                if last:
                    break
                continue
            clock["now"] += 1
        run.save()
        run.close()

    go_on(start(tmp_path / "whole", path))
    go_on(start(tmp_path / "parts", path), last=5)
    clock["now"] += 10_000
    go_on(Run.resume(tmp_path / "parts"))
    assert log_of(tmp_path / "parts") == log_of(tmp_path / "whole")


def test_nothing_is_written_by_resuming_alone(tmp_path):
    path = write_text(tmp_path)
    stop_at(start(tmp_path / "run", path), at_step(11))
    before = {name: (tmp_path / "run" / name).read_bytes() for name in ("last.npz", "best.npz", "log.jsonl")}
    going = Run.resume(tmp_path / "run")
    going.close()
    assert before == {name: (tmp_path / "run" / name).read_bytes() for name in before}
    assert (going.notes, going.earlier_totals) == ([], [])


def test_the_source_is_kept_and_a_moved_text_is_found_where_one_says(tmp_path):
    path = write_text(tmp_path)
    stop_at(start(tmp_path / "run", path), at_step(11))
    moved = shutil.move(path, tmp_path / "moved.txt")
    assert "boats.txt does not exist" in refusal(CorpusError, tmp_path / "run")
    finish(Run.resume(tmp_path / "run", str(moved)))
    assert ckpt.load(tmp_path / "run" / "last.npz").source.path == str(moved)


def test_a_text_that_was_no_file_must_be_given(tmp_path):
    finish(start(tmp_path / "whole"))
    stop_at(start(tmp_path / "parts"), at_step(11))
    assert "give the text" in refusal(CorpusError, tmp_path / "parts")
    finish(Run.resume(tmp_path / "parts", write_text(tmp_path)))
    ours, theirs = (arrays_of(tmp_path / name / "last.npz") for name in ("parts", "whole"))
    for name in ours.keys() - {"meta"}:
        assert np.array_equal(ours[name], theirs[name]), name


def test_a_validation_text_of_its_own_is_found_again(tmp_path):
    path, val_path = write_text(tmp_path), write_text(tmp_path, TEXT[::-1], "val.txt")
    finish(start(tmp_path / "whole", Corpus.read(path, None, val_path)))
    stop_at(start(tmp_path / "parts", Corpus.read(path, None, val_path)), at_step(11))
    other = write_text(tmp_path, TEXT[::-1] + "1", "other.txt")
    assert f"{other} is not the text" in refusal(CorpusError, tmp_path / "parts", None, other)
    finish(Run.resume(tmp_path / "parts"))
    assert_same_run(tmp_path / "parts", tmp_path / "whole")


def test_what_the_run_began_with_is_kept(tmp_path):
    path = write_text(tmp_path)
    finish(start(tmp_path / "earlier", path))
    earlier = tmp_path / "earlier" / "best.npz"
    finish(start(tmp_path / "whole", path, init_from=earlier, seed=6))
    stop_at(start(tmp_path / "parts", path, init_from=earlier, seed=6), at_step(11))
    earlier.unlink()  # it is not needed any more
    finish(Run.resume(tmp_path / "parts"))
    assert ckpt.load(tmp_path / "parts" / "last.npz").init_from == str(earlier)
    assert_same_run(tmp_path / "parts", tmp_path / "whole")


@pytest.mark.parametrize("epochs", [False, True])
def test_the_total_can_be_raised(tmp_path, epochs):
    path = write_text(tmp_path)
    finish(start(tmp_path / "run", path, schedule="constant", steps=20))
    settings = {"epochs": 2} if epochs else {"steps": 2 * STEPS_PER_EPOCH}
    going = Run.resume(tmp_path / "run", settings=settings)
    assert going.state.course == (20, ((20, 2 * STEPS_PER_EPOCH),))
    stop_at(going, at_step(31))
    going = Run.resume(tmp_path / "run", settings={"steps": 2 * STEPS_PER_EPOCH + 3})
    assert going.config.length_changes == f"20:{2 * STEPS_PER_EPOCH},31:{2 * STEPS_PER_EPOCH + 3}"
    finish(going)
    finish(start(tmp_path / "whole", path, schedule="constant", steps=2 * STEPS_PER_EPOCH + 3))
    ours, theirs = (ckpt.load(tmp_path / name / "last.npz") for name in ("run", "whole"))
    assert ours.step == theirs.step == theirs.train_config.steps
    assert (ours.train_config.steps, ours.train_config.length_changes) == (20, going.config.length_changes)
    for name, array in ours.params.items():  # a constant rate knows of no total
        assert np.array_equal(array, theirs.params[name]), name
    steps = [record["step"] for record in log_of(tmp_path / "run")]
    assert steps == sorted(set(steps))
    assert 20 in steps


@pytest.mark.parametrize(("done", "changes"), [(10, "10:40"), (20, "20:40")])
def test_a_run_with_a_raised_total_is_repeated_by_its_changes(tmp_path, done, changes):
    path = write_text(tmp_path)
    stop_at(start(tmp_path / "run", path, schedule="cosine"), at_step(done))
    going = Run.resume(tmp_path / "run", settings={"steps": 40})
    finish(going)
    assert going.config.length_changes == changes
    finish(start(tmp_path / "whole", path, schedule="cosine", length_changes=changes))
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    rates = {record["step"]: record["learning_rate"] for record in log_of(tmp_path / "run")}
    assert rates[12] < rates[9]
    assert (rates[21] > rates[18]) == (done == 20)  # it jumps only if a complete run is extended


def test_a_run_that_an_earlier_version_extended_goes_on_with_the_rates_it_had_there(tmp_path):
    path = write_text(tmp_path)
    stop_at(start(tmp_path / "run", path, steps=40), at_step(25))
    finish(start(tmp_path / "whole", path, steps=40))
    old = ckpt.load(tmp_path / "run" / "last.npz")  # those versions wrote the new length over the first one
    ckpt.save(tmp_path / "run" / "last.npz", replace(old, earlier_totals=[20]))
    going = Run.resume(tmp_path / "run")
    assert (going.earlier_totals, going.state.course) == ([20], (40, ()))
    finish(going)
    for name, array in ckpt.load(tmp_path / "run" / "last.npz").params.items():
        assert np.array_equal(array, ckpt.load(tmp_path / "whole" / "last.npz").params[name]), name


@pytest.mark.parametrize("settings", [{"steps": 20}, {"hidden_size": 8, "seed": 5, "learning_rate": 0.008}])
def test_options_that_agree_are_accepted(tmp_path, settings):
    path = write_text(tmp_path)
    finish(start(tmp_path / "whole", path))
    stop_at(start(tmp_path / "parts", path), at_step(11))
    finish(Run.resume(tmp_path / "parts", path, settings=settings))
    assert_same_run(tmp_path / "parts", tmp_path / "whole")


def test_a_shrunk_batch_may_be_asked_for_again(tmp_path):
    path = write_text(tmp_path, TEXT[:40])
    settings = {"batch_size": 32, "seq_len": 100}
    finish(start(tmp_path / "whole", path, val_fraction=0.0, **settings))
    stop_at(start(tmp_path / "parts", path, val_fraction=0.0, **settings), at_step(11))
    going = Run.resume(tmp_path / "parts", settings=settings)
    finish(going)
    assert (tmp_path / "parts" / "last.npz").read_bytes() == (tmp_path / "whole" / "last.npz").read_bytes()


# Stopped while the speed was measured


def kill(*args):
    raise KeyboardInterrupt


@pytest.mark.parametrize("where", ["train_step", "validate"])
def test_a_run_stopped_while_its_speed_was_measured_is_none_yet(tmp_path, monkeypatch, where):
    monkeypatch.setattr(budget, "_SECONDS", (0.01, 0.01))
    path, settings = write_text(tmp_path), {"minutes": 0.002, "eval_every": None}
    with monkeypatch.context() as killing:
        killing.setattr(budget, where, kill)
        with pytest.raises(KeyboardInterrupt):
            start(tmp_path / "run", path, **settings)
    with pytest.raises(RunFolderError, match=r"has no last\.npz"):
        Run.resume(tmp_path / "run")
    going = start(tmp_path / "run", path, **settings)  # it can be begun again, by the same command
    finish(going)
    assert ckpt.load(tmp_path / "run" / "last.npz").step == going.state.course.total
    names = {file.name for file in (tmp_path / "run").iterdir()}
    assert names == {"best.npz", "last.npz", "log.jsonl", ".lock"}


def test_a_run_without_a_length_is_refused(stopped):
    saved = ckpt.load(stopped / "last.npz")
    unsettled = replace(saved.train_config, steps=None, minutes=1.0)
    ckpt.save(stopped / "last.npz", replace(saved, train_config=unsettled))
    for settings in ({}, {"minutes": 2.0}, {"steps": 30}, {"epochs": 3}):
        refusal(CheckpointError, stopped, settings=settings)


# Refusals


@pytest.fixture
def stopped(tmp_path):
    """Return the folder of a run that was stopped after eleven of twenty steps."""
    stop_at(start(tmp_path / "run", write_text(tmp_path)), at_step(11))
    return tmp_path / "run"


@pytest.mark.parametrize("settings", [{"steps": 19}, {"steps": 5}, {"steps": 11}])
def test_the_total_cannot_be_lowered(stopped, settings):
    message = refusal(ConfigError, stopped, settings=settings)
    assert "20 steps" in message
    assert "cannot be less" in message


def test_a_total_in_epochs_is_as_many_steps_as_in_a_new_run(tmp_path):
    path = write_text(tmp_path, TEXT[:1002])  # 1,001 pairs in 4 lanes of 251: 25 windows of 10, and one of a row
    begun = start(tmp_path / "run", path, epochs=1, val_fraction=0.0, batch_size=4, seq_len=10)
    finish(begun)
    assert begun.state.step == 26
    going = Run.resume(tmp_path / "run", settings={"epochs": 2})
    going.close()
    assert going.state.course.total == 52


def test_a_total_in_epochs_cannot_lower_it_either(tmp_path):
    stop_at(start(tmp_path / "run", write_text(tmp_path), steps=STEPS_PER_EPOCH + 1), at_step(11))
    assert "cannot be less" in refusal(ConfigError, tmp_path / "run", settings={"epochs": 1})
    Run.resume(tmp_path / "run", settings={"epochs": 2}).close()


def test_two_lengths_are_refused(stopped):
    assert "--steps and --epochs" in refusal(ConfigError, stopped, settings={"steps": 30, "epochs": 3})


@pytest.mark.parametrize(
    ("settings", "flag"),
    [
        ({"hidden_size": 9}, "--hidden-size 9"),
        ({"cell": "gru"}, "--cell gru"),
        ({"dropout": 0.5}, "--dropout 0.5"),
        ({"optimizer": "sgd"}, "--optimizer sgd"),
        ({"learning_rate": 0.5}, "--learning-rate 0.5"),
        ({"seed": 6}, "--seed 6"),
        ({"batch_size": 5}, "--batch-size 5"),
        ({"seq_len": 11}, "--seq-len 11"),
        ({"eval_every": 8}, "--eval-every 8"),
        ({"val_fraction": 0.2}, "--val-fraction 0.2"),
        ({"steps": 30, "clip_norm": 2.0}, "--clip-norm 2.0"),
        ({"log_every": 4}, "--log-every 4"),
        ({"recover": False}, "--no-recover"),
    ],
)
def test_an_option_that_contradicts_is_refused_by_its_flag(stopped, settings, flag):
    message = refusal(ConfigError, stopped, settings=settings)
    assert message.startswith(f"{flag} contradicts the run, which has ")
    assert "leave it out" in message


def test_another_text_is_refused(stopped, tmp_path):
    other = write_text(tmp_path, TEXT + "!", "other.txt")
    message = refusal(CorpusError, stopped, other)
    assert f"{other} is not the text that the model was trained on" in message
    assert "--init-from" in message
    write_text(tmp_path, TEXT.replace("1", "2"))  # the same path, and another text at it
    assert "is not the text" in refusal(CorpusError, stopped)


def test_another_text_is_refused_as_such_before_it_is_parted(tmp_path):
    path = write_text(tmp_path, "anna\nbert\ncleo\n" * 9)
    finish(start(tmp_path / "run", path, split_documents="lines", val_documents=5, steps=2))
    write_text(tmp_path, "anna\nbert\n")
    with pytest.raises(CorpusError, match=f"^{path} is not the text that the model was trained on"):
        Run.resume(tmp_path / "run")


@pytest.mark.parametrize("source", [None, STDIN])
def test_a_validation_text_that_was_no_file_is_asked_for(tmp_path, source):
    path = write_text(tmp_path)
    read = Corpus.read(path)
    finish(start(tmp_path / "run", replace(read, val_source=Source(source, "0" * 64)), steps=2))
    with pytest.raises(CorpusError, match=r"^the validation text was not a file.*--val-file"):
        Run.resume(tmp_path / "run")


def test_a_validation_text_that_it_never_had_is_refused(stopped, tmp_path):
    assert "is not the text" in refusal(CorpusError, stopped, None, write_text(tmp_path, TEXT, "val.txt"))


def test_a_run_on_a_corpus_at_hand_is_read_and_parted_again_as_that_was(tmp_path):
    path, way = write_text(tmp_path), {"split_documents": "lines", "shuffle_documents": True, "val_documents": 9}
    read = Corpus.read(path, TextConfig(**way, lowercase=True, test_fraction=0.1), seed=3)
    finish(start(tmp_path / "run", read, steps=2, seed=None))
    again = Run.resume(tmp_path / "run", settings={"steps": 3})
    again.close()
    for name in ("train", "val"):
        ids = again.training.stream.ids if name == "train" else again.training.val_ids
        wanted = again.vocab.ids_of(getattr(read, name))
        assert len(ids) == len(wanted)
        assert np.array_equal(ids[np.arange(len(ids))], wanted[np.arange(len(ids))])


LINE = TEXT.replace("\n", " ")


def as_before(path, **of_text):
    """Rewrite a checkpoint's settings as charrnn 0.2.0 wrote them, with these values."""
    with np.load(path) as file:
        arrays = dict(file)
    meta = json.loads(str(arrays["meta"]))
    del meta["train"]["separator"], meta["train"]["document_rules"]
    meta["train"] |= of_text
    np.savez(path, **arrays | {"meta": np.array(json.dumps(meta))})


@pytest.mark.parametrize(
    ("name", "text", "way", "before"),
    [
        ("a.txt", f"{TEXT}<|end|>\n{TEXT}<|end|>\n", {"separator": "<|end|>"}, {"split_documents": "<|end|>"}),
        ("a.txt", f"{TEXT}\n \u3000\n{TEXT}\n\n{TEXT}", {"split_documents": "blank-lines"}, {}),
        ("a.txt", f"{TEXT}\n \n{TEXT}", {"split_documents": "lines"}, {}),
        ("a.tsv", f'id\ttext\n1\t"{LINE}"\n2\t"{LINE}"\n', {"field": "text"}, {}),
    ],
    ids=["separator", "blank lines", "lines", "tsv"],
)
def test_a_run_of_charrnn_0_2_keeps_its_documents(tmp_path, name, text, way, before):
    """Their rules have changed since, and another text would be refused."""
    path = write_text(tmp_path, text, name)
    finish(start(tmp_path / "whole", path, **way, document_rules=1))
    stop_at(start(tmp_path / "run", path, **way, document_rules=1), at_step(7))
    assert Corpus.read(path, TextConfig(**way)).source != ckpt.load(tmp_path / "run" / "last.npz").source
    as_before(tmp_path / "run" / "last.npz", **before)
    finish(Run.resume(tmp_path / "run"))
    assert_same_run(tmp_path / "whole", tmp_path / "run")


def test_a_text_with_marks_is_parted_between_documents(tmp_path):
    whole = text_of(TEXT, TextConfig(split_documents="lines"))
    corpus = Corpus.from_text(whole, 0.2)
    assert [part.documents for part in (corpus.train, corpus.val, corpus.test)] == [64, 16, 0]
    with pytest.raises(ConfigError, match=r"^--val-documents 9 contradicts the corpus at hand"):
        Run.start(corpus, tmp_path / "run", settings={"split_documents": "lines", "val_documents": 9, "steps": 1})


def test_what_parts_nothing_contradicts_nothing(tmp_path):
    path = write_text(tmp_path)
    begun = start(tmp_path / "run", Corpus.read(path, None, path), val_fraction=0.0)
    begun.close()
    shuffled = Corpus.read(path, TextConfig(split_documents="lines", shuffle_documents=True), seed=3)
    assert shuffled.merge_settings({"seed": None, "val_documents": None})["seed"] == 3


@pytest.mark.parametrize("settings", [{"val_fraction": 0.1}, {"lowercase": True}, {"split_documents": "lines"}])
def test_settings_that_contradict_a_corpus_at_hand_are_refused(tmp_path, settings):
    read = Corpus.read(write_text(tmp_path), TextConfig(val_fraction=0.05))
    with pytest.raises(ConfigError, match=r"^--\S+ \S+ contradicts the corpus at hand, which was read with"):
        Run.start(read, tmp_path / "run", settings=settings)


def files_of(folder):
    """Return the contents of a run's files, and when they were written."""
    return [(file.name, file.read_bytes(), file.stat().st_mtime_ns) for file in RunFolder(folder).files()]


@pytest.mark.parametrize("settings", [{}, {"steps": 20}, {"patience": 3}], ids=str)
def test_a_finished_run_has_no_events_and_nothing_is_written(tmp_path, settings):
    finish(start(tmp_path / "run", write_text(tmp_path)))
    before = files_of(tmp_path / "run")
    going = Run.resume(tmp_path / "run", settings=settings, ready=lambda run: pytest.fail("it is described"))
    assert going.finished
    assert finish(going) == []
    assert files_of(tmp_path / "run") == before
    Run.resume(tmp_path / "run", settings={"steps": 21}).close()  # the lock was given back


def test_a_run_killed_before_its_memory_was_fitted_gets_one(tmp_path):
    text = "".join(map(chr, np.random.default_rng(3).integers(97, 123, 20_000)))
    finish(start(tmp_path / "run", write_text(tmp_path, text), val_fraction=0.2))
    best = tmp_path / "run" / "best.npz"
    whole, saved = best.read_bytes(), ckpt.load(best)
    assert saved.cache is not None
    ckpt.save(best, replace(saved, cache=None))  # as it was saved during training
    assert [type(event) for event in finish(Run.resume(tmp_path / "run"))] == [MemoryFitted]
    assert best.read_bytes() == whole
    assert finish(Run.resume(tmp_path / "run")) == []


def test_a_text_that_cannot_be_read_now_may_be_readable_later(stopped, monkeypatch):
    def refuse(*_, **__):
        raise CorpusError("stale file handle", MAY_PASS)

    monkeypatch.setattr(Corpus, "read", refuse)
    with pytest.raises(CorpusError, match="the model's corpus cannot be read: stale file handle") as caught:
        Run.resume(stopped)
    assert caught.value.exit_code == MAY_PASS


def test_a_run_out_of_patience_goes_on_with_more_of_it(tmp_path):
    text = "ab" * 300 + "bbbaaabb" * 9
    settings = {"steps": 40, "eval_every": 2, "learning_rate": 0.05}
    path = write_text(tmp_path, text)
    finish(start(tmp_path / "run", path, patience=2, **settings))
    stopped = ckpt.load(tmp_path / "run" / "last.npz").step
    assert stopped < 40
    assert finish(Run.resume(tmp_path / "run", settings={"steps": 40})) == []  # it is finished
    for more in ({"steps": 50}, {"minutes": 2.0}):  # a longer run alone is no way out
        message = refusal(ConfigError, tmp_path / "run", settings=more)
        assert f"stopped at step {stopped} of {more.get('steps', 40)}, after 2 evaluations without" in message
        flags = "".join(f" --{name} {value}" for name, value in more.items())
        assert message.endswith(f"--resume --out {tmp_path / 'run'} --patience 0{flags}")
    finish(Run.resume(tmp_path / "run", settings={"patience": 0}))
    finish(start(tmp_path / "whole", path, patience=0, **settings))
    assert (tmp_path / "run" / "last.npz").read_bytes() == (tmp_path / "whole" / "last.npz").read_bytes()


@pytest.mark.parametrize("missing", ["folder", "last.npz"])
def test_a_folder_without_a_run_is_refused(stopped, missing):
    if missing == "folder":
        with pytest.raises(RunFolderError, match=r"has no last\.npz"):
            Run.resume(stopped / "none")
        assert not (stopped / "none").exists()
    else:
        (stopped / "last.npz").unlink()
        assert "has no last.npz" in refusal(RunFolderError, stopped)


def test_a_model_without_its_run_is_refused(stopped):
    shutil.copy(stopped / "best.npz", stopped / "last.npz")
    message = refusal(CheckpointError, stopped)
    assert "has a model but no run state" in message
    assert "--init-from" in message


def test_a_damaged_run_is_refused(stopped):
    data = (stopped / "last.npz").read_bytes()
    (stopped / "last.npz").write_bytes(data[: len(data) // 2])
    assert "damaged" in refusal(CharRNNError, stopped)


def test_the_meta_of_a_resumed_run_has_no_trace_of_the_stop(compare):
    folder = compare(at_step(11))
    assert meta_of(folder / "last.npz")["earlier_totals"] == []
    assert meta_of(folder / "last.npz")["init_from"] is None


# Versions


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
    assert version_notes(HERE | then, HERE) == [
        f"the run was on {before} and is now on {here}: results agree to rounding but not bit for bit"
    ]


@pytest.mark.parametrize("then", [HERE, HERE | {"python": "3.11.0", "charrnn": "0.1"}, {"numpy": "2.4.0"}, {}])
def test_what_is_the_same_or_not_known_is_not_told(then):
    assert version_notes(then, HERE) == version_notes(HERE, then) == []


@pytest.mark.parametrize(
    ("then", "now", "told"),
    [
        ({}, {"core": "avx2"}, "on no core and is now on core avx2:"),
        ({"core": "avx2"}, {}, "on core avx2 and is now on no core:"),
        ({"core": "avx2"}, {"core": "avx512"}, "on core avx2 and is now on core avx512:"),
    ],
)
def test_the_compiled_core_is_named_when_it_comes_or_goes(then, now, told):
    assert [told in note for note in version_notes(HERE | then, HERE | now)] == [True]


def test_a_resume_on_another_kernel_says_so_and_records_it(tmp_path, monkeypatch):
    run = start(tmp_path / "run", write_text(tmp_path))
    stop_at(run, lambda event: isinstance(event, Stepped))
    now = ckpt.current_versions() | {"kernel": "Another"}
    library = blas()
    monkeypatch.setattr("charrnn.system.blas.blas", lambda: replace(library, kernel="Another"))
    assert ckpt.current_versions() == now
    again = Run.resume(tmp_path / "run")
    assert [note for note in again.notes if "kernel Another" in note] == again.notes
    assert len(again.notes) == (blas().kernel is not None)
    finish(again)
    assert ckpt.load(tmp_path / "run" / "last.npz").versions["kernel"] == "Another"
