"""Find the units of a net that follow a property of the text: chosen on one text, measured on another.

How well a unit follows a property that characters have or have not is its AUC: the probability that the activation at a
character that has it is higher than at one that has not, where a tie counts one half. 0.5 is chance, 1 a perfect
detector. How well it follows a number is Pearson's correlation. A unit that is low where the property holds is as good
as one that is high: its AUC a counts as 1 - a, its correlation without the sign, and `Found.sign` is -1.

Source:  Hanley & McNeil 1982 (AUC as a rank statistic); Karpathy, Johnson & Li 2016 (cells that follow quotes, line
         position and indentation); Radford, Jozefowicz & Sutskever 2017 (a single unit as a detector).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array
from charrnn.errors import ConfigError
from charrnn.insight.properties import Labels, Property

SHIFTS = 10  # of the control
_UNITS = 64  # ranked at once: bounds memory

#: A text of T characters and activations of units, (T, H) each, by name.
Part: TypeAlias = tuple[str, dict[str, Array]]
_Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Found:
    """A unit that follows a property.

    unit      such as "layer0.c[123]"
    property  its name, or the regular expression
    measure   "AUC" or "correlation"
    sign      1 if the unit is high where the property holds, or rises with the number; -1 if it is low, or falls
    val       the measure on the text that it was chosen on, as if the sign were 1
    test      the same on the other text; below 0.5, or 0, if the unit does the opposite there
    control   the highest value on the other text that the same search reaches by chance; see `find`
    """

    unit: str
    property: str
    measure: str
    sign: int
    val: float
    test: float
    control: float


def find(val: Part, test: Part, properties: Iterable[Property], *, most: int = 10, seed: int = 0) -> list[Found]:
    """Return, for each property, the units that follow it best in `val`, the best first, and measure them in `test`.

    The control repeats the search `SHIFTS` times with labels that have nothing to do with the text: those of the
    property, shifted cyclically by a random distance of at least a tenth of the text. They keep how often the property
    occurs and how long it lasts, which makes chance figures higher than independent labels would. Each time, the unit
    that is best in `val` by such labels is measured in `test` by such labels; the highest figure is the control.

    most  units for each property
    seed  of the control's random distances
    Raises:  ConfigError for a property that all characters of one of the texts have, or none.
    """
    asked, rng = list(properties), np.random.default_rng(seed)
    val_labels, test_labels = (
        _labels(asked, part, units_are, rng) for part, units_are in ((val, "chosen"), (test, "measured"))
    )
    units = [(name, unit) for name, array in val[1].items() for unit in range(array.shape[1])]
    in_val = _strengths(asked, val[1].values(), val_labels)
    best = np.argsort(-np.abs(in_val[..., 0]), axis=1, kind="stable")[:, :most]
    lucky = np.abs(in_val[..., 1:]).argmax(axis=1)  # (P, SHIFTS), the units that the control chooses
    chosen = np.unique(np.concatenate((best, lucky), axis=1))
    columns = np.stack([test[1][name][:, unit] for name, unit in (units[each] for each in chosen)], axis=1)
    in_test = np.zeros_like(in_val)
    in_test[:, chosen] = _strengths(asked, [columns], test_labels)
    signs = np.where(in_val < 0, -1, 1)
    in_val, in_test = signs * in_val, signs * in_test
    found = list[Found]()
    for at, each in enumerate(asked):
        control = in_test[at, lucky[at], 1 + np.arange(SHIFTS)].max()
        for unit in best[at]:
            values = (_measured(each, value) for value in (in_val[at, unit, 0], in_test[at, unit, 0], control))
            name, sign = "{}[{}]".format(*units[unit]), int(signs[at, unit, 0])
            found.append(Found(name, each.name, each.measure, sign, *values))
    return found


def varying(properties: Iterable[Property], *texts: str) -> list[Property]:
    """Return the properties that some characters of each text have and others have not, or whose number changes."""
    return [each for each in properties if all(_varies(each(text)) for text in texts)]


def _varies(labels: Labels) -> bool:
    """Return whether not all labels are the same."""
    return bool((labels[1:] != labels[:-1]).any())


def auc(activations: Array, labels: npt.NDArray[Any]) -> _Floats:
    """Return the AUC of each unit for each column of labels: above 0.5 if the unit is higher where the label is True.

    Shapes:  activations (T, H) · labels (T, C) of True and False, each column with both · returns (H, C)
    """
    has = labels.sum(axis=0)
    sums = mid_ranks(activations).T @ labels.astype(float)
    found: _Floats = (sums - has * (has + 1) / 2) / (has * (len(labels) - has))
    return found


def correlation(activations: Array, numbers: _Floats) -> _Floats:
    """Return Pearson's correlation of each unit with each column of numbers; 0 for a unit that never changes.

    Shapes:  activations (T, H) · numbers (T, C), no column constant · returns (H, C)
    """
    x, y = (array - array.mean(axis=0, dtype=float) for array in (activations, numbers))
    norms = np.outer(*(np.sqrt((array**2).sum(axis=0)) for array in (x, y)))
    found: _Floats = np.divide(x.T @ y, norms, out=np.zeros_like(norms), where=norms > 0)
    return found


def mid_ranks(values: Array) -> _Floats:
    """Return the rank of each value in its column, from 1; equal values share the mean of their ranks.

    Shapes:  values (T, H) · returns (T, H)
    """
    T, H = values.shape
    ranks = np.empty((H, T))
    for column, out in zip(np.ascontiguousarray(values.T), ranks, strict=True):  # one at a time stays in the cache
        order = np.argsort(column)
        ordered = column[order]
        starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))  # of runs of equal values
        counts = np.diff(starts, append=T)
        out[order] = np.repeat(starts + (counts + 1) / 2, counts)
    return ranks.T


def _labels(properties: Sequence[Property], part: Part, units_are: str, rng: np.random.Generator) -> _Floats:
    """Return the labels of each property, and behind them those of the control, (T, P, 1 + SHIFTS)."""
    text, T = part[0], len(part[0])
    labels = np.empty((T, len(properties), 1 + SHIFTS))
    for at, each in enumerate(properties):
        own = each(text)
        if not _varies(own):
            raise ConfigError(
                f"{each.name!r} is the same at all {T:,} characters on which units are {units_are}, so no unit can "
                "follow it: leave it out, or read a longer text"
            )
        labels[:, at, 0] = own
        for shift in range(1, 1 + SHIFTS):
            labels[:, at, shift] = np.roll(own, rng.integers(T // 10, T - T // 10))
    return labels


def _strengths(properties: Sequence[Property], arrays: Iterable[Array], labels: _Floats) -> _Floats:
    """Return how well each unit of the arrays (T, H) follows each column of labels (T, P, C), as (P, units, C).

    From -1 to 1, with 0 for chance: a correlation, or 2 AUC - 1.
    """
    found = list[_Floats]()
    for array in arrays:
        for begin in range(0, array.shape[1], _UNITS):
            block = array[:, begin : begin + _UNITS]
            strengths = np.empty((len(properties), block.shape[1], labels.shape[2]))
            for name, measure in (("AUC", auc), ("correlation", correlation)):
                if at := [k for k, each in enumerate(properties) if each.measure == name]:
                    own = measure(block, labels[:, at].reshape(len(labels), -1)).reshape(len(block.T), len(at), -1)
                    strengths[at] = (own if name == "correlation" else 2 * own - 1).swapaxes(0, 1)
            found.append(strengths)
    return np.concatenate(found, axis=1)


def _measured(of: Property, strength: float) -> float:
    """Return a strength as the property's measure."""
    return float(strength if of.measure == "correlation" else (1 + strength) / 2)
