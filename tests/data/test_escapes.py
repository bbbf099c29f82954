"""Escapes: a text in one line, and back."""

from charrnn.data.escapes import unescaped


def test_escapes():
    assert unescaped(r"a\nb\t\\n\u6c34\r\x") == "a\nb\t\\n水\r\\x"
