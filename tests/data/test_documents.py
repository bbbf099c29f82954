"""Documents: the same ones wherever the pieces end."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.data.documents import drop_empty_documents, split_documents
from charrnn.data.text import END

from ._material import pieces, scanned, sizes


def documents(text, way, sizes):
    """Return the documents that a text is split into."""
    whole = "".join(drop_empty_documents(split_documents(pieces(text, sizes), way)))
    assert END * 2 not in whole
    assert whole[0] == whole[-1] == END
    return whole.split(END)[1:-1] if len(whole) > 1 else []


plain = st.text(st.sampled_from("ab \t\r\n"), max_size=20)


@given(plain, sizes)
def test_lines_are_documents(text, sizes):
    assert documents(text, "lines", sizes) == [line for line in re.split("[\r\n]", text) if line]


@given(plain, sizes)
@example("a\r\nb", [1])
@example("\n\na\n \nb\n", [1])
def test_blank_lines_split_documents(text, sizes):
    expected, lines = [""], re.split("(\r\n|\r|\n)", text)
    for line, end in zip(lines[::2], [*lines[1::2], ""], strict=True):
        if not line.strip(" \t"):
            expected.append("")
        else:
            expected[-1] += line + end
    expected = [re.sub("(\r\n|\r|\n)$", "", document) for document in expected if document]
    assert documents(text, "blank-lines", sizes) == expected


@given(st.text(st.sampled_from("ab<|>"), max_size=20), sizes, st.sampled_from(["<|>", "aa", "b", "ab<|>ab"]))
def test_a_separator_splits_documents(text, sizes, separator):
    assert documents(text, separator, sizes) == [part for part in text.split(separator) if part]


def test_a_file_is_a_document_as_it_is():
    assert documents("\na\n\nb\n", "files", [2]) == ["\na\n\nb\n"]


@pytest.mark.parametrize("run", ["\n" * 9, " " * 9, "\n \t\r\n"], ids=repr)
def test_the_work_for_blank_lines_grows_with_their_number(run):
    some, twice = scanned(lambda pieces: split_documents(pieces, "blank-lines"), run)
    assert twice <= 2 * some


@given(st.lists(st.sampled_from(["\n", "\r", " ", "\t", "\r\n", "a"]), max_size=200), sizes)
def test_long_runs_of_blanks_are_split_wherever_the_pieces_end(parts, sizes):
    text = "".join(parts)
    assert documents(text, "blank-lines", sizes) == documents(text, "blank-lines", [len(text) + 1])
