"""Repairing lines: the edits made are the best ones by both models, and everything else stays as it is."""

from dataclasses import replace

import numpy as np
import pytest
from fixtures_restoration import model_of

from charrnn import Vocab
from charrnn.api import LanguageModel
from charrnn.errors import ConfigError
from charrnn.restoration import repair
from charrnn.restoration.noise import KINDS, RepairConfig, log_odds
from charrnn.restoration.pair import Pair
from charrnn.restoration.repair import Repairer

VOCABS = {
    "lines": Vocab("\n abcdefox"),
    "documents": Vocab("\n abcdefox", specials=("end", "unknown")),
    "no ends": Vocab(" abcdefox"),
    "in a form": Vocab("\n abcdefox", lowercase=True, normalize="NFC"),
}
LINES = ["a bad fox", "fade to dae", "", "x", "o o o o abc", "fed face, a zoo"]


def pair_of(vocab, **more):
    """Return a pair of random models."""
    return Pair.of(model_of(vocab, 1, 30.0, **more), model_of(replace(vocab, reverse=True), 2, 30.0, **more))


def repairer_of(vocab=VOCABS["lines"], rate=0.4, more=None, **settings):
    return Repairer(pair_of(vocab, **(more or {})), RepairConfig(rate=rate, **settings))


def edited(line, symbols):
    """Yield the kind of each edit of a line that changes it, and the line after it."""
    for at in range(len(line) + 1):
        yield from (("insertion", line[:at] + symbol + line[at:]) for symbol in symbols)
        if at < len(line):
            yield "deletion", line[:at] + line[at + 1 :]
            yield from (("substitution", line[:at] + s + line[at + 1 :]) for s in symbols if s != line[at])
        if at + 1 < len(line) and line[at] != line[at + 1]:
            yield "transposition", line[:at] + line[at + 1] + line[at] + line[at + 2 :]


@pytest.mark.parametrize("vocab", [VOCABS["lines"], VOCABS["documents"]], ids=["lines", "documents"])
@pytest.mark.parametrize("more", [{}, {"cell": "rnn", "attention": 5}], ids=["lstm", "attention"])
def test_the_best_of_all_edits_is_made(vocab, more, monkeypatch):
    """With a reach over the whole line and all edits proposed, the gain is that of the whole line's probability."""
    monkeypatch.setattr(repair, "_PROPOSALS", 10_000)
    monkeypatch.setattr(repair, "_REACH", 100)
    monkeypatch.setattr(repair, "_APART", 200)
    monkeypatch.setattr(repair, "_ROUNDS", 1)
    monkeypatch.setattr("charrnn.restoration.proposals._LEAST", -100.0)
    pair, odds = pair_of(vocab, **more), log_odds(0.4, vocab.entropy)
    line = "a bad fox"
    kinds, texts = zip(*edited(line, " abcdefox"), strict=True)
    scores = sum(
        np.array([one.logprob for one in LanguageModel(each.checkpoint, memory=0).score([line, *texts], threads=1)])
        for each in pair.readers
    )
    gains = (scores[1:] - scores[0]) / 2 + [odds[kind] for kind in kinds]
    (made,) = Repairer(pair, RepairConfig(rate=0.4)).repair([line])
    assert gains.max() > 0
    (edit,) = made.edits
    assert made.text == texts[int(gains.argmax())]
    assert edit.gain == pytest.approx(gains.max(), abs=1e-3)
    assert edit.kind in {kind for kind, text in zip(kinds, texts, strict=True) if text == made.text}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_edit_is_made(kind, monkeypatch):
    """An edit is found if its slip is much more likely than all others."""
    monkeypatch.setattr(repair, "log_odds", lambda *_: {each: 5.0 if each == kind else -1e6 for each in KINDS})
    made = repairer_of().repair(["a bad fox of bread"])[0]
    assert {edit.kind for edit in made.edits} == {kind}
    growth = {"insertion": 1, "deletion": -1}.get(kind, 0) * len(made.edits)
    assert len(made.text) == len(made.line) + growth
    if kind == "transposition":
        assert sorted(made.text) == sorted(made.line)


@pytest.mark.parametrize("vocab", VOCABS.values(), ids=VOCABS)
def test_lines_do_not_change_each_other(vocab):
    repairer = repairer_of(vocab)
    together = repairer.repair(LINES)
    assert any(one.edits for one in together)
    assert together == [repairer.repair([line])[0] for line in LINES]
    assert [one.line for one in together] == LINES
    assert together[2].text == ""


def test_without_a_likely_slip_nothing_changes():
    lines = [*LINES, "a bad fox" * 100]
    assert all(one.text == one.line and not one.edits for one in repairer_of(rate=1e-40).repair(lines))


def test_there_are_no_more_edits_than_asked_for():
    line = "a bad fox of bread " * 8
    (many,) = repairer_of().repair([line])
    (few,) = repairer_of(max_edits=2).repair([line])
    assert len(many.edits) > 2
    assert len(few.edits) == 2


def test_only_words_changes_letters_only():
    line = "a bad, fox; of bread. " * 5
    vocab = Vocab("\n ,.;abcdefor")
    (free,) = repairer_of(vocab).repair([line])
    (made,) = repairer_of(vocab, only_words=True).repair([line])
    assert made.edits
    assert [c for c in made.text if not c.isalpha()] == [c for c in line if not c.isalpha()]
    assert [c for c in free.text if not c.isalpha()] != [c for c in line if not c.isalpha()]


def test_words_with_unknown_characters_stay():
    line = "a bad féx of bézed a bad fox"
    (made,) = repairer_of().repair([line])
    assert made.edits
    assert "féx" in made.text.split()
    assert "bézed" in made.text.split()
    (none,) = repairer_of().repair(["ÄÖÜ"])
    assert none.text == "ÄÖÜ"


def test_capitals_of_a_model_of_small_letters_stay():
    (made,) = repairer_of(VOCABS["in a form"]).repair(["A BAD FOX OF BEADED " * 4])
    assert made.edits
    assert any(edit.kind == "substitution" for edit in made.edits)
    for edit in made.edits:
        if edit.kind in ("substitution", "transposition") and edit.before.isupper():
            assert edit.after.isupper() or edit.after == " "


def test_positions_are_those_of_the_given_line(monkeypatch):
    monkeypatch.setattr(repair, "_PIECE", 5)
    draft = repair._Draft.of("a bad fox", "a bad fox")
    assert [piece.text for piece in draft.pieces] == ["a bad", " fox"]
    draft.make(0, 2, 2, "cd", "insertion", 1.0)  # a cdbad fox
    draft.make(0, 6, 7, "", "deletion", 1.0)  # a cdba fox
    draft.make(1, 1, 3, "of", "transposition", 1.0)  # a cdba ofx
    draft.make(1, 4, 4, "e", "insertion", 1.0)
    assert draft.text == "a cdba ofxe"
    assert [(edit.position, edit.before) for edit in draft.edits] == [(2, ""), (4, "d"), (6, "fo"), (9, "")]


@pytest.mark.parametrize("line", ["a bad fox of bread " * 20, "abcdefox" * 50], ids=["words", "no spaces"])
def test_a_long_line_is_read_in_pieces(line, monkeypatch):
    monkeypatch.setattr(repair, "_PIECE", 40)
    monkeypatch.setattr(repair, "_MARGIN", 16)
    (made,) = repairer_of().repair([line])
    assert {edit.position // 40 for edit in made.edits} >= {*range(len(line) // 40)}
    assert abs(len(made.text) - len(line)) <= len(made.edits)
    assert all(line[edit.position :].startswith(edit.before) for edit in made.edits[:3])  # the first round


def test_only_what_is_near_an_edit_is_read_again(monkeypatch):
    """So a long line takes time in proportion to its length."""
    rounds, edits, make = [], [], Repairer._make

    def counted(self, draft, found):
        before = len(draft.edits)
        make(self, draft, found)
        edits.append(len(draft.edits) - before)

    monkeypatch.setattr(Repairer, "_make", counted)
    groups = Repairer._groups
    monkeypatch.setattr(Repairer, "_groups", lambda self, own: rounds.append(own) or groups(self, own))
    line = "".join(np.random.default_rng(1).choice([*" abcdefox"], 4_000))
    (made,) = repairer_of(rate=1e-12).repair([line])
    assert 0 < len(made.edits) == sum(edits)
    assert len(rounds[0]) > len(line) // repair._PIECE
    assert len(rounds[-1]) < len(rounds[0]) // 2
    for read, made_before in zip(rounds[1:], edits, strict=False):
        assert 0 < len(read) <= 2 * made_before  # the piece of each edit, and one that is close to it


def test_the_memory_for_states_does_not_change_results(monkeypatch):
    expected = repairer_of().repair(LINES)
    monkeypatch.setattr(repair, "_MEMORY", 1)
    monkeypatch.setattr(repair, "_ROWS", 2)
    assert repairer_of().repair(LINES) == expected


def test_one_model_or_bytes_are_refused():
    vocab = VOCABS["lines"]
    with pytest.raises(ConfigError, match="repair reads lines in both directions"):
        Repairer(Pair.of(model_of(vocab, 1)))
    with pytest.raises(ConfigError, match="repair edits characters"):
        Repairer(pair_of(Vocab("".join(map(chr, range(256))), kind="bytes")))


def test_language_models_repair():
    pair = pair_of(VOCABS["lines"])
    forward, backward = (LanguageModel(reader.checkpoint) for reader in pair.readers)
    wanted = Repairer(pair, RepairConfig(0.4, 3, True)).repair(LINES)
    assert any(one.edits for one in wanted)
    assert forward.repair(iter(LINES), backward, rate=0.4, max_edits=3, only_words=True) == wanted
    with pytest.raises(ConfigError, match="repair needs a list of lines"):
        forward.repair("a bad fox", backward)
    with pytest.raises(ConfigError, match="repair needs strings, got 1"):
        forward.repair([1], backward)
