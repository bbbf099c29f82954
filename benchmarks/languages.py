"""Language of 50 characters: pieces of GNOME's user manual in twelve languages (Debian's package gnome-user-docs).

    apt-get download gnome-user-docs; dpkg -x gnome-user-docs_*.deb manual
    python -m benchmarks.languages manual/usr/share/help lang12

It writes lang12/train.tsv and lang12/test.tsv: label, tab, text. The languages are the twelve European ones in the
Latin alphabet with the most translated text. A page is on one side, in every language. A paragraph that stands in two
languages (not translated) is left out, and of texts that stand twice, all but the first.
"""

import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

LANGUAGES = ("ca", "cs", "de", "en", "es", "fr", "hr", "hu", "nl", "pl", "pt_BR", "sv")
SIZE, MOST, TEST_SHARE, TEST = 50, 2_500, 0.2, 500  # characters; texts to train on; of the pages; texts to test


def paragraphs(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (page, paragraph) of a language's manual, without notes of copyright."""
    for file in sorted(folder.rglob("*.page")):
        for paragraph in ElementTree.parse(file).getroot().iter("{http://projectmallard.org/1.0/}p"):
            text = " ".join("".join(paragraph.itertext()).split())
            if text and "Creative Commons" not in text:
                yield file.name, text


def pieces(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Yield (page, language, piece of SIZE characters) of all languages."""
    found = {name: list(paragraphs(folder / name.replace("en", "C"))) for name in LANGUAGES}
    spoken = defaultdict(set)
    for name, rows in found.items():
        for _, text in rows:
            spoken[text].add(name)
    for name, rows in found.items():
        own = {text: page for page, text in reversed(rows) if len(spoken[text]) == 1 or name == "en"}
        for text, page in own.items():
            for begin in range(0, len(text) - SIZE + 1, SIZE):
                yield page, name, text[begin : begin + SIZE].strip()


def build(folder: Path, seed: int = 0) -> dict[str, list[tuple[str, str]]]:
    """Return the texts (text, language) to train on and to test on."""
    found: dict[str, tuple[str, str]] = {}
    for page, name, text in pieces(folder):
        found.setdefault(text, (page, name))
    rng = np.random.default_rng(seed)
    names = sorted({page for page, _ in found.values()})
    testing = set(rng.permutation(names)[: round(TEST_SHARE * len(names))])
    sides: dict[str, list[tuple[str, str]]] = {"train": [], "test": []}
    for language in LANGUAGES:
        for side, most in (("train", MOST), ("test", TEST)):
            chosen = sorted(
                text for text, (page, own) in found.items() if own == language and (page in testing) == (side == "test")
            )
            print(language, side, len(chosen), file=sys.stderr)
            sides[side] += [(str(text), language) for text in rng.permutation(chosen)[:most]]
    return sides


if __name__ == "__main__":
    target = Path(sys.argv[2])
    target.mkdir(exist_ok=True)
    for side, rows in build(Path(sys.argv[1])).items():
        (target / f"{side}.tsv").write_text("".join(f"{label}\t{text}\n" for text, label in rows), encoding="utf-8")
