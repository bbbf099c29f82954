"""Decoding: the same text wherever the pieces end, and refusals that name the place."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.data.decoding import LineCodec, bytes_as_characters, decode_pieces

from ._material import pieces, refusal, sizes, some_text


@given(some_text, sizes, st.sampled_from(["utf-8", "utf-16", "utf-16-le", "utf-32", "gb18030"]))
@example("\ufeff\ufeffa", [1], "utf-8")
def test_pieces_are_decoded_as_the_whole(text, sizes, encoding):
    text = text.replace("\0", "")
    if encoding != "utf-8" or text.startswith("\ufeff"):
        text = text.lstrip("\ufeff")
    assert "".join(decode_pieces("x", pieces(text.encode(encoding), sizes), encoding)) == text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_one_byte_order_mark_at_the_beginning_is_dropped(encoding):
    data = "\ufeffone \ufeffmark".encode(encoding)
    if encoding == "utf-8-sig":
        data = data[3:]
    assert "".join(decode_pieces("x", [data[:2], data[2:]], encoding)) == "one \ufeffmark"


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
        message = refusal(decode_pieces, "here", pieces(data, sizes), encoding)
        assert message.startswith("here is not ")
        assert f"byte 0x{bad[:1].hex()} at offset {at}; " in message


@given(sizes)
def test_a_nul_byte_is_named_by_its_place(sizes):
    for encoding, at in (("utf-8", 5), ("utf-8-sig", 8), ("utf-16", 6), ("utf-16-be", 4), ("utf-32", 12)):
        data = "é水\0é".encode(encoding)
        message = refusal(decode_pieces, "here", pieces(data, sizes), encoding)
        assert message.startswith(f"here has a NUL byte at offset {at},"), encoding


@pytest.mark.parametrize(
    ("encoding", "reason"),
    [
        ("utf-16", "UTF-16: UTF-16 stream does not start with BOM"),
        ("undefined", "UNDEFINED: undefined encoding"),
        ("punycode", "PUNYCODE: "),
    ],
)
def test_errors_about_the_whole_text_are_reported(encoding, reason):
    assert refusal(decode_pieces, "here", [b"a\0b-\n\0"], encoding).startswith(f"here is not {reason}")


def test_an_encoding_that_yields_half_a_surrogate_pair_makes_no_marks():
    for encoded in (b"+2AA-", b"+2D0-", b"+3AA-"):
        assert "a lone surrogate at offset 3," in refusal(decode_pieces, "here", [b"abc" + encoded], "utf-7")


@given(st.binary(), sizes)
def test_bytes_are_characters_of_the_same_numbers(data, sizes):
    assert list(map(ord, "".join(bytes_as_characters(pieces(data, sizes))))) == list(data)


@given(st.binary(), st.sampled_from(["utf-8", "latin-1"]), st.sampled_from(["", "\ufeff", "\r"]))
@example(b"\xef\xbb\xbfa\r", "utf-8", "")
@example(b"\xef\xbb\xbf\r", "utf-8", "")
def test_a_line_is_encoded_as_it_was(line, encoding, known):
    codec = LineCodec(encoding, known)
    assert codec.encode(codec.decode(line), line) == line


def test_what_takes_the_place_of_a_line_has_its_mark_and_its_end():
    assert LineCodec("utf-8").encode("\u00e9", b"\xef\xbb\xbfa\r") == b"\xef\xbb\xbf\xc3\xa9\r"
    assert LineCodec("latin-1").encode("\u00e9") == b"\xe9"
    assert LineCodec("utf-16").encode("\u00e9", b"a\r") == b"\xc3\xa9\r"
