"""The validation of a run: two validation losses can be compared only if they were measured on the same characters."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from charrnn.config import default_of
from charrnn.data.files import describe_paths
from charrnn.data.source import Source

#: How training scores its validation split. Add the version of charrnn here if a later one scores it otherwise.
_PROTOCOL = "training"
_OF_LABELS = "labels"


@dataclass(frozen=True)
class Validation:
    """The characters that a run's validation losses were measured on.

    text     the file or files that they come from, for the reader
    sha256   the hash of that text
    split    the settings that cut the validation split out of it, by name; empty for a file of its own
    limit    characters scored, from the split's beginning; 0 for all of it
    scored   characters scored, if the checkpoint records it
    unknown  the hash of the vocabulary, if characters outside it are scored as unknown
    context  True: only what follows the first tab of each document is scored
    texts    True: the labels of texts were scored, not characters
    """

    text: str
    sha256: str
    split: tuple[tuple[str, Any], ...]
    limit: int
    scored: int | None
    unknown: str | None
    context: bool = False
    texts: bool = False

    @classmethod
    def of(cls, meta: dict[str, Any]) -> Validation | None:
        """Return the validation of the run that wrote this `meta` of a checkpoint; None if it has none.

        Raises:  KeyError, TypeError or AttributeError if the meta is damaged.
        """
        settings, vocab, scored, own = meta["train"], meta["vocab"], meta.get("validated"), meta.get("val_source")
        held_back = _held_back(settings, "val")
        if scored == 0 or not (own or held_back[1]):
            return None
        source = own or meta["source"]
        split = () if own else (held_back, _held_back(settings, "test"))
        limit = settings.get("val_chars", default_of("val_chars"))
        return cls(
            text=_describe(Source(source["path"], source["sha256"], tuple(source.get("also", ())))),
            sha256=source["sha256"],
            split=split if not split or split[1][1] else split[:1],
            limit=0 if scored is not None and scored < limit else limit,
            scored=scored,
            unknown=_hash(vocab["symbols"]) if "unknown" in vocab.get("specials", ()) else None,
            context=bool(settings.get("context")),
            texts=meta.get("classifier") is not None,
        )

    @property
    def signature(self) -> str:
        """Return what decides whether two losses can be compared, as one word in the form of `charrnn eval`."""
        protocol = _OF_LABELS if self.texts else _PROTOCOL
        split = ",".join(f"{name.replace('_', '-')}={value}" for name, value in self.split)
        return (
            f"protocol:{protocol}|text:sha256-{self.sha256[:8]}|split:{split or 'file'}|chars:{self.limit or 'all'}|"
            f"unknown:{f'symbol-{self.unknown}' if self.unknown else 'none'}{'|scored:targets' if self.context else ''}"
        )

    def in_words(self) -> str:
        """Return the characters that were scored, for the reader."""
        if not self.split:
            where = self.text
        else:
            (name, value), *test = self.split
            of = "texts" if self.texts else "text"
            share = f"{value:,} documents" if name == "val_documents" else f"{100 * value:g}% of the {of}"
            place = f"the {share} before the test split" if test else f"the last {share}"
            where = f"{self.text}, {share if self.texts else place}"
        count = self.limit or self.scored
        scored = f", {count:,} {'texts' if self.texts else 'characters'}" if count else ""
        after_tabs = ", after tabs alone" if self.context else ""
        return where + scored + after_tabs + (", rare characters as unknown" if self.unknown else "")


def described(validations: Sequence[Validation]) -> list[str]:
    """Return each validation in words, with its signature if others read the same."""
    words = [each.in_words() for each in validations]
    return [
        f"{text} ({each.signature})" if words.count(text) > 1 else text
        for each, text in zip(validations, words, strict=True)
    ]


def badness_of(record: dict[str, Any]) -> float:
    """Return the figure of a validated evaluation that is lowest for the best model: a loss or share of errors."""
    accuracy = record.get("val_accuracy")  # which the history of a classifier has
    badness: float = record["val_loss"] if accuracy is None else 1 - accuracy
    return badness


def differences(one: Validation, other: Validation) -> dict[str, str]:
    """Return what keeps two validations from being compared, each with the settings that make it equal."""
    if one.texts != other.texts:
        return {"labels and characters": ""}
    found = {}
    if one.sha256 != other.sha256:
        found["different texts"] = "--val-file"
    elif one.split != other.split:
        names = dict.fromkeys(name for name, value in (*one.split, *other.split))
        found["different splits"] = " and ".join(f"--{name.replace('_', '-')}" for name in names) or "--val-file"
    if one.limit != other.limit:
        found["different numbers of characters"] = "--val-chars"
    if one.unknown != other.unknown:
        found["different unknown characters"] = "--min-count"
    if one.context != other.context:
        found["whole documents and targets"] = "--context"
    return found


def _held_back(settings: dict[str, Any], split: str) -> tuple[str, Any]:
    """Return the setting that decides how much is held back for validation or test, and its value."""
    documents = f"{split}_documents"
    name = documents if settings.get(documents) is not None else f"{split}_fraction"
    return name, settings.get(name, default_of(name))


def _describe(source: Source) -> str:
    return describe_paths(source.paths) if source.paths else "a text in memory"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
