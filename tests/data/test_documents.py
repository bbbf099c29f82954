"""From bytes to documents: whatever the borders of pieces, the same characters, and refusals that name the place."""

import csv
import io
import json
import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.data import documents as prepare
from charrnn.data.documents import as_bytes, decoded, formed, gathered, in_form, marked, parted, records, unescaped
from charrnn.data.text import END
from charrnn.errors import CorpusError


def pieces(whole, sizes):
    """Return the whole in pieces of these sizes, over and over."""
    found, at = [], 0
    while at < len(whole):
        found.append(whole[at : at + sizes[len(found) % len(sizes)]])
        at += len(found[-1])
    return found


sizes = st.lists(st.integers(1, 5), min_size=1, max_size=5)
some_text = st.text(st.sampled_from("ab \n\r\t-é\u0301水😀ΑΣσ\ufeff") | st.characters(exclude_categories=["Cs"]))


def refusal(call, *args):
    with pytest.raises(CorpusError) as caught:
        "".join(call(*args))
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Bytes to characters


@given(some_text, sizes, st.sampled_from(["utf-8", "utf-16", "utf-16-le", "utf-32", "gb18030"]))
@example("\ufeff\ufeffa", [1], "utf-8")
def test_pieces_are_decoded_as_the_whole(text, sizes, encoding):
    text = text.replace("\0", "")
    if encoding != "utf-8" or text.startswith("\ufeff"):
        text = text.lstrip("\ufeff")
    assert "".join(decoded("x", pieces(text.encode(encoding), sizes), encoding)) == text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_one_byte_order_mark_at_the_beginning_is_no_part_of_the_text(encoding):
    data = "\ufeffone \ufeffmark".encode(encoding)
    if encoding == "utf-8-sig":
        data = data[3:]
    assert "".join(decoded("x", [data[:2], data[2:]], encoding)) == "one \ufeffmark"


@given(sizes)
def test_a_byte_that_is_no_character_is_named_by_its_place(sizes):
    for encoding, good, bad, at in (
        ("utf-8", "é水" * 7, b"\xff", 35),
        ("utf-8", "é水" * 7, b"\xe6\xb0", 35),
        ("ascii", "abc", b"\xe9abc", 3),
        ("cp1252", "é" * 9, b"\x81", 9),
        ("utf-16-le", "é水" * 4, b"\x00\xdc", 16),
        ("utf-8-sig", "é水" * 7, b"\xff", 38),
    ):
        data = good.encode(encoding) + bad
        message = refusal(decoded, "here", pieces(data, sizes), encoding)
        assert message.startswith("here is not ")
        assert f"byte 0x{bad[:1].hex()} at offset {at}; convert it" in message


@given(sizes)
def test_a_nul_byte_is_named_by_its_place(sizes):
    for encoding, at in (("utf-8", 5), ("utf-8-sig", 8), ("utf-16", 6), ("utf-16-be", 4), ("utf-32", 12)):
        data = "é水\0é".encode(encoding)
        message = refusal(decoded, "here", pieces(data, sizes), encoding)
        assert message.startswith(f"here has a NUL byte at offset {at},"), encoding


@pytest.mark.parametrize(
    ("encoding", "reason"),
    [
        ("utf-16", "UTF-16: UTF-16 stream does not start with BOM"),
        ("undefined", "UNDEFINED: undefined encoding"),
        ("punycode", "PUNYCODE: "),
    ],
)
def test_what_an_encoding_refuses_as_a_whole_is_told(encoding, reason):
    assert refusal(decoded, "here", [b"a\0b-\n\0"], encoding).startswith(f"here is not {reason}")


def test_an_encoding_that_yields_half_a_surrogate_pair_makes_no_marks():
    for encoded in (b"+2AA-", b"+2D0-", b"+3AA-"):
        assert "a lone surrogate at offset 3," in refusal(decoded, "here", [b"abc" + encoded], "utf-7")


@given(st.binary(), sizes)
def test_bytes_are_characters_of_the_same_numbers(data, sizes):
    assert list(map(ord, "".join(as_bytes(pieces(data, sizes))))) == list(data)


# Forms

joining = st.text(
    st.sampled_from("ae\u0301\u0323\u0300가각\u1100\u1161\u11a8ㅏ\uff76\uff9eﬁΣς A\u09c7\u09be"), max_size=12
)


@given(joining | some_text, sizes, st.sampled_from(["none", "NFC", "NFKC"]), st.booleans())
@example("\u1100\u1161\u11a8", [1], "NFC", False)  # letters of which three make one, though none is a combining one
@example("\u09c7\u09be", [1], "NFKC", True)
def test_pieces_are_brought_into_the_form_of_the_whole(text, sizes, normalize, lowercase):
    whole = in_form(text, normalize, lowercase)
    assert "".join(formed(pieces(text, sizes), normalize, lowercase)) == whole
    assert in_form(whole, normalize, lowercase) == whole or normalize == "none"
    if normalize != "none":
        assert unicodedata.is_normalized(normalize, whole)


def test_forms():
    assert in_form("E\u0301ﬁ Σ", "none", False) == "E\u0301ﬁ Σ"
    assert in_form("E\u0301ﬁ", "NFC", False) == "Éﬁ"
    assert in_form("E\u0301ﬁ", "NFKC", True) == "éfi"
    assert in_form("ΟΔΟΣ ὀδός", "none", True) == "οδοσ ὀδός"


# Documents


def documents(text, way, sizes):
    """Return the documents that a text is parted into."""
    whole = "".join(marked(parted(pieces(text, sizes), way)))
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
def test_blank_lines_part_documents(text, sizes):
    expected, lines = [""], re.split("(\r\n|\r|\n)", text)
    for line, end in zip(lines[::2], [*lines[1::2], ""], strict=True):
        if not line.strip(" \t"):
            expected.append("")
        else:
            expected[-1] += line + end
    expected = [re.sub("(\r\n|\r|\n)$", "", document) for document in expected if document]
    assert documents(text, "blank-lines", sizes) == expected


@given(st.text(st.sampled_from("ab<|>"), max_size=20), sizes, st.sampled_from(["<|>", "aa", "b", "ab<|>ab"]))
def test_a_separator_parts_documents(text, sizes, separator):
    assert documents(text, separator, sizes) == [part for part in text.split(separator) if part]


def test_a_file_is_a_document_as_it_is():
    assert documents("\na\n\nb\n", "files", [2]) == ["\na\n\nb\n"]


def test_escapes():
    assert unescaped(r"a\nb\t\\n\u6c34\r\x") == "a\nb\t\\n水\r\\x"


@given(st.lists(some_text), st.integers(1, 9))
def test_gathered_pieces_are_the_same_text(texts, least):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "CHUNK", least)
        found = list(gathered(texts))
    assert "".join(found) == "".join(texts)
    assert all(len(piece) >= least for piece in found[:-1])


# Records


def fields(name, text, field, sizes=(3,)):
    suffix = "." + name.rpartition(".")[2]
    return "".join(marked(records(name, suffix, pieces(text, list(sizes)), field))).split(END)[1:-1]


cells = st.lists(st.tuples(some_text, some_text.filter(bool)), max_size=5)


@given(cells, sizes, st.sampled_from(["csv", "tsv"]))
def test_a_column_is_taken_of_each_row(rows, sizes, suffix):
    rows = [[cell.replace("\0", "") or "x" for cell in row] for row in rows]
    file = io.StringIO()
    csv.writer(file, delimiter="\t" if suffix == "tsv" else ",").writerows([["id", "text"], *rows])
    assert fields(f"x.{suffix}", file.getvalue(), "text", sizes) == [row[1] for row in rows]


@given(cells, sizes, st.booleans())
def test_a_field_is_taken_of_each_line_of_json(rows, sizes, ascii_only):
    rows = [(a, b.replace("\0", "x")) for a, b in rows]
    lines = [json.dumps({"id": a, "text": b}, ensure_ascii=ascii_only) + "\n" for a, b in rows]
    assert fields("x.jsonl", "\n".join(lines), "text", sizes) == [text for _, text in rows]


def test_long_records_are_no_matter():
    long = "x" * 10_000_000
    assert fields("x.csv", f"text\n{long}\n", "text", [1 << 20]) == [long]
    assert fields("x.jsonl", json.dumps({"text": long}), "text", [1 << 20]) == [long]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("x.csv", "a,b\n1,2\n", "x.csv has no column 'text': it has 'a', 'b'"),
        ("x.csv", "", "x.csv has no column 'text': it has none"),
        ("x.csv", "a,text\n1,2\n3\n", "x.csv, line 3: 1 columns, so 'text' is missing"),
        ("x.csv", 'a,text\n1,"2\n', "x.csv, in the record that begins in line 2: unexpected end of data: mend its"),
        ("x.csv", 'a,text\n1,2\n\n3,"4\n' + "5,6\n" * 9, "x.csv, in the record that begins in line 4: unexpected end"),
        ("x.csv", '"a,text\n1,2\n', "x.csv, in the record that begins in line 1: unexpected end"),
        ("x.csv", "text,a,text\n1,2,3\n", "x.csv has 2 columns 'text': rename all but one"),
        ("x.jsonl", '{"text": "a"}\n{"text": \n', "x.jsonl, line 2 is no JSON (Expecting value"),
        ("x.jsonl", '{"text": "a"}\n\n[1]\n', "x.jsonl, line 3 has no field 'text': it has a list, no object"),
        ("x.jsonl", '{"txt": "a"}', "x.jsonl, line 1 has no field 'text': it has 'txt'"),
        ("x.jsonl", '{"text": null}', "x.jsonl, line 1: 'text' is NoneType, no string"),
        ("x.jsonl", '{"text": "\\ud800"}', "x.jsonl, line 1: 'text' has half a surrogate pair"),
        (
            "x.jsonl",
            '{"text": "a\\u0000"}',
            "x.jsonl, line 1: 'text' has a NUL character, as no text does: leave it out",
        ),
        ("x.jsonl", "[" * 100_000, "x.jsonl, line 1 is no JSON"),
    ],
)
def test_records_that_are_none_are_named_by_line(name, text, words):
    assert words in refusal(fields, name, text, "text")
