"""Properties: each text over a line that marks the characters that have it."""

import argparse
import csv
import inspect
import io
import tokenize
from pathlib import Path

import numpy as np
import pytest

from charrnn.errors import ConfigError
from charrnn.insight.properties import PROPERTIES, property_of

ROOT = Path(__file__).parents[2]


def marks(name, text):
    """Return a line with ^ under each character that has the property."""
    labels = property_of(name)(text)
    assert labels.shape == (len(text),)
    assert labels.dtype == bool
    return "".join("^" if has else " " for has in labels).rstrip()


def numbers(name, text):
    labels = property_of(name)(text)
    assert labels.dtype == np.float64
    return labels.tolist()


QUOTES = r"""
a "quote" here
  ^^^^^^
`Oh dear!' she said, `it's late'
^^^^^^^^^            ^^^^^^^^^^
don't say 'tis Dinah's

say 'this', not 'that'
    ^^^^^       ^^^^^
`the "Lory" said'
^^^^^^^^^^^^^^^^
``TeX'' and `code`
^^^^^^      ^^^^^
“curly” ‘don’t’ «là» „so“ 「字」
^^^^^^  ^^^^^^  ^^^  ^^^  ^^
x = 'it\'s' + "\"" + r'raw' + ''
    ^^^^^^    ^^^     ^^^^    ^
'''long "one" ' ''' + "b"
^^^^^^^^^^^^^^^^^^    ^^
print('# none') # don't "be"
      ^^^^^^^
"""

COMMENTS = """
x = 1  # one
       ^^^^^
'# none' #!x #1 a#b #
         ^^^^^^^^^^^^
#1 a#b #
       ^
int x; // one
       ^^^^^^
  // two
  ^^^^^^
http://a.b a // b

x /* one */ y <!-- two --> z
  ^^^^^^^^    ^^^^^^^^^^^
'http' /* "a */ b
       ^^^^^^^
"""

PARENTHESES = """
a (b (c) d) e
  ^^^^^^^^
:) (a)) b（c）
   ^^    ^^
"""

OTHERS = {
    "upper": ("Ab ÉÆ ß 1", "^  ^^"),
    "vowel": ("Aéiy Üñ o", "^^^  ^  ^"),
    "digit": ("a1 ٣ x²0", " ^ ^  ^^"),
    "url": ("(see http://a.b/c?d=1). ftp://x https:// no", "     ^^^^^^^^^^^^^^^^   ^^^^^^^"),
    "word-end": ("A cat, x2's é!", "^   ^   ^ ^ ^"),
    "c[aeiou]t": ("cat dog cut", "^^^     ^^^"),
    "boys' own": ("the boys' own", "    ^^^^^^^^^"),
}


def table(text):
    """Return the pairs of a text and its marks."""
    lines = text.strip("\n").split("\n")
    return list(zip(lines[::2], lines[1::2], strict=True))


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        *(("quotes", *pair) for pair in table(QUOTES)),
        *(("comment", *pair) for pair in table(COMMENTS)),
        *(("parentheses", *pair) for pair in table(PARENTHESES)),
        *((name, *pair) for name, pair in OTHERS.items()),
    ],
)
def test_the_marked_characters_have_the_property(name, text, expected):
    assert marks(name, text) == expected


def test_a_quote_that_is_never_closed_ends_with_its_paragraph():
    text = '"one\ntwo\n \nthree" four'
    assert marks("quotes", text) == "^" * 8 + " " * 8 + "^" * 6
    assert marks("quotes", "`one") == "^^^^"
    assert marks("parentheses", "((one\n\ntwo)") == "^^^^^"


@pytest.mark.parametrize("piece", ["'a ", "/* ", "<!-- ", "`a ", '"""a ', "((", "\\", "“a"])
def test_what_is_never_closed_takes_no_longer_for_a_long_text(piece):
    text = piece * (50_000 // len(piece))  # with quadratic time, this takes minutes
    for name in ("quotes", "comment", "parentheses"):
        assert len(property_of(name)(text)) == len(text)


def test_a_pattern_of_files_begins_no_comment():
    assert not property_of("comment")("ls docs/* */*").any()
    assert property_of("comment")("int x; /* one").sum() == len("/* one")


def test_long_strings_and_comments_of_c_reach_over_paragraphs():
    assert property_of("quotes")('"""one\n\ntwo""" three').sum() == len('"""one\n\ntwo""')
    assert property_of("comment")("/* one\n\ntwo */ three").sum() == len("/* one\n\ntwo *")


def test_strings_and_comments_of_python_are_those_of_its_tokenizer():
    text = inspect.getsource(csv)  # which has no f-strings, that some versions of Python take apart
    starts = np.cumsum([0, *map(len, text.splitlines(keepends=True))])
    expected = {"quotes": np.zeros(len(text), bool), "comment": np.zeros(len(text), bool)}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        begin, end = (starts[line - 1] + column for line, column in (token.start, token.end))
        if token.type == tokenize.STRING:
            begin += min(token.string.find(quote) % len(token.string) for quote in "'\"")  # behind its prefix
            expected["quotes"][begin : end - 1] = True
        elif token.type == tokenize.COMMENT:
            expected["comment"][begin:end] = True
    for name, labels in expected.items():
        assert (property_of(name)(text) == labels).mean() > 0.995


@pytest.mark.parametrize("begin", [150, 1000, 40_000])
def test_part_of_a_program_may_begin_in_a_long_string(begin):
    text = inspect.getsource(argparse)
    labels = property_of("quotes")(text)
    begin += int(labels[begin:].argmax()) + 5
    assert labels[begin]
    for name in ("quotes", "comment"):
        whole = property_of(name)(text)[begin : begin + 30_000]
        assert (property_of(name)(text[begin : begin + 30_000]) == whole).mean() > 0.99


def test_a_long_string_that_the_text_ends_in_is_open_to_the_end():
    assert property_of("quotes")('x = """one "two"\n\nthree').tolist() == [False] * 4 + [True] * 19


def test_the_position_counts_from_the_line_break():
    assert numbers("line-position", "ab\n\nc") == [1, 2, 0, 0, 1]


def test_the_indentation_is_known_as_far_as_it_was_read():
    assert numbers("indentation", "  a b\n\tc\n \nd\n \t ") == [1, 2, 2, 2, 2, 0, 8, 8, 0, 1, 0, 0, 0, 1, 9, 10]


def test_an_expression_matches_at_every_line():
    assert marks("^[A-Z]+:$", "A:\nb:\nC: c\nD:") == "^^" + " " * 9 + "^^"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("quote(", r"'quote\(' is neither a property nor a regular expression \(missing \), .*did you mean quotes\?"),
        ("[", r"'\[' is neither a property nor a regular expression \(unterminated .*give one of quotes, .*, word-end"),
    ],
)
def test_an_invalid_expression_is_an_error(name, message):
    with pytest.raises(ConfigError, match=message):
        property_of(name)


def test_an_expression_that_never_matches_is_an_error():
    with pytest.raises(
        ConfigError, match=r"^the pattern 'qutoes' matches no character of the text \(did you mean quotes\?\)$"
    ):
        property_of("qutoes")("a text")
    with pytest.raises(ConfigError, match=r"^the pattern 'z\*' matches no character of the text$"):
        property_of("z*")("a text")


@pytest.mark.parametrize("name", PROPERTIES)
def test_a_text_may_be_empty(name):
    assert property_of(name)("").shape == (0,)


def test_the_page_on_neurons_lists_the_properties():
    page = (ROOT / "docs" / "neurons.md").read_text(encoding="utf-8")
    listed = [f"| `{name}` | {each.what} |" for name, each in PROPERTIES.items()]
    assert [line for line in page.splitlines() if line in listed] == listed
