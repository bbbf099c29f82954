"""The picture of the terminal: what is left on a screen, and an SVG that any reader can show."""

import os
import sys
from xml.etree import ElementTree

import pytest
from test_docs import ROOT

if os.name != "posix":
    pytest.skip("pseudo-terminals are POSIX", allow_module_level=True)

from benchmarks.picture import COMMANDS, draw, live_screen, record, screen

SVG = "{http://www.w3.org/2000/svg}"


def words(svg):
    """Return the texts of a picture, with plain spaces."""
    texts = ["".join(text.itertext()) for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]
    return "\n".join(texts).replace("\xa0", " ")


def test_an_erased_progress_bar_is_not_on_the_screen():
    assert screen("begin\r\n\r 10% ##\r 90% ####\r        \rend\r\n") == "begin\nend"


def test_the_live_screen_is_the_last_one_with_the_time_left():
    frames = ["", "00:02 left\r\n\x1b[34m1.5\x1b[0m", "00:01 left\r\n1.4", "fitting the memory"]
    written = f"Text\r\n\x1b[?1049h{chr(27)}[H".join(["", "\x1b[H".join(frames)]) + "\x1b[?1049l3 days left\r\n"
    assert live_screen(written) == "00:01 left\n1.4"


def test_colours_become_styles_and_nothing_is_loaded_from_the_net():
    svg = draw("plain \x1b[32mgreen\x1b[0m <&>", "a word in green")
    assert "<title>a word in green</title>" in svg
    assert words(svg).split() == ["charrnn", "plain", "green", "<&>"]
    assert "#7ed384" in svg
    assert "url(http" not in svg
    assert "@font-face" not in svg


def test_the_committed_picture_shows_the_commands():
    shown = words((ROOT / "docs" / "terminal.svg").read_text(encoding="utf-8"))
    for command in COMMANDS:
        assert command in shown


def test_a_command_is_recorded_in_colour(tmp_path):
    code = "import sys; print(sys.stdout.isatty(), '\\x1b[1mbold\\x1b[0m')"
    assert record([sys.executable, "-c", code], tmp_path) == "True \x1b[1mbold\x1b[0m\r\n"
