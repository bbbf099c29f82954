"""The ranks of MPI: processes that `mpiexec` started, usually one on each machine. Rank 0 leads the others.

Rank 0 sends a message to each of the others, which do what it says and answer. So only rank 0 reads the text, decides,
writes and prints. Gradients are summed by all at once: each rank gets its shard of the gradients of every rank and adds
them in the order of the ranks, then all get all sums. Each rank sends and receives as many bytes as in a ring.

This is the only module that imports mpi4py.
"""

from __future__ import annotations

import atexit
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from charrnn.errors import CharRNNError, ConfigError, MissingExtraError
from charrnn.nn import compiled
from charrnn.parallel.plan import available_threads
from charrnn.system.atomic import uninterrupted
from charrnn.system.blas import blas
from charrnn.system.launch import FLUSHED, launch
from charrnn.version import __version__

if TYPE_CHECKING:
    from mpi4py import MPI

_PATIENCE = 0.002  # seconds for which a rank looks for a message without a pause
_PAUSE = 0.0002  # seconds between two looks after that, which leave the core to others

T = TypeVar("T")


class Failure(NamedTuple):
    """The answer of a rank that could not do what it was asked: an error's words and exit code."""

    reason: str
    exit_code: int


class End(NamedTuple):
    """The message that ends a rank with this exit code."""

    code: int


class _Shared(NamedTuple):
    """The message that a broadcast follows, with the message itself."""


class _Place(NamedTuple):
    """What a rank tells the others about itself when they meet.

    node      the first rank on its host: several hosts may have the same name
    numerics  what the last bits of its results depend on
    cores     the numbers of those that it may use
    threads   of matrix products, as NumPy or the environment sets them
    settings  the words that give the settings, by setting
    """

    host: str
    node: int
    version: str
    numerics: tuple[str | None, ...]
    cores: frozenset[int]
    threads: int
    settings: dict[str, str]


class Ranks:
    """This process and the others that MPI started with it.

    rank     of this process; 0 leads
    size     number of ranks
    names    of all ranks for the user: "rank 1 on host"
    hosts    of all ranks; cores: of each one's host, those that ranks may use
    alike    whether all round alike: with the same NumPy, kernel and variant of the core
    threads  of each rank, such that the ranks of no host have more threads than cores
    """

    def __init__(self, settings: dict[str, str]) -> None:
        """Meet the other ranks.

        settings: the words that this process was given, by setting; they have to be the same for all
        Raises:   ConfigError if MPI does not work here; MissingExtraError if mpi4py is not installed.
        """
        self._comm = _world()
        self.rank, self.size = self._comm.rank, self._comm.size
        numerics = (np.__version__, blas().kernel, compiled.variant())
        node = _node(self._comm)
        own = _Place(socket.gethostname(), node, __version__, numerics, _cores(), available_threads(), settings)
        self._places = _with_own_names(self._comm.allgather(own))
        self.alike = len({place.numerics for place in self._places}) == 1
        self.names = [f"rank {rank} on {place.host}" for rank, place in enumerate(self._places)]
        self.hosts = [place.host for place in self._places]
        self.cores = [len(_host_cores(place, self._places)) for place in self._places]
        self.threads = min(_threads(place, self._places) for place in self._places)
        self._ended = False

    def refuse_differences(self) -> None:
        """Raise ConfigError, in every rank, if one has another version than rank 0, or was asked for something else."""
        try:
            _refuse_differences(self.names, self._places)
        except ConfigError:
            self._ended = True
            raise

    def send(self, messages: Sequence[Any]) -> None:
        """Send each of the other ranks its message; the first one, for this rank itself, is not sent."""
        for rank in range(1, 1 if self._ended else self.size):
            self._comm.send(messages[rank], dest=rank)

    def send_all(self, message: Any) -> None:
        """Send all other ranks the same message."""
        self.send([message] * self.size)

    @uninterrupted()
    def share(self, message: Any) -> None:
        """Send all other ranks the same large message by a broadcast, which takes less time than one by one."""
        if not self._ended:
            self.send_all(_Shared())
            self._comm.bcast(message)

    def end(self, code: int) -> None:
        """Let all other ranks end with this exit code; nothing is sent to them after that."""
        self.send_all(End(code))
        self._ended = True

    def hear(self) -> Any:
        """Return the next message of rank 0; a long wait leaves the core to other programs."""
        message = self._receive(0)
        return self._comm.bcast(None) if isinstance(message, _Shared) else message

    def answer(self, answer: Any) -> None:
        """Answer rank 0."""
        self._comm.send(answer, dest=0)

    @contextmanager
    def asked(self, messages: Sequence[Any]) -> Iterator[list[Any]]:
        """Send each of the other ranks its message, and let this one do its own share within the context.

        The list has the answers of the other ranks, in order, after the context. They are received even if this rank
        fails: they must not be taken for those to a later message. Signals that stop the program wait until then.
        Raises:  CharRNNError if a rank could not do its share.
        """
        answers = list[Any]()
        with uninterrupted():
            self.send(messages)
            try:
                yield answers
            finally:
                answers += [self._receive(rank) for rank in range(1, self.size)]
        for name, answer in zip(self.names[1:], answers, strict=True):
            if isinstance(answer, Failure):
                raise CharRNNError(f"{name}: {answer.reason}", answer.exit_code)

    def add_up(
        self,
        pieces: npt.NDArray[Any],
        shards: npt.NDArray[Any],
        total: Callable[[npt.NDArray[Any]], npt.NDArray[Any]],
    ) -> None:
        """Replace the numbers of each rank by the sums over all ranks.

        pieces, shards  (K, ranks, N), contiguous: K pieces, each with a shard for every rank to add; and space for the
                        shards that this rank adds
        total           returns the sum over the first axis of an array (ranks, N), which it may overwrite
        """
        coming = [self._comm.Ialltoall(piece, own) for piece, own in zip(pieces, shards, strict=True)]
        for at, own in enumerate(shards):
            self._finish(coming[at])
            coming[at] = self._comm.Iallgather(total(own), pieces[at])
        for request in coming:
            self._finish(request)

    def abort(self, code: int) -> None:
        """End all ranks at once with this exit code, even those that wait for one another."""
        time.sleep(FLUSHED)
        self._comm.Abort(code)

    def _receive(self, rank: int) -> Any:
        patient = time.monotonic() + _PATIENCE

        def look() -> MPI.Message | None:
            if time.monotonic() > patient:
                time.sleep(_PAUSE)
            return self._comm.improbe(source=rank)

        return _until(look).recv()

    def _finish(self, request: MPI.Request) -> None:
        """Wait for a sum; between two looks, a rank that has no core of its own may compute."""
        _until(lambda: request.Test() or None)


def _until(look: Callable[[], T | None]) -> T:
    """Look until there is something to return."""
    while (found := look()) is None:
        if hasattr(os, "sched_yield"):
            os.sched_yield()
    return found


def _world() -> MPI.Intracomm:
    """Start MPI, and return the communicator of all ranks.

    Raises:  MissingExtraError if mpi4py is missing; ConfigError if MPI is, or another MPI started this process.
    """
    try:
        import mpi4py

        mpi4py.rc.initialize = False  # MPICH aborts with several lines where `srun --mpi=pmix` has started it
        from mpi4py import MPI
    except ModuleNotFoundError:
        raise MissingExtraError("training on several ranks", "mpi4py", "mpi") from None
    except (ImportError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"mpi4py finds no MPI ({reason}): pip install mpich, or load your cluster's MPI") from None
    vendor, started = MPI.get_vendor()[0], launch()
    if vendor == "MPICH" and started is not None and started.by_pmix:
        raise ConfigError("MPICH does not know PMIx: start the ranks with srun --mpi=pmi2")
    if not MPI.Is_initialized():
        MPI.Init()
        atexit.register(MPI.Finalize)
    world = MPI.COMM_WORLD
    if started is not None and started.size != world.size:
        raise ConfigError(
            f"{started.size} processes were started, and MPI connects {world.size}: start them with the mpiexec of "
            f"{vendor}, which mpi4py uses, or with srun --mpi=pmi2"
        )
    return world


def _node(world: MPI.Intracomm) -> int:
    """Return the first of the ranks that share memory with this one."""
    from mpi4py import MPI

    together = world.Split_type(MPI.COMM_TYPE_SHARED)
    first: int = together.bcast(world.rank)
    return first


def _with_own_names(places: Sequence[_Place]) -> list[_Place]:
    """Return the places with a number behind the name of each host that has the name of another."""
    names: dict[int, str] = {}
    for place in places:
        if place.node not in names:
            same = sum(place.host in (name, name.rpartition(" ")[0]) for name in names.values())
            names[place.node] = f"{place.host} {same + 1}" if same else place.host
    return [place._replace(host=names[place.node]) for place in places]


def _cores() -> frozenset[int]:
    """Return the numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def _threads(place: _Place, places: list[_Place]) -> int:
    """Return the threads of a rank: those that its matrix products use, but at most its share of the host's cores."""
    together = [other for other in places if other.host == place.host]
    return max(1, min(place.threads, len(_host_cores(place, places)) // len(together)))


def _host_cores(place: _Place, places: list[_Place]) -> frozenset[int]:
    """Return the cores that all ranks on the host of one of them may use together."""
    return frozenset[int]().union(*(other.cores for other in places if other.host == place.host))


def _refuse_differences(names: list[str], places: list[_Place]) -> None:
    """Raise ConfigError if a rank has another version than rank 0, or was asked for something else."""
    first = places[0]
    for name, place in zip(names, places, strict=True):
        if place.version != first.version:
            raise ConfigError(
                f"{name} has charrnn {place.version}, and rank 0 has {first.version}: install the same version"
            )
        for option in {**first.settings, **place.settings}:
            own, firsts = place.settings.get(option, ""), first.settings.get(option, "")
            if own != firsts:
                flag = (own or firsts).split()[0]
                here, there = (f"with {words}" if words else f"without {flag}" for words in (own, firsts))
                raise ConfigError(f"{name} was started {here}, and rank 0 {there}: give all the same")
