"""What predicts labels in `charrnn classify`: a classifier, or language models that each have a label."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from charrnn.cli._command import Conflict, complete_runs, section
from charrnn.cli._types import fail
from charrnn.errors import ConfigError

if TYPE_CHECKING:
    from charrnn.checkpoint import Checkpoint
    from charrnn.classification.prediction import ByModels, Classifier

F = TypeVar("F", bound=Callable[..., Any])

#: The conflict between `-m` and `--by`.
EITHER = Conflict("--by takes the place of a classifier: leave out -m or --by", ("model_path", "by"))


class RunLabel(NamedTuple):
    """A run of a language model, and the label that it stands for."""

    run: str
    label: str


class _RunLabelType(click.types.StringParamType):
    name = "run=label"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the run and its label, which are on either side of the last equals sign."""
        if isinstance(value, RunLabel):
            return value
        run, _, label = value.rpartition("=")
        if not run or not label.strip():
            fail(param, ctx, f"must be a run and its label, such as english=en, got {value!r}")
        return RunLabel(run, label)


def by_option(function: F) -> F:
    """Add `--by`: language models in the place of a classifier."""
    return section("Model")(
        "--by",
        type=_RunLabelType(),
        metavar="RUN=LABEL",
        multiple=True,
        shell_complete=complete_runs,
        help="Use no classifier: the language model that gives a text the highest probability gives it its label. Give "
        "--by for each of two or more.",
    )(function)


class Opened(NamedTuple):
    """What predicts labels.

    checkpoint  of the classifier, or of the first language model: how texts are read
    max_chars   how many characters of a text are read, at most; None: all
    """

    predictor: Classifier | ByModels
    checkpoint: Checkpoint
    max_chars: int | None


def open_predictor(model_path: str | None, by: tuple[RunLabel, ...]) -> Opened:
    """Load a classifier, or the language models of `--by`.

    Raises:  CheckpointError if one cannot be loaded, or is of the other kind.
    """
    if by:
        return _by_models(by)
    from pathlib import Path

    from charrnn import checkpoint as ckpt
    from charrnn.classification.prediction import Classifier
    from charrnn.cli._console import note_model
    from charrnn.training.folder import find_model

    file = find_model(None if model_path is None else Path(model_path), classifier=True)
    saved = ckpt.load_classifier(file)
    assert saved.classifier is not None
    note_model(file, model_path)
    return Opened(Classifier.of(saved), saved, saved.classifier.max_chars)


def is_classifier(model_path: str | None) -> bool:
    """Return whether a model that the user named is a classifier."""
    if model_path is None:
        return False
    from pathlib import Path

    from charrnn import checkpoint as ckpt
    from charrnn.training.folder import find_model

    return bool(ckpt.read_meta(find_model(Path(model_path))).get("classifier"))


def _by_models(by: tuple[RunLabel, ...]) -> Opened:
    from charrnn.classification.prediction import ByModels, Member
    from charrnn.cli._console import open_model
    from charrnn.data.items import text_reader

    if len({label for _, label in by}) == 1:
        raise ConfigError("--by needs two labels or more: give it for each language model")
    models = [open_model(run) for run, _ in by]
    saved = [model.checkpoint for model in models]
    reads = [text_reader(each.text_config.encoding, each.vocab) for each in saved]
    members = map(Member, [label for _, label in by], models, reads)
    return Opened(ByModels(tuple(members)), saved[0], None)
