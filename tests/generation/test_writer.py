"""The writer: from settings to finished samples."""

import codecs
import math
from itertools import islice

import numpy as np
import pytest

from charrnn.config import ModelConfig
from charrnn.data.text import Text
from charrnn.data.vocab import Vocab
from charrnn.errors import CharRNNError, ConfigError, VocabError
from charrnn.generation import writer
from charrnn.generation.ensemble import Ensemble, Member
from charrnn.generation.loop import generate
from charrnn.generation.rules import Rules
from charrnn.generation.sample import StopBuffer
from charrnn.generation.settings import SampleConfig
from charrnn.generation.writer import DrawCounts, Writer
from charrnn.nn import model

SYMBOLS = "\n abcdexyz"


class Marked(Vocab):
    """A vocabulary with an end mark and a symbol for unknown characters."""

    @property
    def end(self):
        return len(self.symbols)

    @property
    def unknown(self):
        return len(self.symbols) + 1


def writer_of(vocab, seed=4):
    """Return a random model's writer, with predictions that depend on the context."""
    config = ModelConfig(vocab.size, cell="gru", hidden_size=8, dtype="float64")
    params = model.init_params(config, np.random.default_rng(seed))
    params["out.W_hy"] *= 6
    return Writer(Ensemble((Member(model.prepare(params, config), config),)), vocab)


@pytest.fixture(scope="module")
def plain():
    return writer_of(Vocab(SYMBOLS, starts=(0, 0, 5, 3, 0, 0, 0, 0, 0, 0)))


@pytest.fixture(scope="module")
def marked():
    return writer_of(Marked(SYMBOLS, specials=("end", "unknown")))


@pytest.fixture(scope="module")
def of_bytes():
    """Return the writer of a model that writes the bytes of 水 and two letters, in any order."""
    writer = writer_of(Vocab("".join(map(chr, range(256))), kind="bytes"), seed=11)
    (member,), written = writer.ensemble.members, np.isin(np.arange(256), [*"ab水".encode()])
    weights = member.weights._replace(b_y=member.weights.b_y + 1000 * written)
    return Writer(Ensemble((member._replace(weights=weights),)), writer.vocab)


def drawn_ids(writer, seed, length, prime=""):
    """Return the ids that are drawn after a prime, and their log-probabilities."""
    rules, begin = Rules(length), writer.prime(writer.vocab.encode(prime), Rules(length))
    steps = list(generate(writer.ensemble, [begin], [[seed]], rules=rules, filters=SampleConfig(), scored=True))
    return [int(step.ids[0]) for step in steps], [float(step.log_probs[0]) for step in steps]


def log_prob(writer, prime, text):
    """Return the log-probability of each character of the text after the prime, from one forward pass."""
    member, ids = writer.ensemble.members[0], writer.vocab.encode(prime + text)
    logits, _, _ = model.forward(member.weights, ids[:, None], model.zero_state(member.config, 1))
    logits = logits[:, 0] - logits[:, 0].max(axis=-1, keepdims=True)
    log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return [log_probs[at - 1, ids[at]] for at in range(len(prime), len(ids))]


# Several texts


def test_samples_are_what_streams_of_seed_and_index_are(plain):
    samples = list(plain.samples(8, seed=5, length=30, primes=["ab"]))
    assert [sample.index for sample in samples] == list(range(8))
    assert {(sample.seed, sample.ended, sample.prime, len(sample.text)) for sample in samples} == {
        (5, "length", "ab", 30)
    }
    assert len({sample.text for sample in samples}) == 8
    assert samples[0].text == "".join(plain.stream(prime="ab", seed=5, length=30))


def test_the_number_of_texts_beside_it_changes_no_text(plain, monkeypatch):
    texts = [sample.text for sample in plain.samples(9, seed=5, length=20)]
    assert [sample.text for sample in plain.samples(4, seed=5, length=20)] == texts[:4]
    monkeypatch.setattr(writer, "_BATCH", 2)
    assert [sample.text for sample in plain.samples(9, seed=5, length=20)] == texts


def test_each_prime_has_its_texts(plain):
    samples = list(plain.samples(2, primes=iter(["a", "bcd", ""]), seed=1, length=6))
    assert [(sample.index, sample.prime) for sample in samples] == list(enumerate(["a", "a", "bcd", "bcd", "", ""]))


def test_primes_are_read_as_they_are_needed(plain, monkeypatch):
    monkeypatch.setattr(writer, "_BATCH", 2)
    primes = iter(["a"] * 9)
    first = next(iter(plain.samples(1, primes=primes, seed=1, length=3)))
    assert first.index == 0
    assert len(list(primes)) == 7


def test_log_probability_and_bits_are_those_of_the_text(plain):
    for sample in plain.samples(5, primes=["ab"], seed=2, length=25, temperature=1.5, top_k=4, stop=("xy", "c")):
        expected = sum(log_prob(plain, "ab", sample.text))
        assert sample.logprob == pytest.approx(expected, abs=1e-9)
        if sample.text:
            assert sample.bpc == pytest.approx(-expected / math.log(2) / len(sample.text))


def test_a_text_of_nothing_has_no_bits(plain):
    (sample,) = plain.samples(1, seed=1, length=0)
    assert (sample.text, sample.logprob, sample.bpc, sample.ended) == ("", 0, None, "length")


def test_the_best_is_the_one_with_the_fewest_bits(plain):
    drawn = list(plain.samples(12, seed=3, length=20, stop=("z",)))
    best = list(plain.samples(3, seed=3, length=20, stop=("z",), best_of=4))
    for index, sample in enumerate(best):
        group = drawn[4 * index : 4 * index + 4]
        wanted = min((one for one in group if one.text), key=lambda one: one.bpc)
        assert (sample.text, sample.bpc, sample.index, sample.draws) == (wanted.text, wanted.bpc, index, 4)


# Ends


def test_a_stop_string_and_what_follows_are_left_out(plain):
    whole = "".join(plain.stream(prime="a", seed=1, length=200))
    for stop in (whole[7:9], whole[20:25], whole[0], whole[50]):
        wanted = whole[: whole.index(stop)]
        assert "".join(plain.stream(prime="a", seed=1, length=200, stop=(stop,))) == wanted
        (sample,) = plain.samples(1, primes=["a"], seed=1, length=200, stop=(stop,))
        assert (sample.text, sample.ended) == (wanted, "stop")


def test_the_first_of_several_stops_counts(plain):
    whole = "".join(plain.stream(prime="a", seed=1, length=100))
    stops = (whole[60:64], whole[30:33], whole[80:82])
    wanted = whole[: min(whole.index(stop) for stop in stops)]
    assert "".join(plain.stream(prime="a", seed=1, length=100, stop=stops)) == wanted


def test_of_stops_that_end_together_the_longest_is_left_out(plain):
    whole = "".join(plain.stream(prime="a", seed=1, length=100))
    at = next(at for at in range(5, 100) if whole.index(whole[at]) == at)  # a character that was not there before
    stops, wanted = (whole[at], whole[at - 2 : at + 1]), whole[: at - 2]
    for settings in ({"stop": stops}, {"stop": stops[::-1]}):
        assert "".join(plain.stream(prime="a", seed=1, length=100, **settings)) == wanted
        (sample,) = plain.samples(1, primes=["a"], seed=1, length=100, **settings)
        assert sample.text == wanted


def test_what_only_began_like_a_stop_is_shown_all_the_same():
    cases = [
        ("aabaabc", ("aabc", "abx"), "stop", ["", "", "", "aab", "", "", ""], ""),
        ("xabab", ("abc",), "length", ["x", "", "", "ab", ""], "ab"),
        ("abc", ("c", "bc"), "stop", ["a", "", ""], ""),
        ("abc", ("bc", "abcd"), "stop", ["", "", ""], "a"),
        ("ab", (), "length", ["a", "b"], ""),
    ]
    for text, stops, ended, pieces, rest in cases:
        buffer = StopBuffer(stops)
        assert ([buffer.push(char) for char in text], buffer.finish(ended)) == (pieces, rest)


def test_lines_are_counted(plain):
    for sample in plain.samples(6, seed=1, length=None, lines=3):
        assert sample.text.count("\n") == 3
        assert sample.text.endswith("\n")
        assert sample.ended == "length"


def test_an_end_mark_ends_a_text_and_is_no_part_of_it(marked):
    samples = list(marked.samples(40, seed=1, length=9))
    assert {sample.ended for sample in samples} == {"length", "document"}
    for sample in samples:
        assert set(sample.text) <= set(SYMBOLS)
        assert len(sample.text) == 9 if sample.ended == "length" else len(sample.text) < 9
    streamed = list(marked.stream(seed=1, length=9))
    assert "".join(streamed) == samples[0].text
    assert "" not in streamed


def test_the_mark_of_unknown_characters_is_never_written(marked):
    member = marked.ensemble.members[0]
    certain = member.weights._replace(b_y=member.weights.b_y + 1000 * (np.arange(12) == 11))
    sure = Writer(Ensemble((member._replace(weights=certain),)), marked.vocab)
    for settings in ({}, {"temperature": 0.0}):
        (sample,) = sure.samples(1, seed=1, length=50, **settings)
        assert len(sample.text) == 50 or sample.ended == "document"


def test_a_document_begins_after_the_mark_with_which_one_ends(marked):
    begin = marked.prime(np.array([2, 3]), Rules(None))
    read = marked.ensemble.read(np.array([10, 2, 3]))
    assert np.array_equal(begin.logits, read.logits)
    assert begin.recent.tolist() == [2, 3]


@pytest.mark.parametrize(
    ("vocab", "stop", "learned"),
    [
        (Vocab("abeé", normalize="NFC"), "e\u0301b", "éb"),
        (Vocab("ab", lowercase=True), "AB", "ab"),
        (Vocab("".join(map(chr, range(256))), kind="bytes"), "\udce6", "\udce6"),
    ],
    ids=["NFC", "lowercase", "bytes"],
)
def test_a_stop_string_is_brought_into_form(vocab, stop, learned):
    drawing = writer_of(vocab)
    ids, _ = drawn_ids(drawing, 1, 300)
    before = vocab.characters(ids).partition(vocab.in_form(learned))[0]
    assert len(before) < 300
    wanted = vocab.decoder()(before)
    assert "".join(drawing.stream(seed=1, length=300, stop=(stop,))) == wanted
    (sample,) = drawing.samples(seed=1, length=300, stop=(stop,))
    assert (sample.text, sample.ended) == (wanted, "stop")


def test_of_bytes_what_stands_before_a_stop_has_its_own_log_probability(of_bytes):
    (sample,) = of_bytes.samples(seed=1, length=300, stop=("水",))
    ids, log_probs = drawn_ids(of_bytes, 1, 300)
    at = bytes(ids).index("水".encode())
    assert sample.ended == "stop"
    assert sample.logprob == pytest.approx(sum(log_probs[:at]))
    assert sample.bpc == pytest.approx(-sum(log_probs[:at]) / math.log(2) / at)  # of a byte


def test_of_bytes_a_text_is_what_its_stream_is(of_bytes):
    whole = "".join(of_bytes.stream(seed=1, length=60))
    assert {"水", "\ufffd"} <= set(whole)
    lengths = []
    for length in range(30):
        (sample,) = of_bytes.samples(seed=1, length=length)
        assert sample.text == "".join(of_bytes.stream(seed=1, length=length))
        assert whole.startswith(sample.text)
        lengths.append(len(sample.text))
    assert len(set(lengths)) < 30  # a character comes with its last byte


@pytest.mark.parametrize("begun", [b"\xe6", b"\xe6\xb0"])
@pytest.mark.parametrize("whole", ["", "ab", "水水"])
def test_of_bytes_a_text_ends_the_character_that_its_prime_begins(of_bytes, begun, whole):
    prime, texts = whole + begun.decode("utf-8", "surrogateescape"), set()
    for seed in range(30):
        (sample,) = of_bytes.samples(seed=seed, length=5, primes=[prime])
        ids, _ = drawn_ids(of_bytes, seed, 5, prime)
        expected = codecs.getincrementaldecoder("utf-8")("replace").decode(begun + bytes(ids))
        assert (sample.prime, sample.text) == (whole, expected)
        assert "".join(of_bytes.stream(prime=prime, seed=seed, length=5)) == expected
        texts.add(sample.text[:1])
    assert texts - {"\ufffd"}  # some are whole


# Constraints


def test_every_text_of_an_expression_matches_it(plain):
    regex = pytest.importorskip("regex")
    patterns = (("[ab]{2,7}(x|yz)", 8), ("(a|ab)(c|bcd)", 4), (r"(\w+ )*\w+", 30), ("(ab)+", 7), ("([a-z]{3}x)*", 10))
    for pattern, length in patterns:
        for length_ in (length, length + 5):
            for sample in plain.samples(20, seed=1, length=length_, regex=pattern, temperature=1.3, top_p=0.9):
                assert regex.fullmatch(pattern, sample.text), sample
                assert len(sample.text) <= length_
                assert sample.ended in ("constraint", "length")
    ends = {
        regex_: {one.ended for one in plain.samples(9, seed=1, length=8, regex=regex_)} for regex_ in ("a{3}", "a+")
    }
    assert ends == {"a{3}": {"constraint"}, "a+": {"length"}}


@pytest.mark.parametrize("length", [2, 7, 8])
def test_a_beam_keeps_to_an_expression_whose_repeat_no_longer_fits(plain, length):
    pytest.importorskip("regex")
    (found,) = plain.beam_search(3, length=length, regex="(ab)+", length_norm=0)
    assert found.text == "ab" * (len(found.text) // 2)
    assert found.text


@pytest.mark.parametrize(("pattern", "length"), [("", 5), ("(abc)*", 2), ("[0-9]*", 9), ("", None)])
def test_where_only_the_empty_text_matches_that_is_said(plain, marked, pattern, length):
    pytest.importorskip("regex")
    with pytest.raises(ConfigError, match="matches only the empty text"):
        plain.stream(regex=pattern, length=length)
    assert [one.text for one in plain.samples(1, regex=pattern, length=0)] == [""]
    (sample,) = marked.samples(1, regex=pattern, length=length)  # which is written, and ends
    assert (sample.text, sample.ended) == ("", "document")


def test_with_an_end_mark_a_match_may_end_before_it_must(marked):
    regex = pytest.importorskip("regex")
    samples = list(marked.samples(60, seed=1, length=40, regex="[abc]+( [abc]+)*", temperature=1.5))
    assert {"document"} <= {sample.ended for sample in samples}
    assert all(regex.fullmatch("[abc]+( [abc]+)*", sample.text) for sample in samples)


def test_a_charset_holds_for_all_and_stops_do_too(plain):
    pytest.importorskip("regex")
    for sample in plain.samples(10, seed=1, length=50, charset="a-d", stop=("ad",)):
        assert set(sample.text) <= set("abcd")
        assert "ad" not in sample.text


def test_where_no_line_begins_as_it_must_the_model_decides(plain):
    pytest.importorskip("regex")
    assert {sample.text[0] for sample in plain.samples(20, seed=1, length=3, charset="xyz")} <= set("xyz")
    assert {sample.text[0] for sample in plain.samples(20, seed=1, length=3, charset="bxyz")} == {"b"}


# Novel texts, and beam search


def test_a_text_is_drawn_again_until_it_is_novel(plain):
    corpora = [Text.of("".join(plain.stream(prime="a", seed=seed, length=40))) for seed in (3, 4)]
    drawing = Writer(plain.ensemble, plain.vocab, lambda: corpora)
    options = {"primes": ["a"], "seed": 3, "length": 30}
    first, others = list(drawing.samples(6, **options)), list(drawing.samples(6, **options, novel=6))
    for before, after in zip(first, others, strict=True):
        runs = [after.text[at : at + 6] for at in range(25)]
        assert not any(run in str(corpus) for run in runs for corpus in corpora)
        assert (after.draws == 1) == (before.text == after.text)
    assert others[0].draws > 1
    assert [other.text for other in drawing.samples(2, **options, novel=6)] == [one.text for one in others[:2]]


def test_of_bytes_a_text_is_novel_where_its_bytes_are(of_bytes):
    ids, _ = drawn_ids(of_bytes, 1, 40)
    drawing = Writer(of_bytes.ensemble, of_bytes.vocab, lambda: [Text.of(of_bytes.vocab.characters(ids))])
    options = {"seed": 1, "length": 40}
    assert [one.draws for one in drawing.samples(**options, novel=40)] == [2]
    assert [one.draws for one in drawing.samples(**options, novel=41)] == [1]


def test_all_draws_are_counted_where_some_are_left_out(plain, monkeypatch):
    monkeypatch.setattr(writer, "copied", lambda texts, *_: [True] + [False] * (len(texts) - 1))
    drawing, draws = Writer(plain.ensemble, plain.vocab, lambda: [Text.of("")]), DrawCounts()
    (best,) = drawing.samples(best_of=3, novel=5, length=9, seed=1, counts=draws)
    assert (best.draws, draws) == (22, DrawCounts(drawn=22, redrawn=19, left_out=[0]))


@pytest.mark.parametrize("best_of", [1, 3])
def test_what_cannot_be_novel_is_left_out_and_told_behind_the_others(plain, best_of):
    options = {"seed": 3, "length": 30, "temperature": 0.0}  # always the same text for a prime
    (copy,) = plain.samples(primes=["b"], **options)
    drawing = Writer(plain.ensemble, plain.vocab, lambda: [Text.of(copy.text)])
    texts = drawing.samples(2, primes=["a", "b", "c"], best_of=best_of, novel=30, **options)
    assert [(one.prime, one.index, one.draws) for one in islice(texts, 4)] == [
        (prime, index, best_of) for prime, index in [("a", 0), ("a", 1), ("c", 4), ("c", 5)]
    ]
    with pytest.raises(CharRNNError, match=r"^samples left out: 2, first number 2; .* 20 draws"):
        next(texts)


def test_a_text_that_does_not_end_by_itself_is_ended(plain, monkeypatch):
    monkeypatch.setattr(writer, "MOST_CHARS", 50)
    stop = (plain.vocab.symbols[0] * 9,)
    assert [(len(one.text), one.ended) for one in plain.samples(2, length=None, stop=stop, seed=1)] == [
        (50, "length"),
        (50, "length"),
    ]


def test_the_most_likely_is_likelier_than_what_is_drawn(plain, marked):
    for one in (plain, marked):
        (found,) = one.beam_search(16, primes=["ab"], length=12, length_norm=0.0)
        drawn = list(one.samples(40, primes=["ab"], length=12, seed=1, temperature=0.7))
        assert (
            found.logprob >= max(sample.logprob for sample in drawn) - 1e-12
        )  # batches of two sizes round differently
        assert (found.index, found.prime, found.draws) == (0, "ab", 1)
        assert found.ended in ("length", "document")
    for wrong in (
        {"width": 0},
        {"width": 1001},
        {"width": 2, "length_norm": -1.0},
        {"width": 2, "length_norm": 1e300},
        {"width": 2, "length": None},
    ):
        with pytest.raises(ConfigError):
            plain.beam_search(**wrong)


# Settings that the model cannot follow


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"length": -1}, "length must be 0 to"),
        ({"length": 10**26}, "length must be 0 to"),
        ({"lines": -1}, "at least 0"),
        ({"top_p": 0.0}, "top_p"),
        ({"stop": ("",)}, "stop"),
        ({"stop": "ab"}, "tuple"),
        ({"regex": "a", "stop": ("b",)}, "--regex cannot be combined with --stop"),
        ({"regex": "a", "lines": 2}, "--regex cannot be combined"),
    ],
)
def test_senseless_settings_are_refused_at_once(plain, settings, says):
    for call in (plain.stream, plain.samples):
        with pytest.raises(ConfigError, match=says):
            call(**settings)


def test_settings_that_this_model_cannot_follow_are_refused_at_once(plain):
    for seed in (-1, 2**63):
        with pytest.raises(ConfigError, match=f"seed {seed} is out of range"):
            plain.stream(seed=seed)
    with pytest.raises(VocabError, match=r"--stop 'aΩ' can never occur: 'Ω' \(U\+03A9\)"):
        plain.stream(stop=("aΩ",))
    with pytest.raises(ConfigError, match="does not know line ends"):
        writer_of(Vocab("abc")).stream(lines=1)
    for count, best_of in ((0, 1), (1, 0)):
        with pytest.raises(ConfigError, match="at least 1"):
            plain.samples(count, best_of=best_of)
    pytest.importorskip("regex")
    for endless in ({}, {"regex": "a+"}):
        with pytest.raises(ConfigError, match="would never be finished"):
            plain.samples(2, length=None, **endless)


def test_bytes_match_no_expression_of_characters(of_bytes):
    for wish in ({"regex": "a+"}, {"charset": "a-z"}):
        with pytest.raises(ConfigError, match="this one generates bytes"):
            of_bytes.stream(**wish)


def test_what_ends_a_text_has_to_be_in_the_charset(plain):
    pytest.importorskip("regex")
    with pytest.raises(ConfigError, match="--charset 'a-d' lacks characters of --stop 'dx'"):
        plain.stream(stop=("d", "dx"), charset="a-d")
    with pytest.raises(ConfigError, match=r"has no line end, which --lines needs: add \\n"):
        plain.stream(lines=2, charset="a-d")
    assert "".join(plain.stream(length=None, lines=2, seed=1, charset=r"a-d\n")).count("\n") == 2


def test_an_expression_longer_than_the_text_is_refused(plain):
    pytest.importorskip("regex")
    with pytest.raises(ConfigError, match="give -n 9 or more"):
        plain.stream(length=8, regex="a{9,}")
    assert "".join(plain.stream(length=9, regex="a{9,}")) == "a" * 9
