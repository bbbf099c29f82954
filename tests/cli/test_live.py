"""`charrnn train --live` on a pseudo-terminal: frames that fill it at any size, and a clean terminal afterwards."""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import re
import select
import signal
import struct
import sys
import termios
from itertools import cycle
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from charrnn.cli._live import Allowance
from charrnn.cli._panel import Trace, View, curves, panel

from ._material import SMALL, TIMEOUT, error_line, meta, posix

pyte = pytest.importorskip("pyte")
pytestmark = posix

RUN = Path("checkpoints/tiny")
LIVE = ("train", "tiny.txt", *SMALL, "--live")
TRAIN = (*LIVE, "--eval-every", "4")  # for runs in which every step is drawn
ENTER, LEAVE, HOME = "\x1b[?1049h", "\x1b[?1049l", "\x1b[H"
_CODES = re.compile(r"\x1b\[[?;\d]*[a-zA-Z]")


def resize(shown, columns, rows):
    """Set the size of the terminal, as a terminal emulator does."""
    fcntl.ioctl(shown.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    shown.process.send_signal(signal.SIGWINCH)


def read_more(shown, seen):
    """Add to the bytes that appeared; return whether the process goes on."""
    assert select.select([shown.master], [], [], TIMEOUT)[0], seen.decode(errors="ignore")
    with contextlib.suppress(OSError):  # how Linux reports that the other end is closed
        seen += (more := os.read(shown.master, 4096))
        return bool(more)
    return False


def read_frame(shown, seen, wanted, size):
    """Read until a frame of this size has the wanted text; return that frame.

    A change of the size redraws the panel at once, so the terminal gets a row more, and loses it, until then.
    """
    for more in cycle((1, 0)):
        resize(shown, size[0], size[1] + more)
        drawn = seen.count(HOME.encode())
        while seen.count(HOME.encode()) == drawn:
            assert read_more(shown, seen), seen.decode()
        frame = seen.decode(errors="ignore").split(HOME)[-2]
        if wanted in frame and frame.count("\n") == size[1] - 1:
            return frame


def frames_of(live):
    """Return the frames that were drawn on the alternate screen, each as its lines without codes."""
    pieces = (_CODES.sub("", piece).replace("\r", "") for piece in live.split(HOME))
    return [piece.split("\n") for piece in pieces if piece]


def screen_of(written, columns, rows):
    """Return a terminal on which this was written."""
    screen = pyte.Screen(columns, rows)
    pyte.Stream(screen).feed(written)
    return screen


def text_of(screen):
    """Return the lines of a terminal."""
    return [line.rstrip() for line in screen.display]


def parts_of(seen):
    """Return what was written before, on and after the alternate screen, which is entered and left once."""
    before, live = seen.split(ENTER)
    live, after = live.split(LEAVE)
    return before, live, after


def test_the_panel_fills_any_size_and_ctrl_c_leaves_a_clean_terminal(terminal, corpus):
    shown = terminal(*LIVE, "--eval-every", "50", "--steps", "1000000", columns=80, rows=24)
    sizes, seen = [(80, 24), (120, 40), (40, 12)], bytearray()
    for size in sizes:
        check_panel(read_frame(shown, seen, "★", size), size)
    read_frame(shown, seen, "", (9, 3))
    shown.process.send_signal(signal.SIGUSR1)
    read_frame(shown, seen, "saved on SIGUSR1", (80, 24))
    shown.process.send_signal(signal.SIGINT)
    while read_more(shown, seen):
        pass
    assert shown.process.wait(TIMEOUT) == 130
    before, live, after = parts_of(seen.decode())
    drawn = {(*map(cell_len, frame),) for frame in frames_of(live)}
    assert drawn <= {(columns,) * (rows + more) for columns, rows in [*sizes, (9, 3)] for more in (0, 1)}  # none wraps
    modes = re.findall(r"\x1b\[\?\d+[hl]", live)
    screen = screen_of("".join([before, *modes, after]), 80, 24)
    text = "\n".join(text_of(screen))
    step = int(re.search(r"^Saved after step ([\d,]+)\. Continue with: charrnn", text, re.M)[1].replace(",", ""))
    assert meta(RUN / "last.npz")["step"] == step
    assert re.search(r"● training.*● validation", text)
    assert re.search(r"^step [\d,]+  saved on SIGUSR1$", text, re.M)
    assert not screen.cursor.hidden
    assert pyte.modes.DECAWM in screen.mode  # long lines wrap again


def check_panel(frame, size):
    """Assert that a frame shows all that there is room for."""
    lines = text_of(screen_of(HOME + frame, *size))
    text = "\n".join(lines)
    assert lines[0].startswith("tiny  lstm 1x16")
    assert re.search(r" left$|evaluating [\d,]+/253$", lines[0])
    assert re.search(r"\d/1,000,000 steps   \d%$", lines[1])
    assert "● training" in text
    assert "● validation" in text
    assert re.search(r"^training +validation +best", text, re.M)
    assert ("chars/s" in text) == (size[0] >= 80)
    assert re.search(r"sample after step [\d,]+ ─", text)


def test_ctrl_z_leaves_the_terminal_to_the_shell_and_draws_again_afterwards(terminal, corpus):
    shown, seen = terminal(*LIVE, "--steps", "1000000"), bytearray()
    read_frame(shown, seen, " left", (80, 24))
    begin = len(seen)
    shown.process.send_signal(signal.SIGTSTP)
    while LEAVE.encode() not in seen:
        assert len(seen) < begin + 100_000
        assert read_more(shown, seen)
    assert b"\x1b[?7h\x1b[?25h" + LEAVE.encode() in seen
    while ENTER.encode() not in seen[begin:]:
        shown.process.send_signal(signal.SIGCONT)  # it may not have stopped yet, or never will without a shell
        if select.select([shown.master], [], [], 0.05)[0]:
            assert read_more(shown, seen)
    read_frame(shown, seen, " left", (80, 24))
    shown.process.send_signal(signal.SIGTERM)
    while read_more(shown, seen):
        pass
    assert seen.decode().count(ENTER) == seen.decode().count(LEAVE) == 2


def test_a_lost_terminal_saves_the_run(terminal, corpus):
    shown = terminal(*LIVE, "--eval-every", "1000000", "--steps", "1000000")
    shown.read_until(" left")
    with open(os.devnull, "rb") as null:
        os.dup2(null.fileno(), shown.master)  # closes the terminal
    assert shown.process.wait(TIMEOUT) == 1
    assert meta(RUN / "last.npz")["step"] > 0


# In this process, on a terminal of 80 columns and 24 rows that does not exist


@pytest.fixture
def live(monkeypatch):
    """Let the command take its standard error for a terminal, and draw as often as it likes."""
    monkeypatch.setattr("charrnn.cli._console.redraws", lambda: True)
    monkeypatch.setattr("charrnn.cli._live.redraws", lambda: True)
    for name in ("_DRAWING", "_CHARTING", "_SAMPLING"):
        monkeypatch.setattr(f"charrnn.cli._live.{name}", math.inf)
    monkeypatch.setattr("charrnn.cli._live._CALM", 0.0)


def test_the_curves_and_the_closing_figures_stay_when_the_run_ends(run, corpus, live):
    before, shown, after = parts_of(run(*TRAIN, "--steps", "12").stderr)
    assert {(*map(cell_len, frame),) for frame in frames_of(shown)} == {(80,) * 24}
    assert "evaluating 253/253" in shown
    assert frames_of(shown)[-1][0].rstrip().endswith("fitting the memory")
    lines = (before + after).splitlines()
    assert lines[0].startswith("Text   2,284 characters for training")
    assert len([line for line in lines if re.search("● training.*● validation", line)]) == 1
    assert {"Best loss", "Curve", "Time", "Sample", "Extend", "Repeat"} <= {line.split("  ")[0] for line in lines}
    assert f"{HOME}\x1b" not in after


def test_samples_follow_evaluations_and_are_logged(run, corpus, live):
    _, shown, _ = parts_of(run(*TRAIN, "--steps", "12").stderr)
    logged = [json.loads(line) for line in (RUN / "log.jsonl").read_text().splitlines()]
    samples = [line for line in logged if "sample" in line]
    assert [line["step"] for line in samples] == [4, 8, 12]
    assert len({line["sample"] for line in samples}) == 3
    assert samples[-1]["sample"] == run("sample", "-m", RUN / "last.npz", "-n", "200", "--seed", "1").stdout
    for step in (0, 4, 8, 12):
        assert f"sample after step {step} ─" in shown


def test_the_newest_loss_is_shown_even_if_its_point_was_thinned_out(run, corpus, live, monkeypatch):
    monkeypatch.setattr("charrnn.cli._panel._MOST_POINTS", 2)
    _, shown, _ = parts_of(run(*LIVE, "--eval-every", "5", "--steps", "25").stderr)
    logged = [json.loads(line) for line in (RUN / "log.jsonl").read_text().splitlines()]
    newest = next(line["val_loss"] for line in reversed(logged) if line.get("val_loss"))
    frame = frames_of(shown)[-1]
    names = next(number for number, line in enumerate(frame) if line.startswith("training"))
    assert frame[names + 1].split()[1] == f"{newest:.3f}"


def test_sample_every_says_when_samples_are_written(run, corpus, live):
    _, shown, _ = parts_of(run(*TRAIN, "--steps", "12", "--sample-every", "5").stderr)
    assert {*re.findall(r"sample after step (\d+)", shown)} == {"5", "10"}


def test_a_resumed_run_begins_with_its_curves(run, corpus, live):
    run(*TRAIN[:-3], *TRAIN[-2:], "--steps", "12")
    again = run("train", "tiny.txt", "--resume", "--steps", "16", "--live", "--verbose")
    first, *_ = frames_of(parts_of(again.stderr)[1])
    assert any("★" in line for line in first)
    assert any("● validation" in line for line in first)
    assert "12/16 steps  75%" in first[1]


def test_without_validation_there_is_one_curve(run, corpus, live):
    _, shown, after = parts_of(
        run(*TRAIN, "--steps", "8", "--batch-size", "16", "--val-fraction", "0", "--threads", "2").stderr
    )
    assert "validation" not in shown
    assert "● training" in shown
    assert "Loss" in after


def test_documents_of_wide_characters_and_bytes_fill_the_terminal_too(run, live):
    Path("wide.txt").write_text("日本語の\t文。\n漢字かな\x0c交じり\n" * 40, encoding="utf-8")
    for more in (("--split-documents", "lines", "--shuffle-documents"), ("--bytes",)):
        settings = ("--steps", "8", "--eval-every", "4", "--live", "--force")
        _, shown, _ = parts_of(run("train", "wide.txt", *SMALL, *more, *settings).stderr)
        assert {(*map(cell_len, frame),) for frame in frames_of(shown)} == {(80,) * 24}


def test_a_run_that_diverges_leaves_its_recoveries_and_the_error(run, corpus, live):
    wild = ("--optimizer", "sgd", "--learning-rate", "1e9", "--clip-norm", "0", "--steps", "50")
    _, _, after = parts_of(run(*TRAIN, *wild, code=2).stderr)
    assert len(re.findall(r"^step .*; back to step 0, .* \(try [1-5] of 5\)$", after, re.M)) == 5
    assert "5 lower learning rates in a row" in error_line(after)


def test_colours_can_be_switched_off(run, corpus, live):
    assert not re.search(r"\x1b\[[\d;]*m", run(*TRAIN, "--steps", "4").stderr)  # as NO_COLOR says
    coloured = run(*TRAIN, "--steps", "4", "--force", "--color", "always").stderr
    assert re.search(r"\x1b\[1;\d+m1?\d\.\d{3}", coloured)  # a loss


@pytest.mark.parametrize("dumb", [False, True])
def test_without_a_screen_there_are_plain_lines(run, terminal, corpus, dumb):
    settings = (*TRAIN, "--steps", "8")
    stderr = terminal(*settings, TERM="dumb").read_all() if dumb else run(*settings).stderr
    assert "\x1b[?" not in stderr
    assert len(re.findall("^step [48]  epoch", stderr.replace("\r\n", "\n"), re.M)) == 2


def test_without_plotille_nothing_begins(run, corpus, monkeypatch):
    monkeypatch.setattr("charrnn.cli._live.redraws", lambda: True)
    monkeypatch.setitem(sys.modules, "plotille", None)
    told = error_line(run(*TRAIN, "--steps", "4", code=2).stderr)
    assert told == 'a chart on the terminal needs plotille: pip install "charrnn-numpy[plot]"'
    assert not RUN.exists()


def test_live_and_quiet_conflict(run, corpus):
    told = error_line(run(*TRAIN, "--quiet", code=2).stderr)
    assert told == "--live draws a screen and --quiet prints only errors: leave one out"


# The panel, without a terminal


def lines_of(view, columns, rows):
    """Return the lines of a panel, after checking that they fill the terminal and no more."""
    console = Console(width=columns, height=rows, force_terminal=True)
    lines = panel(view, console, lambda columns, rows: curves(view, columns, rows)).plain.split("\n")
    assert len(lines) <= rows
    assert max(map(cell_len, lines)) <= columns
    return lines


@pytest.mark.parametrize("columns", [1, 20, 40, 79, 80, 100, 161])
@pytest.mark.parametrize("rows", [1, 2, 5, 10, 12, 24, 60])
def test_a_sample_of_any_characters_is_safe_at_any_size(columns, rows):
    text = "日本語の文 " * 30 + "\n\ta tab\r\x1b[31mred\x00\x9b2J‮\ud800 é 👩‍👩‍👧\n" + "x" * 300
    view = View("日本語の長い名前の実行  lstm 1x16", 1000, 500, "01:00 left", {"training": "1.234", "chars/s": "1,234"})
    view.sample = 500, text
    view.said = [Text("Note: " + "a long sentence " * 20)]
    for step in range(1, 500, 7):
        view.training.add(step, 1 / step)
        view.validation.add(step, 2 / step)
    view.best = 498, 0.002
    shown = "\n".join(lines_of(view, columns, rows))
    assert not [char for char in shown if not char.isprintable() and char != "\n"]


def test_a_trace_is_bounded_and_keeps_its_shape():
    trace = Trace()
    for step in range(1, 100_001):
        trace.add(step, float(step))
    assert 256 <= len(trace.steps) <= 512
    assert trace.steps == [int(value) for value in trace.values]
    assert trace.steps[0] < 1000
    assert trace.steps[-1] > 99_000
    trace.cut(50_000)
    assert max(trace.steps) <= 50_000
    trace.add(60_000, 1.0)
    assert trace.curve("", "", 40_000).x[0] >= 40_000


def test_work_takes_its_share_of_the_time(monkeypatch):
    monkeypatch.setattr("charrnn.cli._live.time.monotonic", lambda: now[0])
    now, allowed = [100.0], Allowance(1 / 200, 0.25)
    assert allowed
    with allowed.spent():
        now[0] += 0.01
    now[0] += 1.99
    assert not allowed
    now[0] += 0.02
    assert allowed
    with allowed.spent():
        now[0] += 0.0001
    now[0] += 0.2
    assert not allowed  # calm
