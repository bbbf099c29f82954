"""What `charrnn inspect` looks at: a model that reads a text. Imports no NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from charrnn.errors import ConfigError, CorpusError

if TYPE_CHECKING:
    from charrnn.api import LanguageModel
    from charrnn.arrays import Array, Ids
    from charrnn.cli._reports import Reports
    from charrnn.data.text import Text
    from charrnn.insight.finding import Found
    from charrnn.insight.reach import Reach
    from charrnn.insight.reading import Reading

_FIND_CHARS = 50_000  # of each text on which units are chosen or measured, at most; fewer of a large model:
_FIND_NUMBERS = 2**25  # of its activations
_FIND_ROWS = 8  # batch rows in which it reads them
_EVERY = "all"  # the properties that have a name


class Findings(NamedTuple):
    """Units that follow properties, and where they were chosen and measured, in words."""

    units: list[Found]
    where: str


@dataclass(frozen=True, eq=False)
class Subject:
    """A model and a text; `unknown` is what to do with characters that the model does not know."""

    model: LanguageModel
    text: Text
    unknown: str

    @property
    def ids(self) -> Ids:
        """Return the ids of the text, with an end mark at the beginning if the model learned documents."""
        from charrnn.insight.reading import ids_of

        return ids_of(self.model.checkpoint.vocab, self.text, self.unknown)

    @property
    def left_out(self) -> int:
        """Return how many characters of the text are left out, because the model does not know them.

        Raises:  CorpusError if it knows none.
        """
        vocab = self.model.checkpoint.vocab
        if vocab.unknown is not None or self.unknown != "skip":
            return 0
        unknown = vocab.count_unknown(self.text)
        if unknown == len(self.text):
            raise CorpusError(f"the model knows none of the {unknown:,} characters: give a text like its corpus")
        return unknown

    def reading(self, top: int) -> Reading:
        """Return how the model reads the text, with so many predictions for each character."""
        return self.model.inspect(self.text, top=top, unknown=self.unknown)

    @cached_property
    def activations(self) -> dict[str, Array]:
        """Return all activations of the model on the text."""
        return self._activations(rows=1)

    def _activations(self, rows: int) -> dict[str, Array]:
        from charrnn.insight.activations import kinds

        names = kinds(self.model.checkpoint.model_config)
        return self.model.activations(self.text, names, unknown=self.unknown, rows=rows)

    def saturation(self) -> dict[str, Array]:
        """Return how often each gate is open or closed, as `insight.saturation` does."""
        from charrnn.insight.saturation import saturation

        return saturation(self.model.checkpoint.model_config, self.activations)

    def reach(self) -> Reach:
        """Return how far back the loss feels a character."""
        from charrnn.insight.reach import reach

        saved = self.model.checkpoint
        return reach(self.model.weights, saved.model_config, self.ids, end=saved.vocab.end)

    def connections(self) -> Array:
        """Return how far each character before one moved its prediction, as `insight.connections` does."""
        import numpy as np

        from charrnn.insight.connections import connections

        saved, end = self.model.checkpoint, self.model.checkpoint.vocab.end
        if saved.vocab.reverse:
            raise ConfigError("--connect shows what came before, and this model reads backwards: leave it out")
        found = connections(self.model.weights, saved.model_config, self.ids, end=end)
        return np.tril(found[int(end is not None) :], -1)  # the end mark at the beginning is not shown

    def find(self, names: Sequence[str], most: int, val: Text | None) -> Findings:
        """Return the units that follow these properties best; the text is what they are measured on if val is None.

        val  the validation split, if the text is its beginning
        """
        from charrnn.insight.finding import find, varying
        from charrnn.insight.properties import PROPERTIES, property_of

        chosen_on, measured_on, where = self._parts(val)
        chosen, measured = (replace(self, text=each)._part() for each in (chosen_on, measured_on))
        asked = [property_of(name) for name in names if name != _EVERY]
        if _EVERY in names:
            named = varying(PROPERTIES.values(), chosen[0], measured[0])
            asked += [each for each in named if each not in asked]
        where = where.format(*(f"{len(text):,}" for text, _ in (chosen, measured)))
        return Findings(find(chosen, measured, asked, most=most), where)

    def _parts(self, val: Text | None) -> tuple[Text, Text, str]:
        """Return the text on which units are chosen, the one on which they are measured, and both in words."""
        on_val = "chosen on the first {} characters of the validation split, and measured on the first {} of "
        try:
            if val is None:
                return self.model.validation_text(), self.text, f"{on_val}the text"
            return val, self.model.test_text(), f"{on_val}the test split"
        except CorpusError:
            whole, name = (self.text, "text") if val is None else (val, "validation split")
            half = len(whole) // 2
            where = f"the first half of the {name}, and measured on the first {{}} of the second half"
            return whole[:half], whole[half:], f"chosen on the first {{}} characters of {where}"

    def _part(self) -> tuple[str, dict[str, Array]]:
        """Return the beginning of the text, and all activations of the model there."""
        from charrnn.insight.activations import kinds
        from charrnn.insight.reading import shown

        config = self.model.checkpoint.model_config
        most = min(_FIND_CHARS, _FIND_NUMBERS // (len(kinds(config)) * config.hidden_size))
        part = replace(self, text=self.text[: max(1, most)])
        return shown(self.model.checkpoint.vocab, part.ids), part._activations(_FIND_ROWS)

    def page(self, top: int, reports: Reports, notes: Sequence[str], *, connect: bool) -> str:
        """Return a page of the reading, with all activations of the model on the text, and what else was asked for."""
        from charrnn.insight.inspection import page
        from charrnn.training.folder import model_name

        assert self.model.path is not None
        return page(
            model_name=model_name(self.model.path.resolve()),
            activations=self.activations,  # first, since they may be too many
            reading=self.reading(top),
            found=reports.found or (),
            connections=self.connections() if connect else None,
            reach=reports.reach,
            saturation=reports.saturation,
            notes=notes,
        )
