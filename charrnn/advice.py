"""What a training run's figures say is wrong, in plain words, and what to change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_PATIENCE = 3  # evaluations that agree before anything is said
_WORSE = 0.01  # nats per character above the best: more than chance
_LEARNED = 0.02  # share by which the loss falls, at the least, where anything is learned
_CLIPPED = 0.9  # share of the steps


def advise(history: Sequence[dict[str, Any]], clipped: float) -> dict[str, str]:
    """Return what is wrong, by name, as sentences for the user; empty where all is well.

    history  one record for each evaluation: step, loss, val_loss
    clipped  the share of the steps since the evaluation before whose gradients were clipped
    """
    found = {}
    if len(history) > _PATIENCE and all(record["val_loss"] is not None for record in history):
        best = min(history, key=lambda record: float(record["val_loss"]))
        since = history[history.index(best) + 1 :]
        if len(since) >= _PATIENCE and all(
            record["val_loss"] > best["val_loss"] + _WORSE and record["loss"] < best["loss"]
            for record in since[-_PATIENCE:]
        ):
            found["overfits"] = (
                f"since step {best['step']:,} the model learns its text by heart: the training loss falls, the "
                "validation loss rises; best.npz holds the best; more text, more --dropout or fewer steps would help"
            )
    if len(history) > _PATIENCE and history[-1]["loss"] > (1 - _LEARNED) * history[0]["loss"]:
        found["does not learn"] = (
            "the training loss hardly falls: try a lower --learning-rate, then a higher one, or a larger --hidden-size"
        )
    if clipped > _CLIPPED and history:
        found["clipped"] = (
            f"{clipped:.0%} of the steps are clipped, so that the rate is not what it seems: "
            "lower --learning-rate, or raise --clip-norm"
        )
    return found
