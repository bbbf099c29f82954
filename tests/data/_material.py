"""What the tests of reading share: pieces of any sizes, awkward texts, and refusals in one line."""

import pytest
from hypothesis import strategies as st

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
    """Return the one line with which the call, or the reading of what it yields, refuses."""
    with pytest.raises(CorpusError) as caught:
        list(call(*args))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def documents(text):
    """Return the documents of a text."""
    return str(text).split(END)[1:-1]


NAMES = ["anna", "bert", "cleo", "dora", "emil", "franz", "gerda", "hans", "ida", "jan"]
