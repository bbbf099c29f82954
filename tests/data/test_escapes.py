"""Escapes: a text in one line, and read back."""

from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.data.escapes import escaped, in_one_line, unescaped


def test_escapes():
    assert unescaped(r"a\nb\t\\n\u6c34\r\x") == "a\nb\t\\n水\r\\x"


def test_only_what_is_not_visible_is_escaped_in_one_line():
    assert in_one_line("a\nb\x1b[1mé\udcff\\n") == r"a\nb\u001b[1mé\udcff\n"


@given(st.text())
@example("a\\n\n\x1b[2J\u2028\ud800\x85")
def test_escaped_text_is_one_line_and_can_be_read_back(text):
    line = escaped(text)
    assert unescaped(line) == text
    assert len(line.splitlines()) <= 1
    assert "\x1b" not in line
    line.encode()
