"""`charrnn cache`: list or remove the encoded copies of large texts."""

from __future__ import annotations

from typing import Any

import click

from charrnn.cli._command import SectionedCommand, complete_files, section
from charrnn.cli._options import json_option


@click.command(cls=SectionedCommand)
@click.argument("corpora", metavar="[CORPUS]...", nargs=-1, shell_complete=complete_files)
@section("Removing")(
    "--remove",
    is_flag=True,
    allow_from_autoenv=False,
    help="Remove the copies of CORPUS; without CORPUS, all.",
)
@json_option
def command(corpora: tuple[str, ...], remove: bool, as_json: bool) -> None:
    """List the encoded copies of large texts, or only those of CORPUS, a text file.

    charrnn encodes a text of 32 MiB or more once and keeps the copy in the system's cache folder, or in the folder
    that the variable CHARRNN_CACHE names. If the text changes, it is encoded again.

    \b
    Examples:
      charrnn cache
      charrnn cache --json | jq '.entries[].bytes'
      charrnn cache --remove corpus.txt
      charrnn cache --remove
    """
    import os
    from datetime import datetime

    from charrnn.cli._console import note, print_json, print_table
    from charrnn.data import cache
    from charrnn.data.files import describe_paths, list_files
    from charrnn.errors import CorpusError

    corpus_of = {os.path.realpath(file): corpus for corpus in corpora for file in list_files([corpus])}
    entries = [entry for entry in cache.entries() if not corpora or corpus_of.keys() & entry.paths]
    for path in corpus_of.keys() - set().union(*(entry.paths for entry in entries)):
        raise CorpusError(
            f"{corpus_of[path]} is not in the cache: `charrnn cache` lists the cached texts, --remove removes all"
        )
    rows: list[dict[str, Any]] = [
        {
            "corpus": [stamp.path for stamp in entry.stamps],
            "chars": len(entry.text),
            "symbols": len(entry.text.symbols),
            "bytes": entry.text.ids.nbytes,
            "built": datetime.fromtimestamp(entry.built).astimezone().isoformat(" ", "seconds"),
            "valid": entry.valid,
            "sha256": entry.text.digest,
            "file": str(entry.path),
        }
        for entry in entries
    ]
    if remove:
        paths = [entry.path for entry in entries] if corpora else None
        del entries  # some systems cannot remove a file that is mapped into memory
        cache.remove(paths)
    folder = cache.folder()
    if as_json:
        print_json({"folder": None if folder is None else str(folder), "entries": rows})
        return
    if rows and not remove:
        print_table(
            ("Corpus", "Characters", "Symbols", "MB", "Built", "State"),
            [
                (
                    describe_paths(row["corpus"]),
                    f"{row['chars']:,}",
                    f"{row['symbols']:,}",
                    f"{row['bytes'] / 1e6:,.1f}",
                    row["built"][:16],
                    "valid" if row["valid"] else "stale",
                )
                for row in rows
            ],
            right=(1, 2, 3),
        )
    total = sum(row["bytes"] for row in rows) / 1e6
    texts = "1 text" if len(rows) == 1 else f"{len(rows)} texts"
    click.echo(f"{'Removed ' if remove else ''}{texts}, {total:,.1f} MB, in {folder or 'no folder'}")
    if folder is None:
        note(f"Note: texts are not cached: {cache.obstacle()}")
