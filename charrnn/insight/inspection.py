"""The page of `charrnn inspect --html`: a reading, activations and findings in one file that needs no network."""

from __future__ import annotations

import base64
import unicodedata
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array
from charrnn.data.vocab import describe_symbol
from charrnn.insight.figures import figure, inline_svg
from charrnn.pages import render

if TYPE_CHECKING:
    from charrnn.insight.finding import Found
    from charrnn.insight.looks import Looks
    from charrnn.insight.reach import Reach
    from charrnn.insight.reading import Reading

#: Activations in a page, which take about 2.5 MB: all units of an LSTM 1x128 and of its gates for 5,000 characters.
MOST_VALUES = 768 * 5000
_FEWEST_UNITS = 16  # of each kind, however long the text is
_STEPS = 16  # of a scale of colours: the eye tells hardly more apart, and 32 would make the page a fifth larger
_BIT = 1000  # steps of a bit
_SHARE = 10_000  # steps of a probability
_LEAST_SHARE = 0.001  # of a prediction, for a look to be listed
_MISSING = 65535  # means nan
_SIZE = (2.8, 2.8)  # of a figure, in inches
_WORDS = {"h": "outputs", "c": "cells"}
_JOINERS = "\u200c\u200d"  # they shape the letters or emoji beside them, and would not if they were visible


def page(
    *,
    model_name: str,
    reading: Reading,
    activations: dict[str, Array],
    found: Sequence[Found] = (),
    connections: Array | None = None,
    reach: Reach | None = None,
    saturation: dict[str, Array] | None = None,
    notes: Sequence[str] = (),
) -> str:
    """Return a page, as HTML, on which one explores how a model read a text of T characters.

    With too many units for `MOST_VALUES`, the page has the best of each kind and says which: those that were found to
    follow a property, then those that vary most.
    activations  what can colour the text: (T, H) each, under names such as "layer0.h"
    found        units that follow a property, in the order of the list
    connections  (T, N): how far each of the N characters before one raised its log-probability, the nearest first
    reach        how far back the loss feels a character, for a figure
    saturation   what `saturation` returns: one figure for each gate
    notes        sentences for the end of the page
    Raises:      MissingExtraError without Jinja2 or, for figures, Matplotlib.
    """
    most = max(_FEWEST_UNITS, MOST_VALUES // max(1, len(reading.ids) * len(activations)))
    names = [each.unit for each in found]
    data = {
        "steps": _STEPS,
        **_characters(reading),
        "looks": {name: _looks(looks) for name, looks in reading.looks.items()},
        "kinds": [_kind(name, values, most, _units(name, names)) for name, values in activations.items()],
        "found": [asdict(each) for each in found],
        "connections": None if connections is None else _connections(connections),
    }
    figures = [_reach_figure(reach)] if reach is not None else []
    figures += _saturation_figures(saturation or {})
    return render(
        "inspect.html", model_name=model_name, summary=_summary(reading), data=data, figures=figures, notes=notes
    )


def _summary(reading: Reading) -> str:
    mean = "" if reading.bits_per_char is None else f" · {reading.bits_per_char:.3f} bits per character"
    return f"{len(reading.ids):,} characters{mean}"


def _characters(reading: Reading) -> dict[str, Any]:
    is_bytes = reading.symbols[:256] == tuple(map(chr, range(256)))
    return {
        "symbols": [_shown(symbol, is_bytes) for symbol in reading.symbols],
        "ids": _packed(np.asarray(reading.ids, np.int32)),
        "bits": _fixed(reading.bits, _BIT),
        "top": {
            "count": reading.top_ids.shape[1],
            "ids": _packed(np.asarray(reading.top_ids, np.int32)),
            "probs": _fixed(reading.top_probs, _SHARE),
        },
    }


def _shown(symbol: str, is_bytes: bool) -> str:
    r"""Return a symbol as the page shows it: itself, or an escape such as \x00 if it would be invisible or do harm."""
    if len(symbol) > 1 or symbol in f"\n\t{_JOINERS}" or unicodedata.category(symbol) == "Zs":
        return symbol
    return f"\\x{ord(symbol):02x}" if is_bytes and symbol >= "\x80" else describe_symbol(symbol)["shown"]


def _looks(looks: Looks) -> dict[str, Any]:
    listed = looks.share >= _LEAST_SHARE
    back = np.where(listed, np.arange(len(looks.at))[:, None] - looks.at, 0)
    return {
        "count": looks.at.shape[1],
        "back": _packed(back.astype(np.int32)),
        "share": _fixed(np.where(listed, looks.share, 0), _SHARE),
    }


def _units(name: str, found: Iterable[str]) -> list[int]:
    """Return the numbers of those found units that are of this kind, such as 7 of "layer0.c[7]"."""
    return [int(unit[len(name) + 1 : -1]) for unit in found if unit.startswith(f"{name}[")]


def _kind(name: str, values: Array, most: int, found: list[int]) -> dict[str, Any]:
    """Return the activations of a kind (T, H) in levels of a scale: from 0 to 1, from -1 to 1, or each unit's own."""
    peak, spread = np.abs(values).max(axis=0), values.std(axis=0, dtype=np.float64)
    signed, own = bool(values.min() < 0), bool(peak.max() > 1)
    scale = np.where(own & (peak > 0), peak, 1)
    ranked = dict.fromkeys((*found, *np.argsort(-spread, kind="stable").tolist()))
    units = sorted(list(ranked)[:most])
    levels = np.rint(values[:, units] * (_STEPS / (1 + signed) / scale[units]))
    return {
        "name": name,
        "title": f"{name} · {_WORDS.get(name.partition('.')[2], 'gate')}",
        "note": _which(name, len(units), values.shape[1], bool(found)),
        "signed": signed,
        "own": own,
        "units": units,
        "scale": scale[units].tolist(),
        "spread": spread[units].tolist(),
        "levels": _packed(levels.T.astype(np.int8)),
    }


def _which(name: str, shown: int, of: int, some_found: bool) -> str:
    if shown == of:
        return f"All {of:,} units of {name}."
    first = "follow a property in the list, then those that " if some_found else ""
    return f"The page shows {shown:,} of {of:,} units of {name}: those that {first}vary most."


def _connections(values: Array) -> dict[str, Any]:
    """Return connections (T, N) in steps of each character's largest one."""
    most = np.abs(values).max(axis=1, keepdims=True, initial=0)
    levels = np.rint(_STEPS * values / np.where(most > 0, most, 1)).astype(np.int8)
    return {"count": values.shape[1], "levels": _packed(levels), "most": _packed(most.astype(np.float32))}


def _fixed(values: Array, steps: int) -> dict[str, Any]:
    """Pack numbers from 0 to 65534 / steps, or nan, rounded to so many steps of one."""
    rounded = np.where(np.isnan(values), _MISSING, np.rint(np.minimum(values * steps, _MISSING - 1)))
    return {**_packed(rounded.astype(np.uint16)), "steps": steps}


def _packed(values: npt.NDArray[Any]) -> dict[str, str]:
    """Return numbers as JavaScript unpacks them: the name of its array, and the bytes, deflated and in base64."""
    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    deflate = zlib.compressobj(4, strategy=zlib.Z_FILTERED)  # makes activations smallest, and five times faster than 9
    packed = deflate.compress(little.tobytes()) + deflate.flush()
    return {"type": f"{values.dtype.name.capitalize()}Array", "base64": base64.b64encode(packed).decode()}


def _reach_figure(reach: Reach) -> dict[str, str]:
    """Return the curve of the gradient's norm by distance; a norm of zero has no place on its scale."""
    made, axes = figure(*_SIZE)
    axes.semilogy(np.where(reach.norms > 0, reach.norms, np.nan))
    axes.set(xlabel="characters back, k", ylabel="mean |∂loss / ∂x(t−k)|")
    k = reach.falls_to(0.01)
    falls = "nowhere less than" if k is None else f"from {k} characters back less than"
    return {
        "title": "How far back the loss feels a character",
        "svg": inline_svg(made),
        "caption": f"The gradient of the loss, by distance: {falls} a hundredth of that of the last character. "
        "A straight line is a gradient that vanishes exponentially.",
    }


def _saturation_figures(saturation: dict[str, Array]) -> list[dict[str, str]]:
    """Return a figure for each gate, with a point for each unit and a colour for each layer."""
    return [
        _saturation_figure(gate, saturation) for gate in dict.fromkeys(name.partition(".")[2] for name in saturation)
    ]


def _saturation_figure(gate: str, saturation: dict[str, Array]) -> dict[str, str]:
    made, axes = figure(*_SIZE)
    for name, shares in saturation.items():
        layer, _, own = name.partition(".")
        if own == gate:
            left, right = np.unique(shares.round(2), axis=0).T  # a point drawn twice would only make the page larger
            axes.plot(left, right, "o", markersize=3, alpha=0.6, label=layer, clip_on=False)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="share near the lower end", ylabel="share near the upper end")
    if len(axes.lines) > 1:
        axes.legend(frameon=False)
    return {
        "title": f"Saturation of {gate}",
        "svg": inline_svg(made),
        "caption": f"Each point is a unit: how often {gate} is within 0.1 of its lowest value, and how often of 1.",
    }
