"""Scoring lines: what each line is scored from and up to, and that no line knows of those beside it."""

import math
import os
import signal
from dataclasses import replace
from itertools import count, islice, repeat

import numpy as np
import pytest
from fixtures_memory import by_hand, in_documents, loss_of, memory_model, text_of
from hypothesis import given
from hypothesis import strategies as st

from charrnn.api import LanguageModel
from charrnn.checkpoint import Checkpoint
from charrnn.config import CELL_NAMES, ModelConfig, TextConfig, TrainConfig
from charrnn.data.corpus import Source
from charrnn.data.text import END
from charrnn.data.vocab import Vocab
from charrnn.errors import MAY_PASS, CharRNNError, ConfigError, CorpusError, VocabError
from charrnn.evaluation import packing, scoring, whole
from charrnn.evaluation.scoring import Scored, in_blocks
from charrnn.nn import model
from charrnn.parallel.workers import Remote, Workers

posix = pytest.mark.skipif(os.name != "posix", reason="needs processes that share memory")

PLAIN = Vocab("\nabcde")
VOCABS = {
    "plain": PLAIN,
    "documents": Vocab("\nabcde", specials=("end",)),
    "no line ends": Vocab("abcde"),
    "unknown symbol": Vocab("\nabcde", specials=("unknown",)),
    "all specials": Vocab("abcde", specials=("end", "unknown")),
    "bytes": Vocab("".join(map(chr, range(256))), kind="bytes"),
    "in a form": Vocab("\nabcdeä", normalize="NFC", lowercase=True),
}
LINES = ["", "a", "b", "x", "ab", "xx", "axb", "edcba" * 9, "A\u0308aB", "\udcffa\0", "é", "e" * 70, "abcde", "a\nb"]


def language_model(vocab=PLAIN, seed=1, **settings):
    """Return a model with random weights large enough that what was read before matters."""
    config = ModelConfig(vocab.size, **{"hidden_size": 6, "dtype": "float64", **settings})
    params = model.init_params(config, np.random.default_rng(seed))
    params["embed.W_e" if config.tied else "out.W_hy"] *= 5
    text_config = TextConfig(split_documents="lines" if vocab.end is not None else None)
    train, source = TrainConfig(steps=1, seed=1), Source(None, "00" * 32)
    return LanguageModel(Checkpoint(config, train, vocab, params, 0, source, text_config=text_config))


def expected(lm, line):
    """Return chars, log-probability and unknown of a line, and each character's bits, from one forward pass."""
    vocab = lm.checkpoint.vocab
    mark = [vocab.end] if vocab.end is not None else vocab.encode("\n").tolist() if "\n" in vocab.symbols else []
    context, text, end = (line[0], line[1], []) if isinstance(line, tuple) else ("", line, mark)
    head, known = mark + vocab.encode(context, "skip").tolist(), [vocab.encode(c, "skip") for c in vocab.in_form(text)]
    if vocab.kind == "bytes":
        known = [[id_] for id_ in vocab.encode(text)]
    ids = [*head, *(id_ for own in known for id_ in own), *end]
    unknown = sum(len(own) == 0 or own[0] == vocab.unknown for own in known)
    if not any(map(len, known)) or len(ids) < 2:
        return 0, None, unknown, [None] * (len(known) + len(end))
    logits, _, _ = model.forward(lm.weights, np.array(ids)[:-1, None], model.zero_state(lm.checkpoint.model_config, 1))
    log_p = logits[:, 0] - np.log(np.exp(logits[:, 0]).sum(axis=-1, keepdims=True))
    scored = [None, *log_p[np.arange(len(ids) - 1), ids[1:]].tolist()][len(head) :]
    each = iter(scored)
    per_char = [next(each) if len(own) else None for own in [*known, *([id_] for id_ in end)]]
    known_probs = [log_prob for log_prob in scored if log_prob is not None]
    return len(known_probs), sum(known_probs), unknown, [None if p is None else -p / math.log(2) for p in per_char]


def assert_scored(lm, lines):
    """Assert that each line has its own figures, with and without the bits of its characters."""
    plain, detailed = list(lm.score(lines)), list(lm.score(lines, per_char=True))
    for line, found, detail in zip(lines, plain, detailed, strict=True):
        chars, logprob, unknown, per_char = expected(lm, line)
        assert found == (line if isinstance(line, str) else line[1], chars, pytest.approx(logprob), unknown, None), line
        assert detail[:4] == found[:4]
        assert list(detail.bits) == [bit if bit is None else pytest.approx(bit) for bit in per_char], line
        assert found.bpc == (None if logprob is None else pytest.approx(-logprob / math.log(2) / chars))


@pytest.mark.parametrize("name", VOCABS)
def test_a_line_is_scored_by_itself_from_its_beginning_to_its_end(name):
    assert_scored(language_model(VOCABS[name]), LINES)


@pytest.mark.parametrize("name", VOCABS)
def test_after_a_context_the_text_alone_is_scored(name):
    contexts = ("", "a", "x", "abc", "axe")
    assert_scored(language_model(VOCABS[name]), [*LINES, *((context, line) for line in LINES for context in contexts)])


@pytest.mark.parametrize("settings", [*({"cell": cell} for cell in CELL_NAMES), {"embed_size": 3, "tied": True}])
def test_every_model_scores_lines(settings):
    assert_scored(language_model(num_layers=2, **settings), LINES)


@given(
    st.lists(st.text("ab\nxé\0", max_size=70), max_size=20), st.sampled_from(sorted(VOCABS)), st.sampled_from([1, 2, 5])
)
def test_neither_the_lines_beside_it_nor_the_batch_rows_matter(lines, name, rows):
    lm = language_model(VOCABS[name])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "ROWS", rows)
        patch.setattr(scoring, "BLOCK", 50)
        patch.setattr(scoring, "_WINDOW", 9)
        together = list(lm.score(lines))
    alone = [found for line in lines for found in lm.score([line])]
    assert together == [
        own._replace(logprob=None if own.logprob is None else pytest.approx(own.logprob, rel=1e-9)) for own in alone
    ]


def test_rows_end_one_after_the_other(monkeypatch):
    monkeypatch.setattr(scoring, "_WINDOW", 60)
    assert_scored(language_model(), ["abc" * size for size in range(20)])


def test_in_single_precision_the_batch_changes_less_than_the_fifth_place():
    lm, rng = language_model(hidden_size=20, dtype="float32"), np.random.default_rng(4)
    lines = ["".join(rng.choice(list("abcde"), size)) for size in rng.integers(1, 300, 400)]
    together = list(lm.score(lines))
    for line, found in list(zip(lines, together, strict=True))[::20]:
        assert found.bpc == pytest.approx(next(lm.score([line])).bpc, abs=1e-5)


@pytest.mark.parametrize("name", ["documents", "all specials"])
def test_lines_that_are_documents_add_up_to_their_evaluation(name):
    lm = language_model(VOCABS[name])
    lines = [line for line in LINES if set(line) & set("abcde") and "\n" not in line]
    whole, scored = lm.evaluate("\n".join(lines)), list(lm.score(lines))
    assert sum(found.chars for found in scored) == whole.chars
    assert sum(found.unknown for found in scored) == whole.unknown > 0
    assert -sum(found.logprob for found in scored) / whole.chars == pytest.approx(whole.nats_per_char)


def test_a_line_is_that_of_a_text_with_a_line_end_before_it():
    lm, line = language_model(), "abcde" * 999
    found, whole = next(lm.score([line])), lm.evaluate(f"\n{line}\n")
    assert found.chars == whole.chars == len(line) + 1
    assert found.bpc == pytest.approx(whole.bpc)


def test_sums_are_in_double_precision():
    (found,) = language_model(dtype="float32").score(["abcde" * 999], per_char=True)
    assert found.logprob == pytest.approx(-math.fsum(found.bits) * math.log(2), rel=1e-12)


@pytest.mark.parametrize("kind", ["documents", "bytes"])
def test_a_target_is_scored_with_its_end_after_a_tab(kind):
    vocab = Vocab("\tabc", specials=("end",)) if kind == "documents" else replace(VOCABS["bytes"], specials=("end",))
    lm = language_model(vocab)
    saved = replace(lm.checkpoint, text_config=TextConfig(split_documents="lines", context=True))
    for source, target in (("ab", "cab"), ("", "a"), ("c", "")):
        (found,) = LanguageModel(saved).score([(source, target)], per_char=True)
        (whole,) = lm.score([f"{source}\t{target}"], per_char=True)
        assert found.text == target
        assert found.chars == (len(target) + 1 if target else 0)
        if target:
            assert list(found.bits) == [pytest.approx(bit) for bit in whole.bits[len(source) + 1 :]]


def test_what_follows_a_context_adds_up():
    lm = language_model()
    whole, first, second = lm.score([("ab", "cde"), ("ab", "c"), ("abc", "de")])
    assert whole.chars == 3
    assert whole.logprob == pytest.approx(first.logprob + second.logprob)


MANY = ["edcba" * (number % 9 + 1) + "ab" * number for number in range(60)]


@posix
@pytest.mark.parametrize("vocab", ["plain", "documents"])
def test_the_number_of_processes_changes_no_bit(monkeypatch, vocab):
    monkeypatch.setattr(whole, "_WORTH_SHARING", 1)
    monkeypatch.setattr(scoring, "_PART", 300)
    monkeypatch.setattr(scoring, "BLOCK", 2000)
    lm, started = language_model(VOCABS[vocab], hidden_size=20, dtype="float32"), []
    enter = Remote.__enter__
    monkeypatch.setattr(Remote, "__enter__", lambda self: started.append(self) or enter(self))
    alone = list(lm.score(MANY, per_char=True, threads=1))
    assert not started
    for threads in (2, 3):
        assert list(lm.score(MANY, per_char=True, threads=threads)) == alone
    assert len(started) == 5


def test_where_others_cannot_help_threads_score(monkeypatch):
    monkeypatch.setattr(whole, "_WORTH_SHARING", 1)
    monkeypatch.setattr(scoring, "_PART", 300)
    monkeypatch.setattr(scoring, "others_can_help", lambda config: False)
    lm = language_model(hidden_size=20, dtype="float32")
    assert list(lm.score(MANY, threads=3)) == list(lm.score(MANY, threads=1))


@posix
def test_a_process_that_is_killed_is_one_error_after_the_blocks_before_it(monkeypatch):
    monkeypatch.setattr(whole, "_WORTH_SHARING", 1)
    lm, others = language_model(), []
    enter = Remote.__enter__
    monkeypatch.setattr(Remote, "__enter__", lambda self: others.append(self) or enter(self))
    scored = lm.score_blocks((["abc", letter] for letter in "abcde"), threads=2)
    assert [found.text for found in next(scored)] == ["abc", "a"]
    for other in others:
        other._other.kill()
    with pytest.raises(CharRNNError, match=r"a worker process stopped \(ended by SIGKILL\): try again") as caught:
        list(scored)
    assert caught.value.exit_code == MAY_PASS


@posix
def test_no_process_outlives_scores_that_are_not_read_to_the_end(monkeypatch):
    monkeypatch.setattr(whole, "_WORTH_SHARING", 1)
    monkeypatch.setattr(scoring, "_PART", 300)
    others, enter = [], Remote.__enter__
    monkeypatch.setattr(Remote, "__enter__", lambda self: others.append(self) or enter(self))
    scored = language_model().score_blocks(iter([MANY] * 9), threads=2, ahead=True)
    next(scored)
    scored.close()
    assert [other._other._process.returncode for other in others] == [-signal.SIGKILL] * 2


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_in_the_lines_comes_after_the_scores_before_it(monkeypatch, threads):
    monkeypatch.setattr(whole, "_WORTH_SHARING", 1)

    def blocks():
        yield from (["abc"], ["de"], ["b"])
        raise CorpusError("the disk is gone")

    scored, found = language_model().score_blocks(blocks(), threads=threads, ahead=True), []
    with pytest.raises(CorpusError, match="the disk is gone"):
        found.extend(scored)
    assert [[one.text for one in block] for block in found] == [["abc"], ["de"], ["b"]]


@pytest.mark.parametrize("threads", [0, 4097, 1.5, True])
def test_threads_out_of_range_are_refused_at_once(threads):
    with pytest.raises(ConfigError, match="--threads must be "):
        language_model().score(["abc"], threads=threads)


def test_equal_lines_are_read_once(monkeypatch):
    lm, windows = language_model(), []
    score_window = Workers.score
    monkeypatch.setattr(
        Workers, "score", lambda self, window, state: windows.append(window) or score_window(self, window, state)
    )
    found = list(lm.score(["abc", "b", "abc", ("a", "bc"), "abc", ("a", "bc")]))
    assert sum(window.inputs.shape[1] for window in windows) == 3
    assert [own.text for own in found] == ["abc", "b", "abc", "bc", "abc", "bc"]
    assert found[0] == found[2] != found[3] == found[5]


@pytest.mark.parametrize(("threads", "taken_blocks"), [(1, 3), (2, 4), (4, 5)])
def test_lines_are_taken_as_they_are_needed(monkeypatch, threads, taken_blocks):
    monkeypatch.setattr(scoring, "BLOCK", 30)
    monkeypatch.setattr(scoring, "_PART", 7)  # with 2 and 4 threads, 14 and 56 characters are taken ahead
    lm, taken = language_model(), []
    lines = (taken.append(number) or "abcd" for number in count())
    scored = lm.score(lines, threads=threads)
    assert taken == []
    assert len(list(islice(scored, 13))) == 13
    assert len(taken) == 6 * taken_blocks  # six lines in each


def test_a_block_is_scored_before_the_next_is_asked_for():
    lm, asked = language_model(), []

    def blocks():
        for block in (["ab"], [], ["cd", "e"]):
            asked.append(block)
            yield block

    scored = lm.score_blocks(blocks())
    assert [found.text for found in next(scored)] == ["ab"]
    assert len(asked) == 1
    assert next(scored) == []
    assert [found.text for found in next(scored)] == ["cd", "e"]
    assert next(scored, None) is None


def test_nothing_in_nothing_out():
    assert list(language_model().score([])) == []
    assert list(language_model(VOCABS["no line ends"]).score([""])) == [Scored("", 0, None, 0)]


def test_blocks_are_bounded_by_their_characters_and_their_number(monkeypatch):
    monkeypatch.setattr(scoring, "BLOCK", 10)
    assert list(in_blocks(["a" * 25, "b", "cccccccc", "", ("de", "f" * 7), b"g"])) == [
        ["a" * 25],
        ["b", "cccccccc"],
        ["", ("de", "f" * 7)],
        [b"g"],
    ]
    assert [len(block) for block in islice(in_blocks(repeat("")), 3)] == [10, 10, 10]


@pytest.mark.parametrize("sizes", [[], [0], [5], [3] * 128, [7] * 1000, [9999, *[10] * 999], [*range(500)]])
def test_rows_are_filled_evenly(sizes):
    sizes = np.array(sizes, np.intp)
    order, row = packing._assign_rows(sizes)
    assert sorted(order) == list(range(len(sizes)))
    assert (np.diff(row) >= 0).all()
    loads = np.bincount(row, sizes[order])
    assert len(loads) == min(len(sizes), packing.ROWS)
    assert max(loads, default=0) <= max([*sizes, 0]) + sizes.sum() / packing.ROWS


def test_the_row_of_the_longest_line_is_given_the_shortest_of_the_others():
    order, row = packing._assign_rows(sizes := np.array([1000, *[10] * 127, 9, *[5] * 127, 4, *[1] * 127]))
    assert np.bincount(row, sizes[order]).max() == 1006


def test_a_string_is_no_list_of_lines():
    with pytest.raises(ConfigError, match="needs a list of lines"):
        language_model().score("abc")


def test_half_a_surrogate_pair_has_no_bytes():
    with pytest.raises(VocabError, match="surrogate"):
        list(language_model(VOCABS["bytes"]).score([f"a{END}"]))


# With a memory

REPEATING = [text_of(size, seed=3).replace("\n", "a") for size in (900, 200, 1, 30, 700, 61, 60, 400)]


@pytest.mark.parametrize("documents", [False, True])
@pytest.mark.parametrize("memory", [None, 5, 2000])
def test_with_a_memory_each_line_is_scored_as_its_evaluation(documents, memory):
    lm = memory_model(documents=documents, memory=memory)
    plain = list(replace(lm, memory=0).score(REPEATING))
    for line, found, without in zip(REPEATING, lm.score(REPEATING), plain, strict=True):
        alone = lm.evaluate(in_documents(line) if documents else f"\n{line}\n").memory
        assert found.chars == without.chars == alone.chars
        assert -found.logprob / found.chars == pytest.approx(alone.nats_per_char, rel=1e-9)
        assert len(line) == 1 or found.logprob != pytest.approx(without.logprob, rel=1e-6)


def test_a_context_is_remembered():
    lm = memory_model()
    context, line = REPEATING[0], REPEATING[1]
    (found,) = lm.score([(context, line)])
    ids = lm.checkpoint.vocab.encode(f"\n{context}{line}")
    logprob = -loss_of(by_hand(lm, ids)[1][-len(line) :], ids[-len(line) - 1 :]) * len(line)
    assert found.logprob == pytest.approx(logprob, rel=1e-9)
    assert found.chars == len(line)


@pytest.mark.parametrize("memory_from", [None, text_of(500, seed=3)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_with_a_memory_neither_threads_nor_blocks_nor_lines_beside_it_matter(monkeypatch, dtype, memory_from):
    lm = replace(memory_model(dtype=dtype, hidden_size=20), memory_from=memory_from)
    lines = [*REPEATING, *REPEATING[::-1], "abc", ("a" * 70, "abcd" * 20)]
    usual = list(lm.score(lines, per_char=True, threads=1))
    monkeypatch.setattr(scoring, "is_worth_sharing", lambda chars, params: True)
    monkeypatch.setattr(scoring, "_PART", 300)
    monkeypatch.setattr(scoring, "BLOCK", 1000)
    in_parts = [list(lm.score(lines, per_char=True, threads=threads)) for threads in (1, 2, 3)]
    assert in_parts[0] == in_parts[1] == in_parts[2]
    monkeypatch.setattr(packing, "ROWS", 2)
    monkeypatch.setattr(scoring, "_WINDOW", 40)
    alone = [found for line in lines for found in lm.score([line], per_char=True)]
    within = 1e-9 if dtype == "float64" else 1e-5
    for each in (usual, in_parts[0], lm.score(lines, per_char=True)):
        for found, own in zip(each, alone, strict=True):
            assert found.logprob == pytest.approx(own.logprob, rel=within)


def test_what_was_read_before_reaches_every_line():
    lm = memory_model(size=300)
    filled = replace(lm, memory_from=REPEATING[0])
    first = lm.checkpoint.vocab.encode(REPEATING[0])[-301:]
    for line, found in zip(REPEATING, filled.score(REPEATING), strict=True):
        ids = lm.checkpoint.vocab.encode(f"\n{line}\n")
        assert -found.logprob / found.chars == pytest.approx(loss_of(by_hand(lm, ids, first=first)[1], ids), rel=1e-9)


def test_with_a_memory_the_bits_of_characters_add_up():
    for found in memory_model().score(REPEATING, per_char=True):
        assert math.fsum(filter(None, found.bits)) * math.log(2) == pytest.approx(-found.logprob)
