"""Escapes: a text in one line, and read back."""

from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.data.escapes import escaped, unescaped


def test_escapes():
    assert unescaped(r"a\nb\t\\n\u6c34\r\x") == "a\nb\t\\n水\r\\x"


@given(st.text())
@example("a\\n\n\x1b[2J\u2028\ud800\x85")
def test_escaped_text_is_one_line_and_can_be_read_back(text):
    line = escaped(text)
    assert unescaped(line) == text
    assert len(line.splitlines()) <= 1
    assert "\x1b" not in line
    line.encode()
