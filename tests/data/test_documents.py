"""Documents: the same ones wherever the pieces end."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.config import TextConfig
from charrnn.data.documents import drop_empty_documents, split_documents
from charrnn.data.text import END

from ._material import pieces, scanned, sizes


def documents(text, sizes, **settings):
    """Return the documents that a text is split into."""
    config = TextConfig(**settings)
    whole = "".join(drop_empty_documents(split_documents(pieces(text, sizes), config), config))
    assert END * 2 not in whole
    assert whole[0] == whole[-1] == END
    return whole.split(END)[1:-1] if len(whole) > 1 else []


plain = st.text(st.sampled_from("ab \t\r\n\f\u3000"), max_size=20)


@given(plain, sizes)
def test_lines_are_documents(text, sizes):
    lines = re.split("[\r\n]", text)
    assert documents(text, sizes, split_documents="lines") == [line for line in lines if line.strip()]
    assert documents(text, sizes, split_documents="lines", document_rules=1) == [line for line in lines if line]


def split_at_blank_lines(text, blanks):
    """Return the documents between lines that have only these characters."""
    found, lines = [""], re.split("(\r\n|\r|\n)", text)
    for line, end in zip(lines[::2], [*lines[1::2], ""], strict=True):
        if not line.strip(blanks):
            found.append("")
        else:
            found[-1] += line + end
    return [re.sub("(\r\n|\r|\n)$", "", document) for document in found if document]


@given(plain, sizes)
@example("a\r\nb", [1])
@example("\n\na\n \nb\n", [1])
def test_blank_lines_split_documents(text, sizes):
    assert documents(text, sizes, split_documents="blank-lines") == split_at_blank_lines(text, None)


@given(plain, sizes)
def test_before_blank_lines_had_only_spaces_and_tabs(text, sizes):
    found = documents(text, sizes, split_documents="blank-lines", document_rules=1)
    assert found == split_at_blank_lines(text, " \t")


def test_in_bytes_only_white_space_of_ascii_is_blank():
    text = "a\n\xa0\nb\n\f\nc"
    assert documents(text, [2], split_documents="blank-lines", bytes=True) == ["a\n\xa0\nb", "c"]
    assert documents(text, [2], split_documents="blank-lines") == ["a", "b", "c"]


@given(st.text(st.sampled_from("ab<|> \r\n\t"), max_size=30), sizes, st.sampled_from(["<|>", "aa", "b", "ab<|>ab"]))
@example("a\n<|>\n\n <|>\n  b  \n<|>\n", [1], "<|>")
def test_a_separator_splits_documents_and_takes_the_blank_lines_around_it_along(text, sizes, separator):
    found = documents(text, sizes, separator=separator)
    assert [document.strip() for document in found] == [part.strip() for part in text.split(separator) if part.strip()]
    for document in found:
        assert re.match(r"[ \t]*[^ \t\r\n]", document)  # the spaces before its first word are its own
        assert re.search(r"[^ \t\r\n][ \t]*\Z", document)


def test_spaces_of_the_first_and_the_last_line_stay():
    assert documents("  a  \n\n%\n\n\n  b\n\n c%d %", [3], separator="%") == ["  a  ", "  b\n\n c", "d "]


@given(st.text(st.sampled_from("ab<|>\n "), max_size=20), sizes, st.sampled_from(["<|>", "aa", "b", "ab<|>ab"]))
def test_before_a_separator_was_all_that_was_removed(text, sizes, separator):
    assert documents(text, sizes, separator=separator, document_rules=1) == [*filter(None, text.split(separator))]


def test_a_separator_after_the_last_document_ends_it():
    text = "".join(f"Document {number}.<|endoftext|>\n" for number in range(400))
    assert documents(text, [999], separator="<|endoftext|>") == [f"Document {number}." for number in range(400)]


def test_a_separator_has_escapes_and_in_bytes_its_own_bytes():
    assert documents("a\t\\tb", [2], separator=r"\t") == ["a", r"\tb"]
    assert documents("a\t\\tb", [2], separator=r"\\t") == ["a\t", "b"]
    assert documents("aé b".encode().decode("latin-1"), [2], separator="é", bytes=True) == ["a", " b"]


def test_a_file_is_a_document_as_it_is():
    assert documents("\na\n\nb\n", [2], split_documents="files") == ["\na\n\nb\n"]
    assert documents("\n \n", [2], split_documents="files") == []


@pytest.mark.parametrize("run", ["\n" * 9, " " * 9, "\n \t\r\n"], ids=repr)
@pytest.mark.parametrize("settings", [{"split_documents": "blank-lines"}, {"separator": "%"}], ids=str)
def test_the_work_for_blank_lines_grows_with_their_number(run, settings):
    some, twice = scanned(lambda pieces: split_documents(pieces, TextConfig(**settings)), run)
    assert twice <= 2 * some


@given(st.lists(st.sampled_from(["\n", "\r", " ", "\t", "\r\n", "a", "%", "\u3000"]), max_size=200), sizes)
def test_long_runs_of_blanks_are_split_wherever_the_pieces_end(parts, sizes):
    text = "".join(parts)
    for settings in ({"split_documents": "blank-lines"}, {"separator": "%"}):
        assert documents(text, sizes, **settings) == documents(text, [len(text) + 1], **settings)
