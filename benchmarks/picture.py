"""Record real training runs and a sample on a terminal, and draw them as SVGs.

    python -m benchmarks.picture docs/terminal.svg docs/live.svg

The commands run in a new folder with the project's own `data/`, on a pseudo-terminal, so their colours are the real
ones. The progress bar is not in the first picture, because the command erases it at the end. The second one is the
screen of `train --live` shortly before the end. The figures depend on the machine. Linux and macOS only.
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
LIVE_ROWS = 28
LIVE = "charrnn train data/ferry.txt --minutes 1 --seed 1 --live"
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
<title>DESCRIPTION</title>
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


def record(command: list[str], folder: Path, rows: int = ROWS) -> str:
    """Run a command on a pseudo-terminal with this many rows; return all that it wrote there."""
    terminal, inside = pty.openpty()
    fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", rows, COLUMNS, 0, 0))
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


def live_screen(written: str) -> str:
    """Return the last screen of `train --live` that shows the time left."""
    frames = written.split("\x1b[?1049l")[0].replace("\r\n", "\n").split("\x1b[H")
    return next(frame for frame in reversed(frames) if " left" in frame)


def draw(transcript: str, description: str) -> str:
    """Return the transcript, with its ANSI colours, as an SVG."""
    console = Console(
        record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, legacy_windows=False, highlight=False
    )
    console.print(Text.from_ansi(transcript), soft_wrap=False)
    return console.export_svg(
        title="charrnn", theme=THEME, code_format=FORMAT.replace("DESCRIPTION", description), unique_id="t"
    )


@click.command(help=__doc__)
@click.argument("terminal", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("live", type=click.Path(path_type=Path, dir_okay=False))
def main(terminal: Path, live: Path) -> None:
    """Record the commands and write the pictures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(ROOT / "data", folder / "data")
        shown = [f"{_prompt(command)}{screen(_record(command, folder))}\n" for command in COMMANDS]
        panel = _prompt(LIVE) + live_screen(_record(LIVE, folder, LIVE_ROWS))
    _write(terminal, draw("\n".join(shown), "charrnn trains on a list of names, then writes new ones"))
    _write(live, draw(panel, "charrnn shows curves, figures and a sample while it trains"))


def _record(command: str, folder: Path, rows: int = ROWS) -> str:
    click.echo(f"$ {command}", err=True)
    return record([sys.executable, "-m", *shlex.split(command)], folder, rows)


def _prompt(command: str) -> str:
    return f"\x1b[1;36m$\x1b[0m \x1b[1m{command}\x1b[0m\n"


def _write(path: Path, svg: str) -> None:
    with replacing(path, "name another file") as file:
        file.write(svg.encode())


if __name__ == "__main__":
    main()
