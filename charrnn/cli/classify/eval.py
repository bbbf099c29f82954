"""`charrnn classify eval`: measure how well a classifier labels texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from charrnn.cli._command import Conflict, SectionedCommand, complete_files, section
from charrnn.cli._options import classifier_option, json_option, options_of, threads_option
from charrnn.cli._predictor import EITHER, Opened, RunLabel, by_option, open_predictor
from charrnn.config import ClassifierConfig
from charrnn.errors import ConfigError

if TYPE_CHECKING:
    from charrnn.arrays import Array
    from charrnn.classification.examples import Example
    from charrnn.classification.metrics import Metrics

_MOST_SHOWN = 12  # labels of a confusion matrix in a table; of more, the most frequent confusions are listed
_CONFUSIONS = 10  # rows of that list
_NAMES = {"majority": "majority", "naive_bayes": "naive Bayes", "logistic_regression": "logistic regression"}

_text, _output = section("Text"), section("Output")


@click.command(
    cls=SectionedCommand,
    conflicts=(
        EITHER,
        Conflict("--test is the test split of the classifier's texts: leave out --test or FILE", ("test", "texts")),
        Conflict("--by uses no classifier, so it has no test split: leave out --test", ("test", "by")),
        Conflict("--baselines learn from a classifier's training split: leave out --by", ("baselines", "by")),
    ),
)
@click.argument("texts", metavar="[FILE]...", nargs=-1, shell_complete=complete_files)
@classifier_option
@by_option
@threads_option("Model")
@_text("--test", is_flag=True, help="Use the test split of the classifier's texts.")
@options_of(ClassifierConfig, "text_field", "label_field")
@section("Scoring")(
    "--baselines",
    is_flag=True,
    help="Also train and measure simple classifiers: majority, naive Bayes and logistic regression on n-grams.",
)
@_output(
    "--picture",
    metavar="FILE",
    shell_complete=complete_files,
    help="Draw the confusion matrix as a .png, .svg or .pdf file.",
)
@json_option
def command(
    texts: tuple[str, ...],
    model_path: str | None,
    by: tuple[RunLabel, ...],
    threads: int | None,
    test: bool,
    text_field: str | None,
    label_field: str | None,
    baselines: bool,
    picture: str | None,
    as_json: bool,
) -> None:
    """Measure how well a classifier labels texts.

    FILE has labelled texts in any form that `charrnn classify train` reads. Without FILE, the validation split of the
    classifier's own texts is used.

    \b
    Examples:
      charrnn classify eval
      charrnn classify eval --test --baselines
      charrnn classify eval --picture confusion.png more.tsv
      charrnn classify eval --by english=en --by german=de lines.tsv
    """
    from charrnn.classification.baselines import baselines as measure_baselines
    from charrnn.classification.examples import describe_unseen
    from charrnn.classification.metrics import measure
    from charrnn.cli._console import note, print_json

    if by and not texts:
        raise ConfigError("--by has no texts of its own: name FILE")
    if picture is not None:
        _check_picture(picture)
    opened = open_predictor(model_path, by)
    examples, train = _read(opened, texts, test, text_field, label_field, baselines)
    labels = opened.predictor.labels
    lacking = "no --by names" if by else "the training split lacks"
    if unseen := describe_unseen(examples, labels, lacking):
        note(f"Note: {unseen}")
    result = measure(_probabilities(opened, examples, threads), [label for _, label in examples], labels)
    compared = measure_baselines(train, examples) if baselines else {}
    if picture is not None:
        from charrnn.insight.confusion import confusion_matrix
        from charrnn.insight.figures import save

        save(confusion_matrix(result), Path(picture))
        note(f"Picture: {picture}")
    if as_json:
        brief = {name: _brief(own) for name, own in compared.items()}
        print_json(result.as_dict() | ({"baselines": brief} if brief else {}))
        return
    _print(result)
    if compared:
        _print_baselines(result, compared)


def _check_picture(name: str) -> None:
    """Refuse a file that no picture can be written to: at once, not after the work."""
    from charrnn.insight.figures import check_name, figure

    check_name(Path(name))
    figure()


def _read(
    opened: Opened,
    texts: tuple[str, ...],
    test: bool,
    text_field: str | None,
    label_field: str | None,
    with_training: bool,
) -> tuple[Sequence[Example], Sequence[Example]]:
    """Return the texts to label, and, if asked, those that the classifier was trained on."""
    from charrnn.classification.examples import read_examples
    from charrnn.classification.setup import corpus_of
    from charrnn.cli._console import note, refuse_models

    refuse_models(texts)
    corpus = corpus_of(opened.checkpoint) if with_training or not texts else None
    if texts:
        read = read_examples(texts, opened.checkpoint.text_config, text_field=text_field, label_field=label_field)
        examples: Sequence[Example] = read.examples
        notes = read.notes
    else:
        assert corpus is not None
        examples, notes = corpus.test if test else corpus.val, corpus.notes
        if not examples:
            name, option = ("test", "--test-fraction") if test else ("validation", "--val-fraction")
            raise ConfigError(f"the classifier has no {name} split: train with {option}, or name FILE")
    for sentence in notes:
        note(f"Note: {sentence}")
    return examples, corpus.train if corpus else ()


def _probabilities(opened: Opened, examples: Sequence[Example], threads: int | None) -> Array:
    """Return the probability of each label (N, C); all alike for a text without a character that the model knows."""
    import numpy as np

    from charrnn.evaluation.scoring import in_blocks

    blocks = in_blocks([text for text, _ in examples])
    log_probs = np.concatenate([*opened.predictor.predict_blocks(blocks, threads=threads, ahead=True)])
    log_probs[np.isnan(log_probs[:, 0])] = -np.log(log_probs.shape[1])
    probabilities: Array = np.exp(log_probs)
    return probabilities


def _brief(own: Metrics) -> dict[str, object]:
    """Return the figures of a baseline for JSON."""
    return {name: own.as_dict()[name] for name in ("accuracy", "interval", "macro_f1", "log_loss", "calibration_error")}


def _print(result: Metrics) -> None:
    from charrnn.cli._console import print_facts, print_table

    print_facts(
        {
            "Texts": f"{result.texts:,}",
            "Accuracy": f"{result.accuracy:.2%}",
            "95 % interval": _interval(result),
            "Macro-F1": f"{result.macro_f1:.3f}",
            "Log loss": _log_loss(result) + " nats per text" * (result.log_loss is not None),
            "Calibration error": f"{result.calibration_error:.2%}",
        }
    )
    click.echo()
    print_table(
        ("Label", "Precision", "Recall", "F1", "Texts"),
        [
            (label, f"{own.precision:.1%}", f"{own.recall:.1%}", f"{own.f1:.3f}", f"{own.support:,}")
            for label, own in result.classes.items()
        ],
        right=(1, 2, 3, 4),
    )
    if len(result.labels) <= _MOST_SHOWN:
        click.echo("\nConfusion matrix: a row for each label, a column for each prediction")
        rows = zip(result.classes, result.confusion.tolist(), strict=True)
        right = range(1, len(result.labels) + 1)
        print_table(("", *result.labels), [(label, *map("{:,}".format, row)) for label, row in rows], right=right)
    else:
        _print_confusions(result)
    click.echo("\nCalibration: accuracy of the predictions by their probability")
    print_table(
        ("Probability", "Texts", "Mean probability", "Accuracy"),
        [
            (f"{own.low:.0%} to {own.high:.0%}", f"{own.count:,}", f"{own.confidence:.1%}", f"{own.accuracy:.1%}")
            for own in result.bins
            if own.count
        ],
        right=(1, 2, 3),
    )


def _print_confusions(result: Metrics) -> None:
    """Print the most frequent confusions, which a large matrix would hide."""
    from charrnn.cli._console import print_table

    found = [
        (count, label, predicted)
        for label, row in zip(result.classes, result.confusion.tolist(), strict=True)
        for predicted, count in zip(result.labels, row, strict=True)
        if count and label != predicted
    ]
    if found:
        click.echo("\nMost frequent confusions; --picture draws all of them")
        rows = [(label, other, f"{count:,}") for count, label, other in sorted(found, key=lambda own: -own[0])]
        print_table(("Label", "Prediction", "Texts"), rows[:_CONFUSIONS], right=(2,))


def _print_baselines(result: Metrics, compared: dict[str, Metrics]) -> None:
    from charrnn.cli._console import print_table

    named = {"this classifier": result} | {_NAMES[name]: own for name, own in compared.items()}
    click.echo("\nBaselines, trained on the training split")
    print_table(
        ("", "Accuracy", "95 % interval", "Macro-F1", "Log loss"),
        [
            (name, f"{own.accuracy:.2%}", _interval(own), f"{own.macro_f1:.3f}", _log_loss(own))
            for name, own in named.items()
        ],
        right=(1, 2, 3, 4),
    )


def _interval(result: Metrics) -> str:
    return "{:.2%} to {:.2%}".format(*result.interval)


def _log_loss(result: Metrics) -> str:
    return "- (no text has a label that was learned)" if result.log_loss is None else f"{result.log_loss:.4f}"
