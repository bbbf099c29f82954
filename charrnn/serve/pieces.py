"""The text of a sample that grows, in pieces that no longer change."""

from __future__ import annotations

from charrnn.data.vocab import Vocab
from charrnn.generation.sample import Sample
from charrnn.generation.stops import StopBuffer
from charrnn.serve.batch import Job
from charrnn.serve.requests import RequestError


class Pieces:
    """Reads a job's sample piece by piece, without the beginning of what may become a stop string.

    shown    characters of the text that were returned
    settled  the symbols that they took, which are more if the model writes bytes
    """

    def __init__(self, job: Job, vocab: Vocab, prime: str) -> None:
        self.job, self.shown, self.settled = job, 0, 0
        self._vocab, self._prime, self._read = vocab, prime, 0
        self._decode = vocab.decoder(prime)
        self._buffer = StopBuffer(tuple(map(vocab.characters, job.rules.stops)))

    def next(self) -> str:
        """Return the text that was added since the last call; empty once the sample has ended."""
        ids = self.job.draft.ids[self._read :]
        if self.job.draft.ended:
            return ""
        self._read += len(ids)
        symbols = self._buffer.push(self._vocab.characters(ids))
        self.settled += len(symbols)
        piece = self._decode(symbols)
        self.shown += len(piece)
        return piece

    def finished(self) -> Sample:
        """Return the sample, which has ended; its text begins with the pieces.

        Raises:  RequestError with 500 if an error ended it.
        """
        job = self.job
        if job.draft.ended.startswith("error"):
            raise RequestError(500, f"no text could be generated: {job.draft.ended}")
        draft = job.draft.before_stop(job.rules)
        return draft.sample(self._vocab, seed=job.seed, index=job.index, prime=self._prime)
