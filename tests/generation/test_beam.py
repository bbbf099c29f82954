"""Beam search, compared with an exhaustive search."""

import itertools

import numpy as np
import pytest

from charrnn.config import ModelConfig
from charrnn.generation.beam import beam_search
from charrnn.generation.constraint import Constraint
from charrnn.generation.ensemble import Ensemble, Member, Primed
from charrnn.generation.rules import Rules
from charrnn.nn import model

V, LENGTH = 4, 5
AUTOMATON = Constraint(
    None, np.array([0, 1, 1, 2]), np.array([[1, 2, 3], [0, 2, 3], [3, 3, 3], [3, 3, 3]]), np.array([1, 1, 0, 2**30])
)
RULES = {
    "length": Rules(LENGTH),
    "end mark": Rules(LENGTH, end=2),
    "stop": Rules(LENGTH, stops=(np.array([1, 3]), np.array([0]))),
    "lines": Rules(LENGTH, lines=2, newline=1),
    "never": Rules(LENGTH, never=0, end=2),
    "constraint": Rules(LENGTH, constraint=AUTOMATON),
}


def ensemble_of(seed, cell="gru", **settings):
    config = ModelConfig(V, cell=cell, hidden_size=6, dtype="float64", **settings)
    params = model.init_params(config, np.random.default_rng(seed))
    params["out.W_hy"] *= 5
    return Ensemble((Member(model.prepare(params, config), config),))


def all_texts(ensemble, prime, rules, norm):
    """Return the score and the end of every text that the rules allow, each scored by one forward pass."""
    member, texts = ensemble.members[0], {}
    whole = np.array(list(itertools.product(range(V), repeat=rules.length))).T  # (T, B): all at once
    read = np.concatenate((np.repeat(np.array(prime)[:, None], whole.shape[1], axis=1), whole))
    all_logits, _, _ = model.forward(member.weights, read, model.zero_state(member.config, read.shape[1]))
    for column, ids in enumerate(map(tuple, whole.T.tolist())):
        logits = all_logits[len(prime) - 1 :, column]
        log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        lines, places, recent, total = np.zeros(1, int), np.zeros(1, int), np.full((1, 2), -1), 0.0
        for at, id_ in enumerate(ids):
            if np.isneginf(rules.mask(log_probs[None, at], at, places)[0, id_]):
                break
            total += log_probs[at, id_]
            one = np.array([id_])
            recent, lines, places = (
                np.append(recent[:, 1:], [one], axis=1),
                lines + (one == rules.newline),
                rules.follow(places, one),
            )
            (ended,) = rules.ended(at + 1, one, recent, lines, places)
            if ended:
                texts[ids[: at + 1]] = (total / (at + 1) ** norm, ended)
                break
    return texts


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("norm", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("seed", range(3, 6))
def test_a_beam_as_wide_as_all_beginnings_finds_the_best_of_all_texts(rules, norm, seed):
    ensemble = ensemble_of(seed)
    texts = all_texts(ensemble, [1, 2], RULES[rules], norm)
    best = max(texts, key=texts.get)
    (found,) = beam_search(ensemble, ensemble.read(np.array([1, 2])), RULES[rules], width=V**LENGTH, length_norm=norm)
    assert (tuple(found.ids.tolist()), found.ended) == (best, texts[best][1])
    assert found.log_probs.sum() / len(found.ids) ** norm == pytest.approx(texts[best][0], abs=1e-9)


@pytest.mark.parametrize("settings", [{"cell": "rnn"}, {"cell": "lstm", "num_layers": 2}, {"attention": 4}])
def test_a_narrow_beam_scores_its_text_rightly_and_a_wider_one_no_worse(settings):
    ensemble = ensemble_of(3, **settings)
    begin, scores = ensemble.read(np.array([1, 2])), []
    texts = all_texts(ensemble, [1, 2], RULES["end mark"], 0.0)
    for width in (1, 2, 4, 4**5):
        (found,) = beam_search(ensemble, begin, RULES["end mark"], width=width, length_norm=0.0)
        assert texts[tuple(found.ids.tolist())][0] == pytest.approx(found.log_probs.sum(), abs=1e-9)
        scores.append(found.log_probs.sum())
    assert max(scores) == scores[-1]


def test_a_beam_of_one_takes_greedy_choices():
    ensemble = ensemble_of(5)
    begin = ensemble.read(np.array([1]))
    states, logits, ids = [state.copy() for state in begin.states], begin.logits, []
    for _ in range(20):
        ids.append(int(logits.argmax()))
        logits = ensemble.step(np.array(ids[-1:]), states)
    assert beam_search(ensemble, begin, Rules(20), width=1, length_norm=1.0)[0].ids.tolist() == ids


def test_nothing_is_found_in_no_length():
    ensemble = ensemble_of(1)
    (found,) = beam_search(ensemble, ensemble.read(np.array([1])), Rules(0), width=3, length_norm=1.0)
    assert (found.ids.tolist(), found.ended) == ([], "length")


def test_the_best_texts_come_in_their_order():
    ensemble = ensemble_of(4)
    texts = all_texts(ensemble, [1, 2], RULES["stop"], 1.0)
    best = sorted(texts, key=texts.get, reverse=True)
    begin = ensemble.read(np.array([1, 2]))
    for count in (3, len(texts) + 9):
        found = beam_search(ensemble, begin, RULES["stop"], width=V**LENGTH, length_norm=1.0, count=count)
        assert [tuple(one.ids.tolist()) for one in found] == best[:count]


def test_ends_of_a_constraint_may_be_one():
    ensemble, rules = ensemble_of(4), Rules(LENGTH, constraint=AUTOMATON)
    begin, wide = ensemble.read(np.array([1, 2])), {"width": V**LENGTH, "length_norm": 0.0, "count": V**LENGTH}
    expected = {}
    for one in beam_search(ensemble, begin, rules, **wide):
        key = (*one.ids[:-1].tolist(), one.ended)
        expected[key] = expected.get(key, 0.0) + np.exp(one.log_probs.sum())
    found = beam_search(ensemble, begin, rules, join_ends=True, **wide)
    joined = {(*one.ids[:-1].tolist(), one.ended): np.exp(one.log_probs.sum()) for one in found}
    assert len(joined) < len(beam_search(ensemble, begin, rules, **wide))
    assert joined == pytest.approx(expected)


class Counted(np.ndarray):
    """An array that counts the elements of all arrays computed from it."""

    elements = 0

    def __array_finalize__(self, source):
        Counted.elements += self.size

    def __array_function__(self, function, types, args, options):
        found = super().__array_function__(function, types, args, options)
        return (
            found.view(Counted) if isinstance(found, np.ndarray) else found
        )  # NumPy drops the subclass in some functions


class CountedEnsemble(Ensemble):
    """Logits without a pattern, so that hypotheses overtake each other."""

    def step(self, ids, states, remembered=None, memory=None):
        return np.sin(np.arange(len(ids) * V) ** 2 + ids.sum()).reshape(-1, V).view(Counted)


@pytest.mark.parametrize("end", [None, 2])
def test_the_work_of_a_beam_is_linear_in_the_length(end):
    ensemble, elements = CountedEnsemble(()), []
    primed = Primed(np.zeros((1, V)).view(Counted), (), np.empty(0, np.intp))
    for length in (300, 600):
        Counted.elements = 0
        (found,) = beam_search(
            ensemble, primed, Rules(length, end=end), width=4, length_norm=0.0 if end is None else 1.0
        )
        assert len(found.ids) <= length
        elements.append(Counted.elements)
    assert elements[1] < 2.2 * elements[0]
