"""Say in plain words what more machines would gain, from the measurements of `charrnn.doctor.ranks`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from statistics import median
from typing import NamedTuple

import numpy as np

from charrnn.config import ModelConfig, default_of
from charrnn.doctor.machine import BATCH_SIZE, SEQ_LEN, VOCAB_SIZE
from charrnn.doctor.ranks import MACHINES, MODELS, RECIPE_SIZES, USUAL, Cluster, Fact
from charrnn.nn import model
from charrnn.parallel.cost import WORTHWHILE, Link, exchange_seconds, step_seconds
from charrnn.system.load import is_crowded
from charrnn.training import recipe
from charrnn.wording import in_words

_MINUTES = (10, 600)  # budgets that the answer is about
#: Characters; the recipe chooses the same for all larger texts.
_TEXTS = [round(digits * 10**power) for power in (4, 5, 6) for digits in (1, 1.5, 2, 3, 4, 5, 7)]
_SLOW_LINK = 0.2  # share of a step from which on the exchange of data is worth a word
_SLOW_RANK = 1.25  # times as long as the others take, from which on a rank is
_SAME = 0.05  # by which a gain may differ from 1 and count as none
_FASTER, _LARGER = 10, 4  # where the network is slow: how many times its speed, and the batch, are looked at as well
_WASTED = 0.5  # share of the machines' speed: if more is lost, the reason is worth a word

_shapes = cache(model.param_shapes)


class Budget(NamedTuple):
    """What a second machine gains for a budget of minutes.

    text   characters of the smallest text for which it pays; None if it pays for none
    units  of the model that the recipe chooses for a large text
    gain   times as fast as on one machine that this model is trained
    """

    minutes: int
    text: int | None
    units: int
    gain: float


def machines(cluster: Cluster) -> list[int]:
    """Return the numbers of ranks that a forecast is made for; on one host, only the ranks that were measured."""
    return sorted({*MACHINES[1:], len(cluster.ranks)}) if len(cluster.hosts) > 1 else [len(cluster.ranks)]


def gains(cluster: Cluster, name: str) -> dict[int, float]:
    """Return how many times as fast as on one machine a model is trained, by the number of ranks."""
    config, steps = MODELS[name], cluster.steps[name]
    slowest = {rows: max(times) for rows, times in steps.items()}
    one = cluster.process.get(name) or steps[BATCH_SIZE][0]
    return {ranks: one / step_seconds(cluster.link, config, slowest, BATCH_SIZE, ranks) for ranks in machines(cluster)}


def budgets(cluster: Cluster) -> list[Budget]:
    """Return what a second machine gains for a short and a long budget; nothing if all ranks are on one host."""
    return [_budget(cluster, minutes) for minutes in _MINUTES] if len(cluster.hosts) > 1 else []


def answer(cluster: Cluster) -> list[str]:
    """Return sentences on what more machines gain, and on what limits that, each with a remedy."""
    if len(cluster.hosts) == 1:
        gained = [_same_host(cluster)]
    else:
        short, long = budgets(cluster)
        gained = [
            _second_machine(short),
            _second_machine(long),
            *_more_machines(cluster, short),
            *_link(cluster, short),
        ]
    return [*gained, *_placement(cluster), *_slow_rank(cluster), *_load(cluster)]


def _budget(cluster: Cluster, minutes: int) -> Budget:
    pays = None
    for text in reversed(_TEXTS):
        if _gain(cluster, *_chosen(cluster, minutes, text), 2) < WORTHWHILE:
            break
        pays = text
    config, batch_size = _chosen(cluster, minutes, _TEXTS[-1])
    return Budget(minutes, pays, config.hidden_size, _gain(cluster, config, batch_size, 2))


def _chosen(cluster: Cluster, minutes: int, text: int) -> tuple[ModelConfig, int]:
    """Return the model and the batch size that the recipe chooses on two machines for a text of so many characters."""
    probe, config = RECIPE_SIZES[USUAL], ModelConfig(VOCAB_SIZE)
    speed = recipe.work(probe, _shapes) * BATCH_SIZE * SEQ_LEN / _step(cluster, probe, BATCH_SIZE, 2)
    settings = recipe.choose(
        config,
        _shapes,
        text,
        round(text * default_of("val_fraction")),
        math.ceil(text / BATCH_SIZE / SEQ_LEN),
        speed * 60 * minutes,
        (),
        minutes=minutes,
    ).settings
    chosen = ModelConfig(VOCAB_SIZE, **{name: settings[name] for name in recipe.KIND if name in settings})
    return chosen, settings.get("batch_size", BATCH_SIZE)


def _gain(cluster: Cluster, config: ModelConfig, batch_size: int, ranks: int) -> float:
    return _step(cluster, config, batch_size, 1) / _step(cluster, config, batch_size, ranks)


def _step(cluster: Cluster, config: ModelConfig, batch_size: int, ranks: int) -> float:
    """Return the seconds of a step of any model of the recipe's kind."""

    def first(times: list[float]) -> float:
        return times[0]

    rows = _rows(cluster, config, max if ranks > 1 else first)
    return step_seconds(cluster.link, config, rows, batch_size, ranks)


def _rows(cluster: Cluster, config: ModelConfig, of: Callable[[list[float]], float]) -> dict[int, float]:
    """Return the seconds of a step by batch rows, for a size between those that were measured."""
    measured = {name: recipe.work(size, _shapes) for name, size in RECIPE_SIZES.items()}
    works = np.log([work for name, work in measured.items() if name in cluster.steps])
    own = math.log(recipe.work(config, _shapes))

    def seconds(rows: int) -> float:
        times = [of(cluster.steps[name][rows]) for name in measured if name in cluster.steps]
        return math.exp(np.interp(own, works, np.log(times)))

    return {rows: seconds(rows) for rows in cluster.steps[USUAL]}


def _second_machine(budget: Budget) -> str:
    """Say from which size of text a second machine pays."""
    time = f"{budget.minutes} minutes" if budget.minutes < 60 else f"{budget.minutes // 60} hours"
    second = f"For {time}, a second machine like this one"
    then = f"the recipe takes {budget.units:,} units, and 2 ranks are {_speed(budget.gain)}"
    if budget.text is None:
        return f"{second} does not pay, however large the text: {then}."
    if budget.text == _TEXTS[0]:
        return f"{second} pays, however small the text: for a large one, {then}."
    return (
        f"{second} pays if the text has about {_size(budget.text)} or more: {then}. For smaller texts, the recipe's "
        "models and batches leave too little to share."
    )


def _speed(gain: float, one: str = "1") -> str:
    """Return in words how fast several ranks are, to follow "are", in comparison with one rank or something else."""
    if gain < 1 - _SAME:
        return f"slower than {one}: a step takes {1 / gain:.2g} times as long"
    return f"{gain:.2g} times as fast as {one}" if gain > 1 + _SAME else f"no faster than {one}"


def _size(chars: int) -> str:
    return f"{chars / 1e6:g} MB" if chars >= 1e6 else f"{chars / 1e3:g} kB"


def _more_machines(cluster: Cluster, budget: Budget) -> list[str]:
    """Say what more machines gain for that budget, and why if it is little; nothing if none of them pays."""
    config, batch_size = _chosen(cluster, budget.minutes, _TEXTS[-1])
    gained = {ranks: _gain(cluster, config, batch_size, ranks) for ranks in MACHINES if ranks > 2}
    if max(gained.values()) < WORTHWHILE:
        return []
    fast = in_words([f"{ranks} ranks {gain:.2g} times" for ranks, gain in gained.items()], "and")
    fast = fast.replace("ranks", "ranks are", 1)
    most = max(gained)
    few = (
        f": each of {most} gets only {-(-batch_size // most)} batch rows; a larger --batch-size would use them better, "
        "but learns differently"
    )
    return [f"With {budget.units:,} units, {fast} as fast as 1{few if gained[most] < _WASTED * most else ''}."]


def _link(cluster: Cluster, budget: Budget) -> list[str]:
    """Say what the network costs, if that is much, and what would cost less."""
    config, batch_size = _chosen(cluster, budget.minutes, _TEXTS[-1])
    link, larger, step = cluster.link, _LARGER * batch_size, _step(cluster, config, batch_size, 2)
    exchange, half = (exchange_seconds(link, config, batch_size, 2, half=half) for half in (False, True))
    if exchange <= _SLOW_LINK * step:
        return []
    one = _step(cluster, config, batch_size, 1)
    fast = replace(cluster, link=Link(link.message / _FASTER, link.latency / _FASTER, link.bandwidth * _FASTER))
    return [
        f"The network takes {exchange / step:.0%} of a step of 2 ranks, at {link.bandwidth / 1e6:,.0f} MB/s, so they "
        f"are {one / step:.2g} times as fast as 1. That would be {one / (step - exchange + half):.2g} times with "
        f"--half-gradients, {_gain(fast, config, batch_size, 2):.2g} times with a network {_FASTER} times as fast "
        f"(mpiexec -iface NAME chooses one), and {_gain(cluster, config, larger, 2):.2g} times with "
        f"--batch-size {larger}, which learns differently."
    ]


def _same_host(cluster: Cluster) -> str:
    """Say what ranks on one host gain or lose, compared with one process that has all its cores."""
    ranks = len(cluster.ranks)
    gain = median(gains(cluster, name)[ranks] for name in cluster.steps)  # a single one may be far off on a busy host
    fast = _speed(gain, f"one process with --threads {cluster.ranks[0].cores}")
    train = "" if gain >= WORTHWHILE else " Train without mpiexec there."
    return (
        f"The {ranks} ranks are on one host. They are {fast}.{train} To learn what a second machine gains, start one "
        "rank on each: mpiexec -n 2 -ppn 1 -hosts HOST1,HOST2 charrnn doctor --mpi."
    )


def _placement(cluster: Cluster) -> list[str]:
    """Say where ranks outnumber the cores of a host or, on several hosts, the hosts."""
    ranks, hosts = len(cluster.ranks), len(cluster.hosts)
    for host in cluster.hosts:
        here = _on(cluster, host)
        cores = here[0].cores
        if len(here) > cores:
            return [
                f"{len(here)} ranks share {cores} core{'s' * (cores > 1)} of {host} and wait for one another: start "
                "one rank there (mpiexec -ppn 1)."
            ]
    if 1 < hosts < ranks:
        return [
            f"{ranks} ranks are on {hosts} hosts: one rank on each (mpiexec -ppn 1) uses all its cores and sends less."
        ]
    return []


def _slow_rank(cluster: Cluster) -> list[str]:
    """Name the slowest rank if the others wait for it."""
    times = [each for by_rows in cluster.steps.values() for each in by_rows.values()]
    slowness = [
        median(each[rank] / median(each[:rank] + each[rank + 1 :]) for each in times)
        for rank in range(len(cluster.ranks))
    ]
    slowest = max(slowness)
    if slowest <= _SLOW_RANK:
        return []
    name = cluster.ranks[slowness.index(slowest)].title
    return [
        f"{name} takes {slowest:.1f} times as long for a step as the others, and they wait: check what else runs "
        "there, or leave it out."
    ]


def _load(cluster: Cluster) -> list[str]:
    """Say where other programs compete with the ranks."""
    sentences = []
    for host in cluster.hosts:
        here = _on(cluster, host)
        load, cores = here[0].load or 0.0, here[0].cores
        if is_crowded(load, min(cores, len(here) * cluster.threads), cores):
            sentences.append(
                f"In the last minute, {load:.1f} programs on average competed for the {cores} cores of {host}: stop "
                "those that are still running, and measure again."
            )
    return sentences


def _on(cluster: Cluster, host: str) -> list[Fact]:
    """Return the ranks on a host."""
    return [rank for rank in cluster.ranks if rank.host == host]
