"""The map of the symbols: their classes, their names, and two dimensions that keep their distances."""

import numpy as np
import pytest

from charrnn.data.vocab import Vocab
from charrnn.insight.symbols import CLASSES, classes_of, names_of, symbol_map


def test_each_symbol_has_a_class():
    text = "aß AÉǅ 字א٣7½ \t\u00a0\n\r.,“$+€ \u0301\x00😀"
    vocab = Vocab("".join(sorted(set(text))), specials=("end", "unknown"))
    found = {name: "" for name in CLASSES}
    for symbol, kind in zip([*vocab.symbols, "E", "U"], classes_of(vocab), strict=True):
        found[CLASSES[kind]] += symbol
    assert found == {
        "lower-case letters": "aß",
        "upper-case letters": "AÉǅ",
        "letters without case": "א字",
        "digits": "7½٣",
        "spaces": "\t \u00a0",
        "line ends": "\n\r",
        "punctuation and signs": "$+,.“€😀",
        "bytes of non-ASCII characters": "",
        "others": "\x00\u0301",
        "document ends": "E",
        "unknown characters": "U",
    }


def test_bytes_above_127_are_parts_of_characters():
    vocab = Vocab("".join(map(chr, range(256))), kind="bytes")
    kinds = [CLASSES[kind] for kind in classes_of(vocab)]
    assert set(kinds[128:]) == {"bytes of non-ASCII characters"}
    assert "bytes of non-ASCII characters" not in kinds[:128]
    names = names_of(vocab)
    assert (names[10], names[32], names[65], names[127], names[200]) == (r"\n", "␣", "A", r"\x7f", "0xc8")


def test_names_can_be_seen():
    vocab = Vocab("\n a\u0301א字", specials=("end",))
    assert names_of(vocab) == [r"\n", "␣", "a", "\u25cc\u0301", "א", "字", "<end>"]


def distances(points):
    return np.linalg.norm(points[:, None] - points[None], axis=-1)


@pytest.mark.parametrize("embedded", [True, False])
def test_symbols_in_a_plane_keep_their_distances(embedded):
    rng = np.random.default_rng(1)
    flat, directions = rng.standard_normal((6, 2)), np.linalg.qr(rng.standard_normal((5, 2)))[0]
    rows = flat @ directions.T + 3
    vocab = Vocab("abcde", counts=(1, 5, 2, 4, 3), specials=("end",))
    noise = rng.standard_normal((5, 6))
    params = {"embed.W_e": rows, "out.W_hy": noise} if embedded else {"layer0.W_xh": noise.T, "out.W_hy": rows.T}
    found = symbol_map(params, vocab)
    assert found.rows == ("embed.W_e" if embedded else "out.W_hy")
    assert found.ids.tolist() == [1, 3, 4, 2, 0]  # by frequency, and without the mark
    assert np.allclose(distances(found.points), distances(flat[found.ids]))
    assert found.explained.sum() == pytest.approx(1)
    assert found.explained[0] >= found.explained[1]
    assert np.allclose(found.points.mean(axis=0), 0)


def test_rare_symbols_and_those_that_never_occur_are_left_out():
    params = {"out.W_hy": np.random.default_rng(1).standard_normal((3, 4))}
    assert symbol_map(params, Vocab("abcd", counts=(0, 1, 3, 2))).ids.tolist() == [2, 3, 1]
    assert symbol_map(params, Vocab("abcd", counts=(9, 1, 3, 2)), most=2).ids.tolist() == [0, 2]
    assert symbol_map(params, Vocab("abcd")).ids.tolist() == [0, 1, 2, 3]  # not counted


@pytest.mark.parametrize("seed", range(6))
def test_the_map_is_the_same_whatever_the_signs_of_the_components(seed):
    rows = np.random.default_rng(seed).standard_normal((7, 7))
    found = symbol_map({"embed.W_e": rows}, Vocab("abcdefg"))
    centred = rows - rows.mean(axis=0)
    _, _, directions = np.linalg.svd(centred)
    assert np.allclose(np.abs(found.points), np.abs(centred @ directions[:2].T))
    largest = found.points.T @ centred  # of each component, its direction but for the length
    assert (largest[[0, 1], np.abs(largest).argmax(axis=1)] > 0).all()


def test_two_symbols_lie_on_a_line():
    found = symbol_map({"embed.W_e": np.array([[1.0], [3.0]])}, Vocab("ab"))
    assert np.allclose(np.abs(found.points), [[1, 0], [1, 0]])
    assert np.allclose(found.explained, [1, 0])
