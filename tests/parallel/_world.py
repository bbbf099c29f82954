"""A world of ranks without MPI: each rank is a thread of this process, and what is sent between them is copied."""

import pickle
import threading
from contextlib import contextmanager
from queue import SimpleQueue

from charrnn.parallel import ranks as ranks_module
from charrnn.parallel.ranks import Ranks
from charrnn.training.follow import follow

TIMEOUT = 20  # seconds after which a rank counts as hanging


class Message:
    """A message that has arrived."""

    def __init__(self, data):
        self.data = data

    def recv(self):
        return pickle.loads(self.data)


class Done:
    """The request of a collective call that has ended; it is first found unfinished."""

    def __init__(self):
        self.tests = iter((False, True))

    def Test(self):  # MPI's name
        return next(self.tests)


class World:
    """So many ranks; `comm(rank)` is what mpi4py's communicator is for one of them, as far as `Ranks` uses it."""

    def __init__(self, size):
        self.size = size
        self.meeting = threading.Barrier(size, timeout=TIMEOUT)
        self.table = [None] * size
        self.boxes = {(source, dest): SimpleQueue() for source in range(size) for dest in range(size)}
        self.aborted = []

    def comm(self, rank):
        return Comm(self, rank)


class Comm:
    def __init__(self, world, rank):
        self.world, self.rank, self.size = world, rank, world.size

    def allgather(self, own):
        """Exchange; the ranks that are there wait for the others."""
        self.world.table[self.rank] = own
        self.world.meeting.wait()
        found = list(self.world.table)
        self.world.meeting.wait()
        return found

    def bcast(self, message=None):
        return pickle.loads(self.allgather(pickle.dumps(message))[0])

    def send(self, message, dest):
        self.world.boxes[self.rank, dest].put(pickle.dumps(message))

    def improbe(self, source):
        box = self.world.boxes[source, self.rank]
        return None if box.empty() else Message(box.get())

    def Ialltoall(self, shards, inbox):
        for rank, other in enumerate(self.allgather(shards.copy())):
            inbox[rank] = other[self.rank]
        return Done()

    def Iallgather(self, own, shards):
        shards[...] = self.allgather(own.copy())
        return Done()

    def Abort(self, code):
        self.world.aborted.append((self.rank, code))
        self.world.meeting.abort()


@contextmanager
def ranks_of(size, monkeypatch):
    """Start a world in which the other ranks follow; the context is that of rank 0, which ends them with code 7."""
    world, codes, own = World(size), [], threading.local()
    monkeypatch.setattr(ranks_module, "_world", lambda: own.comm)
    monkeypatch.setattr(ranks_module, "_node", lambda world: 0)

    def other(rank):
        own.comm = world.comm(rank)
        codes.append(follow(Ranks({})))

    threads = [threading.Thread(target=other, args=(rank,), daemon=True) for rank in range(1, size)]
    for thread in threads:
        thread.start()
    own.comm = world.comm(0)
    ranks = Ranks({})
    try:
        yield ranks
    finally:
        ranks.end(7)
        for thread in threads:
            thread.join(TIMEOUT)
    assert codes == [7] * (size - 1)
