"""Record a real training run and a sample on a terminal, and draw them as an SVG: docs/terminal.svg.

    python -m benchmarks.picture docs/terminal.svg

The commands run in a new folder with the project's own `data/`, on a pseudo-terminal, so their colours are the real
ones. The progress bar is not in the picture, because the command erases it at the end. The figures depend on the
machine. Linux and macOS only.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

import click
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from benchmarks.speed.processes import ROOT, environment
from charrnn.system.atomic import replacing

COLUMNS, ROWS = 100, 40
COMMANDS = (
    "charrnn train data/names.txt --split-documents lines --shuffle-documents --minutes 1 --seed 1",
    "charrnn sample --documents 10 --temp 0.8 --seed 1",
)
#: Dark in a page's light and dark mode; each colour has a contrast of at least 6.9 to 1 with the background.
THEME = TerminalTheme(
    (24, 27, 34),
    (214, 219, 228),
    [
        (24, 27, 34),  # black, then red, green, yellow, blue, magenta, cyan, white
        (255, 123, 123),
        (126, 211, 132),
        (229, 192, 123),
        (122, 178, 255),
        (214, 154, 255),
        (102, 208, 214),
        (214, 219, 228),
    ],
)
#: Rich's own format loads a font from the net; this one uses the reader's fonts.
FORMAT = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<title>charrnn trains on a list of names, then writes new ones</title>
<style>.{unique_id}-matrix {{ font: {char_height}px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace }}
.{unique_id}-title {{ font: 16px sans-serif }}
{styles}</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix" xml:space="preserve">
{matrix}
</g>
</g>
</svg>
"""


def record(command: list[str], folder: Path) -> str:
    """Run a command on a pseudo-terminal; return all that it wrote there."""
    terminal, inside = pty.openpty()
    fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    env = {name: value for name, value in environment().items() if name not in ("NO_COLOR", "COLUMNS")}
    process = subprocess.Popen(
        command, cwd=folder, env=env | {"TERM": "xterm-256color"}, stdin=inside, stdout=inside, stderr=inside
    )
    os.close(inside)
    written = b"".join(iter(lambda: _read(terminal), b"")).decode()
    os.close(terminal)
    if process.wait():
        raise click.ClickException(f"{shlex.join(command)} failed:\n{written}")
    return written


def _read(terminal: int) -> bytes:
    """Return the next piece, or nothing at the end, which Linux reports as an error."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


def screen(written: str) -> str:
    """Return the text that stays on the screen: in each line, the text after the last carriage return."""
    lines = written.replace("\r\n", "\n").split("\n")
    return "\n".join(re.sub(r".*\r", "", line) for line in lines).rstrip("\n")


def draw(transcript: str) -> str:
    """Return the transcript, with its ANSI colours, as an SVG."""
    console = Console(
        record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, legacy_windows=False, highlight=False
    )
    console.print(Text.from_ansi(transcript), soft_wrap=False)
    return console.export_svg(title="charrnn", theme=THEME, code_format=FORMAT, unique_id="t")


@click.command(help=__doc__)
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
def main(path: Path) -> None:
    """Record the commands and write the picture."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "data", Path(folder) / "data")
        shown = []
        for command in COMMANDS:
            click.echo(f"$ {command}", err=True)
            words = [sys.executable, "-m", *shlex.split(command)]
            shown.append(f"\x1b[1;36m$\x1b[0m \x1b[1m{command}\x1b[0m\n{screen(record(words, Path(folder)))}\n")
    with replacing(path, "name another file") as file:
        file.write(draw("\n".join(shown)).encode())


if __name__ == "__main__":
    main()
