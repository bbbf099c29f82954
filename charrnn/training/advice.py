"""Advice on a training run: the problems that its figures show, and their remedies."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from charrnn.config import ModelConfig

_PATIENCE = 3  # evaluations that must agree
_WORSE = 0.01  # nats per character above the best: more than noise
_DIVERGED = 1.0  # nats per character above the entropy
_LEARNED = 0.02  # share by which the loss falls, at least, if the model learns
_KNOWN = 0.1  # share by which the loss is below the entropy, at least, if the model knows more than frequencies
_CLIPPED = 0.9  # share of the steps that are clipped
#: Share by which a training loss is above the validation loss before the same steps. Dropout alone does that: the loss
#: without it falls during these steps. Of 105 runs for docs/ablations.md, 6 are above; 5 of these lost 0.04 to 0.16.
_HELD_DOWN = 0.06
_LITTLE_DROPOUT = 0.2  # share up to which the advice is to drop nothing instead of half as much


def advise(history: Sequence[dict[str, Any]], entropy: float, model: ModelConfig) -> dict[str, str]:
    """Return a sentence for the user about each problem, by its name; an empty dict if there is none.

    history  a record for each evaluation: step, loss, val_loss, and the share of clipped steps
    entropy  the loss of a model that knows only how frequent each character is
    model    its dropout explains a training loss above the validation loss
    """
    advice: dict[str, str] = {}
    if len(history) <= _PATIENCE:
        return advice
    newest, known = history[-_PATIENCE:], (1 - _KNOWN) * entropy
    if all(record["val_loss"] is not None for record in history):
        best = min(history, key=lambda record: float(record["val_loss"]))
        since = history[history.index(best) + 1 :]
        if len(since) >= _PATIENCE and all(
            record["val_loss"] > best["val_loss"] + _WORSE and record["loss"] < min(best["loss"], known)
            for record in newest
        ):
            advice["overfits"] = (
                f"the model has overfitted since step {best['step']:,}: the training loss falls while the validation "
                "loss rises; best.npz has the best weights; more text, more --dropout or fewer steps would help"
            )
        recent = history[-_PATIENCE - 1 :]
        if (
            (remedy := _less_dropout(model))
            and all(record["loss"] > (1 + _HELD_DOWN) * before["val_loss"] for before, record in pairwise(recent))
            and all(recent[-1][loss] < recent[0][loss] for loss in ("loss", "val_loss"))
        ):
            advice["held down"] = (
                f"dropout holds the model down: the training loss is {newest[-1]['loss'] - newest[-1]['val_loss']:.2f} "
                f"nats above the validation loss, and both still fall; start again with {remedy}"
            )
    if all(record["loss"] > max(entropy + _DIVERGED, history[0]["loss"]) for record in newest):
        advice["diverges"] = (
            f"training has diverged: its loss is more than {_DIVERGED:g} nat above that of a model that knows only "
            "character frequencies; start again with a lower --learning-rate"
        )
    elif all(record["loss"] > max(known, (1 - _LEARNED) * history[0]["loss"]) for record in newest):
        advice["does not learn"] = (
            "the training loss hardly falls, and the model knows little more than character frequencies: "
            "try a lower --learning-rate, then a higher one, or a larger --hidden-size"
        )
    clipped = min(record.get("clipped", 0.0) for record in newest)  # earlier versions did not record it
    if clipped > _CLIPPED:
        advice["clipped"] = (
            f"{clipped:.0%} of the steps are clipped: lower --learning-rate, or raise --clip-norm (or --clip-value, if "
            "set)"
        )
    return advice


def _less_dropout(model: ModelConfig) -> str:
    """Return the options that lower the model's dropout, or an empty string if it has none."""
    dropped = {name: getattr(model, name) for name in ("dropout", "input_dropout", "weight_drop")}
    lower = {name: share / 2 if name == "dropout" and share > _LITTLE_DROPOUT else 0 for name, share in dropped.items()}
    return " ".join(f"--{name.replace('_', '-')} {lower[name]:.2g}" for name, share in dropped.items() if share)
