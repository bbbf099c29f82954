"""Constraints: the automaton accepts exactly the texts that the expression matches in full."""

import contextlib
import itertools
import sys
import threading
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import ConfigError
from charrnn.generation import regex as regular
from charrnn.generation.constraint import Constraint
from charrnn.generation.rules import NEVER

regex = pytest.importorskip("regex")

SYMBOLS = "\nAabc"
HAN = "".join(map(chr, range(0x4E00, 0x4E00 + 200))) + "，。\nabc"


def language(automaton, symbols=SYMBOLS, longest=5):
    """Return all texts up to a length that the automaton accepts; fail if it enters a dead end."""
    texts = set[str]()
    if automaton.shortest > longest:
        return texts

    def write(state, text):
        if automaton.needs[state] == 0:
            texts.add(text)
        allowed = automaton.allowed(np.array([state]), longest - len(text))[0]
        assert automaton.needs[state] == 0 or allowed.any(), text  # no dead end
        for id_ in np.flatnonzero(allowed).tolist():
            write(int(automaton.follow(np.array([state]), np.array([id_]))[0]), text + symbols[id_])

    write(0, "")
    return texts


def matches(pattern, longest=5):
    """Return all texts up to a length that the package matches in full."""
    texts = ("".join(text) for size in range(longest + 1) for text in itertools.product(SYMBOLS, repeat=size))
    return {text for text in texts if regex.fullmatch(pattern, text)}


@pytest.mark.parametrize(
    "pattern",
    """
    a|ab (a|b)*c a{2,4} a{,2}b a{2,} [^a]+ (ab?){1,3}? () (){5}a (a*)*b (a|)+c (?i)a. (?s).{2} \\n|[ab]c a.c
    ((a?){3}b){2} (a*b*)* ^ab$ (?:a|b){0,3}c* \\w{3} (?P<x>a)b (?<y>b|) [[:upper:]]a* \\p{Lu}\\P{Lu} [\\p{Ll}--b]a
    a\\x61 \\u0061+ []a]b [^]a] (?is)A.C a??b* |a a| (|a)(b|) a{0} (a{0}b){2} \\S\\s\\D (?i)[B-C]+
    """.split(),
)
def test_the_automaton_takes_what_the_package_matches_in_full(pattern):
    assert language(Constraint.of(SYMBOLS, len(SYMBOLS), regex=pattern)) == matches(pattern)


ATOMS = st.sampled_from(["a", "b", "c", ".", "[ab]", "[^a]", r"\w", r"\n", "()", ""])
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map("({0[0]}|{0[1]})".format),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "*?", "{2}", "{1,2}", "{,2}", "{2,}"])).map(
            "(?:{0[0]}){0[1]}".format
        ),
    ),
    max_leaves=8,
)


@given(PATTERNS)
def test_whatever_is_put_together_is_taken_as_the_package_takes_it(pattern):
    assert language(Constraint.of(SYMBOLS, 5, regex=pattern), longest=3) == matches(pattern, longest=3)


def test_an_empty_expression_takes_the_empty_text_alone():
    automaton = Constraint.of(SYMBOLS, 5, regex="")
    assert language(automaton) == {""}
    assert automaton.exhausted(np.array([0]), NEVER).tolist() == [True]


def test_a_path_that_the_length_would_cut_short_is_never_begun():
    automaton = Constraint.of(SYMBOLS, 5, regex="ab{3}|b|c+a")
    assert automaton.shortest == 1
    for longest in range(1, 6):
        assert language(automaton, longest=longest) == {text for text in matches("ab{3}|b|c+a") if len(text) <= longest}


def test_where_nothing_limits_the_text_only_dead_ends_are_closed():
    automaton = Constraint.of("ab", 2, regex="a*(b|bx)")
    assert automaton.allowed(np.array([0]), NEVER).tolist() == [[True, True]]
    after = automaton.follow(np.array([0]), np.array([1]))
    assert automaton.allowed(after, NEVER).tolist() == [[False, False]]
    assert automaton.exhausted(after, NEVER).tolist() == [True]


def test_what_no_longer_fits_cannot_follow():
    automaton = Constraint.of("ab", 2, regex="(ab)*")
    states = np.array([0, 0, 0, automaton.follow(np.array([0]), np.array([0]))[0]])
    assert automaton.exhausted(states, np.array([1, 2, NEVER, 1])).tolist() == [True, False, False, False]
    assert [automaton.exhausted(states[:1], left).tolist() for left in (1, 2, NEVER)] == [[True], [False], [False]]


def test_unicode_classes_are_those_of_the_vocabulary_s_symbols():
    symbols = "".join(sorted(HAN))
    automaton = Constraint.of(symbols, len(symbols), regex=r"\p{Han}{2}，[\p{Han}a]。")
    assert automaton.shortest == 5
    first = automaton.allowed(np.array([0]), NEVER)[0]
    assert [symbols[id_] for id_ in np.flatnonzero(~first)] == sorted("，。\nabc")
    place = automaton.follow(automaton.follow(np.array([0]), np.array([9])), np.array([9]))
    assert [symbols[id_] for id_ in np.flatnonzero(automaton.allowed(place, NEVER)[0])] == ["，"]


def test_a_charset_is_the_inside_of_a_class():
    for charset, taken in [("a-c", "abc"), ("^a", "\nAbc"), (r"\p{Lu}\n", "\nA"), (r"\]a", "a"), ("é-ü a", "a")]:
        automaton = Constraint.of(SYMBOLS, 5, charset=charset)
        assert automaton.shortest == 0
        allowed = automaton.allowed(np.array([0]), 1)[0]
        assert "".join(SYMBOLS[id_] for id_ in np.flatnonzero(allowed)) == taken
        assert not automaton.exhausted(np.array([0]), NEVER).any()


def test_charset_and_expression_hold_together():
    assert language(Constraint.of(SYMBOLS, 5, regex="(.|\n){2}", charset="ab")) == {"aa", "ab", "ba", "bb"}


def test_the_end_mark_may_follow_a_match_and_nothing_else():
    automaton = Constraint.of("ab", 4, regex="a+b", end=3)  # id 2 is never drawn
    assert automaton.allowed(np.array([0]), NEVER).tolist() == [[True, False, False, False]]
    a = automaton.follow(np.array([0]), np.array([0]))
    ab = automaton.follow(a, np.array([1]))
    assert automaton.allowed(a, NEVER).tolist() == [[True, True, False, False]]
    assert automaton.allowed(ab, NEVER).tolist() == [[False, False, False, True]]


def test_many_streams_have_the_masks_of_each_alone():
    automaton = Constraint.of(SYMBOLS, 6, regex="(a|bc){2,5}A?", end=5)
    states = np.random.default_rng(1).integers(0, len(automaton.needs), 40)
    together = automaton.allowed(states, 4)
    for row, state in enumerate(states):
        assert np.array_equal(together[row], automaton.allowed(np.array([state]), 4)[0])
    left = np.array([4, 3, 4, 1, 9, 2, NEVER])[np.arange(len(states)) % 7]
    together = automaton.allowed(states, left)
    for row, (state, own) in enumerate(zip(states, left.tolist(), strict=True)):
        assert np.array_equal(together[row], automaton.allowed(np.array([state]), own)[0])


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("a(?=b)", "look-around at position 1"),
        ("a(?!b)", "look-around"),
        ("(?<=a)b", "look-around at position 0"),
        ("(?<!a)b", "look-around"),
        (r"(a)\1", "a reference to a group at position 3"),
        ("(?P<x>a)(?P=x)", "a reference to a group"),
        (r"(?P<x>a)\g<x>", "a reference to a group"),
        ("(a)(?1)", "a reference to a group"),
        ("(?R)", "a reference to a group"),
        ("a++", "a repeat that never gives back at position 2"),
        ("(?>a)", "a group that never gives back"),
        (r"\ba", "an anchor or a boundary"),
        ("a^b", "an anchor or a boundary at position 1"),
        ("a$b", "an anchor or a boundary"),
        ("(?i:a)", "a flag that is neither i nor s, or not at the beginning"),
        ("(?x)a", "a flag that is neither"),
        ("*a", "a repeat of nothing .* at position 0"),
        ("a{2}{3}", "a repeat of nothing"),
        ("a{2", r"a sign is written \\{"),
        ("x{3,1}", "a repeat that ends before it begins"),
        ("(a", "a \\( without its \\)"),
        ("a)", "a \\) without its \\("),
        ("[a", "a \\[ without its \\]"),
        ("(?i)c[b-a]", r"^--regex has \[b-a\]: bad character range$"),
        (r"\p{Nonsense}", "unknown property"),
        (r"\X", "an unknown part"),
        ("(?#a)b", "an unknown part"),
        ("é", "matches no text of characters"),
        ("a+é", "matches no text of characters"),
        ("(" * 5000 + "a" + ")" * 5000, "nested too deeply"),
    ],
)
def test_what_is_not_regular_or_no_expression_is_refused_by_name(pattern, says):
    with pytest.raises(ConfigError, match=says) as raised:
        Constraint.of(SYMBOLS, 5, regex=pattern)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "pattern",
    [
        "(a|b)*a(a|b){20}",
        "(.{0,100}a){0,20}",
        "a{100000}",
        f"a{{{'1' * 5000}}}",
        "((a{1000}){1000}){1000}",
        "((a{0,99}b?){0,99}c?){0,99}",
    ],
)
def test_an_expression_that_grows_without_measure_is_refused_before_it_does(pattern):
    with pytest.raises(ConfigError, match="make its repeats shorter"):
        Constraint.of(SYMBOLS, 5, regex=pattern)


@pytest.mark.parametrize("pattern", ["((a?){40}){40}", "((a*b?){25}){40}"])
def test_what_is_looked_at_to_find_the_states_is_bounded(pattern, monkeypatch):
    looked_at, ones = [], regular._ones
    monkeypatch.setattr(regular, "_MOST_WORK", 20_000)
    monkeypatch.setattr(regular, "_ones", lambda number: (looked_at.append(place) or place for place in ones(number)))
    with pytest.raises(ConfigError, match="too long to find them: make its repeats shorter"):
        Constraint.of(SYMBOLS, 5, regex=pattern)
    assert len(looked_at) <= 20_000


@pytest.mark.parametrize("times", ["1000000000", "9" * 5000])
def test_nothing_repeated_without_measure_is_nothing(times):
    assert language(Constraint.of(SYMBOLS, 5, regex=f"(){{{times}}}a{{0,3}}")) == matches("a{0,3}")


def test_a_long_expression_below_the_bounds_is_taken():
    automaton = Constraint.of(SYMBOLS, 5, regex="a{9000}")
    assert automaton.shortest == 9000


def test_every_symbol_may_be_of_a_kind_of_its_own():
    symbols = "".join(map(chr, range(0x4E00, 0x4E00 + 300)))
    automaton = Constraint.of(symbols, 300, regex=f"({'|'.join(symbols)}){{3}}{symbols[7]}")
    assert automaton.shortest == 4
    first = Constraint.of(symbols, 300, regex="|".join(char + symbols[at - 1] for at, char in enumerate(symbols)))
    after = first.follow(np.zeros(2, np.intp), np.array([5, 6]))
    assert [np.flatnonzero(mask).tolist() for mask in first.allowed(after, NEVER)] == [[4], [5]]


def test_the_bound_of_states_is_kept(monkeypatch):
    monkeypatch.setattr(regular, "MOST_STATES", 6)
    Constraint.of(SYMBOLS, 5, regex="a{5}")
    with pytest.raises(ConfigError, match="more than 6"):
        Constraint.of(SYMBOLS, 5, regex="a{6}b")


@pytest.mark.parametrize(
    ("charset", "says"),
    [
        ("xyz", "none of these characters"),
        ("", "^--charset '' names no character"),
        ("^", "names no character"),
        ("]", r"written \\]|none of"),
        ("z-a", "^--charset 'z-a': bad character range$"),
    ],
)
def test_an_impossible_charset_is_refused(charset, says):
    with pytest.raises(ConfigError, match=says):
        Constraint.of(SYMBOLS, 5, charset=charset)


def test_without_the_package_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "regex", None)
    with pytest.raises(ConfigError, match=r"install charrnn-numpy\[regex\]"):
        Constraint.of(SYMBOLS, 5, regex="a")


def test_compiling_an_expression_leaves_the_warnings_of_other_threads_alone(monkeypatch):
    compiling, checked, compile_ = threading.Event(), threading.Event(), regex.compile

    def wait(source):
        compiling.set()
        assert checked.wait(60)
        return compile_(source)

    monkeypatch.setattr(regex, "compile", wait)
    thread = threading.Thread(target=Constraint.of, args=(SYMBOLS, 5), kwargs={"charset": "ab"})
    thread.start()
    try:
        assert compiling.wait(60)
        with pytest.raises(UserWarning, match="of another thread"):
            warnings.warn("of another thread", UserWarning, stacklevel=1)
    finally:
        checked.set()
        thread.join()


@pytest.mark.parametrize("charset", ["[a", "a||b", "a&&b", "a~~b", "a--b", r"\w-a"])
def test_an_ambiguous_charset_warns_of_nothing(charset):
    with contextlib.suppress(ConfigError):  # under pytest, a warning is an error
        Constraint.of(SYMBOLS, 5, charset=charset)


@pytest.mark.parametrize("remaining", [NEVER, 10**12, np.array([10**12])])
def test_a_match_that_nothing_continues_is_exhausted_however_much_may_follow(remaining):
    automaton = Constraint.of(SYMBOLS, 5, regex="a")
    after = automaton.follow(np.zeros(1, np.intp), np.array([SYMBOLS.index("a")]))
    assert automaton.exhausted(after, remaining).tolist() == [True]
    assert automaton.exhausted(np.zeros(1, np.intp), remaining).tolist() == [False]


def accepts(text, symbols, **settings):
    """Return whether the constraint accepts the text."""
    automaton = Constraint.of(symbols, len(symbols), **settings)
    state = np.zeros(1, np.intp)
    for char in text:
        state = automaton.follow(state, np.array([symbols.index(char)]))
    return bool(automaton.needs[state[0]] == 0)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"regex": "(e\u0301t)+", "normalize": "NFC"}, "étét"),
        ({"regex": "e\u0301{2}", "normalize": "NFC"}, "éé"),
        ({"regex": "[ae\u0301]+", "normalize": "NFC"}, "aé"),
        ({"charset": "e\u0301t", "normalize": "NFC"}, "té"),
        ({"regex": "a＋", "normalize": "NFKC"}, "a+"),
        ({"regex": "ﬁ{2}", "normalize": "NFKC"}, "fifi"),
        ({"regex": "[①…]+", "normalize": "NFKC"}, "1."),
        ({"charset": "ａ-ｔ", "normalize": "NFKC"}, "aeit"),
        ({"charset": "A-Z ", "lowercase": True}, "at t"),
        ({"regex": "A[B-T]T", "lowercase": True}, "aet"),
        ({"regex": "(?s)\\p{Lu}.", "lowercase": True}, "t+"),
    ],
)
def test_expressions_are_brought_into_the_form_of_the_model(settings, text):
    symbols = " +.1aefité"
    assert accepts(text, symbols, **settings)
    settings.pop("normalize", None), settings.pop("lowercase", None)
    with contextlib.suppress(ConfigError):
        assert not accepts(text, symbols, **settings)


def test_a_symbol_can_be_written_if_a_match_has_it():
    automaton = Constraint.of(SYMBOLS, len(SYMBOLS), regex="ab+|c\\n?")
    assert [automaton.can_write(symbol) for symbol in range(len(SYMBOLS))] == [True, False, True, True, True]
    assert not Constraint.of(SYMBOLS, len(SYMBOLS), charset="a").can_write(0)
