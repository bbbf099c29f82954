"""`charrnn vocab`: list the characters of a text."""

from __future__ import annotations

from typing import Any

import click

from charrnn.cli._command import SectionedCommand, complete_files
from charrnn.cli._options import given, json_option, settings


@click.command(cls=SectionedCommand)
@click.argument("corpus", nargs=-1, required=True, shell_complete=complete_files)
@settings("encoding", "normalize", "lowercase")
@json_option
def command(corpus: tuple[str, ...], as_json: bool, **reading_settings: Any) -> None:
    """List the characters of CORPUS with code point, name, count and share.

    CORPUS is files, folders, patterns, or "-" for standard input. Training runs in a folder are left out.

    \b
    Examples:
      charrnn vocab corpus.txt
      charrnn vocab letters/ --encoding latin1 --lowercase
      charrnn vocab corpus.txt --json | jq '.symbols[-1]'
      cat chapters/*.txt | charrnn vocab - | tail -n 1
    """
    from charrnn.cli._bars import ReadingBar
    from charrnn.cli._console import note, print_json, print_table
    from charrnn.config import TextConfig
    from charrnn.data.files import find_files
    from charrnn.data.reading import read_text
    from charrnn.data.vocab import Vocab, describe_symbol

    for sentence in find_files(corpus).notes:
        note(f"Note: {sentence}")
    with ReadingBar() as reading:
        text = read_text(*corpus, config=TextConfig(**given(reading_settings)), reading=reading)
    vocab = Vocab.from_text(text.symbols).counted(text)
    rows = [
        {**describe_symbol(symbol), "count": count, "share": count / len(text)}
        for symbol, count in zip(vocab.symbols, vocab.counts, strict=True)
    ]
    if as_json:
        print_json({"chars": len(text), "size": vocab.size, "symbols": rows})
        return
    print_table(
        ("Char", "Code point", "Name", "Count", "Share"),
        [
            (str(row["shown"]), str(row["code_point"]), str(row["name"]), f"{row['count']:,}", f"{row['share']:.3%}")
            for row in rows
        ],
        right=(3, 4),
    )
    click.echo(f"{len(text):,} characters, {vocab.size} different")
