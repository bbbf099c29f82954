"""Normal forms and lower case: the same text wherever the pieces end."""

import unicodedata

from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.data.normalize import normalize_pieces, normalize_text

from ._material import pieces, scanned, sizes, some_text

joining = st.text(
    st.sampled_from("ae\u0301\u0323\u0300가각\u1100\u1161\u11a8ㅏ\uff76\uff9eﬁΣς A\u09c7\u09be"), max_size=12
)


@given(joining | some_text, sizes, st.sampled_from(["none", "NFC", "NFKC"]), st.booleans())
@example("\u1100\u1161\u11a8", [1], "NFC", False)  # letters of which three make one, though none is a combining one
@example("\u09c7\u09be", [1], "NFKC", True)
def test_pieces_are_brought_into_the_form_of_the_whole(text, sizes, normalize, lowercase):
    whole = normalize_text(text, normalize, lowercase)
    assert "".join(normalize_pieces(pieces(text, sizes), normalize, lowercase)) == whole
    assert normalize_text(whole, normalize, lowercase) == whole or normalize == "none"
    if normalize != "none":
        assert unicodedata.is_normalized(normalize, whole)


def test_forms():
    assert normalize_text("E\u0301ﬁ Σ", "none", False) == "E\u0301ﬁ Σ"
    assert normalize_text("E\u0301ﬁ", "NFC", False) == "Éﬁ"
    assert normalize_text("E\u0301ﬁ", "NFKC", True) == "éfi"
    assert normalize_text("ΟΔΟΣ ὀδός", "none", True) == "οδοσ ὀδός"


def test_the_work_for_marks_upon_one_letter_grows_with_their_number():
    some, twice = scanned(lambda pieces: normalize_pieces(pieces, "NFC", False), "\u0301" * 9)
    assert twice <= 2 * some


@given(st.text("a\u0301\u0323\u1100\u1161", max_size=200), sizes)
def test_long_runs_of_marks_are_those_of_the_whole_wherever_the_pieces_end(text, sizes):
    assert "".join(normalize_pieces(pieces(text, sizes), "NFC", False)) == normalize_text(text, "NFC", False)
