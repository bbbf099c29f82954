"""The service by lines of JSON, for the one program that started it: a request a line, and answers, each with its id.

{"do": "generate", "id": 7, "prime": "Once"}  ->  {"id": 7, "text": " upon a time", ...}

What can be asked for are the names that HTTP has as paths, and "cancel". Requests are served side by side, so answers
come in any order; of each there is one, after the pieces of a text where they are wanted.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import aclosing, suppress
from typing import Any, BinaryIO

from charrnn.errors import CharRNNError
from charrnn.serve.requests import MOST_BYTES, RequestError, check_size, one_line, parsed
from charrnn.serve.service import Service
from charrnn.serve.web import json_line

_ASKS = ("generate", "score", "complete")


class Lines:
    """A conversation; `write` takes each line of an answer, whole."""

    def __init__(self, service: Service, write: Callable[[bytes], None]) -> None:
        self._service, self._write = service, write
        self._tasks: dict[Any, asyncio.Task[None]] = {}
        self._places = asyncio.Semaphore(service.limits.requests)

    async def converse(self, file: BinaryIO) -> None:
        """Answer every line of the file; no more is read while as many are being served as the service takes."""
        lines: asyncio.Queue[bytes | OSError] = asyncio.Queue()
        room = threading.Semaphore(self._service.limits.requests + 1)  # one more may be what cancels another
        threading.Thread(target=_read, args=(file, asyncio.get_running_loop(), lines, room), daemon=True).start()
        number = 0
        try:
            async with asyncio.TaskGroup() as tasks:
                while line := await lines.get():
                    if isinstance(line, OSError):
                        break
                    number += 1
                    if line.isspace():
                        room.release()
                        continue
                    task = tasks.create_task(self._serve(number, line))
                    task.add_done_callback(lambda _: room.release())
        except ExceptionGroup as errors:  # the reader of the answers is gone, as a rule
            raise errors.exceptions[0] from None
        if isinstance(line, OSError):
            raise CharRNNError(f"cannot read standard input: {line.strerror}: pipe requests in")

    async def _serve(self, number: int, line: bytes) -> None:
        """Answer a line; what has no id is answered by its number."""
        id_: Any = number
        try:
            check_size(len(line.strip()))
            ask = parsed(line)
            id_ = ask.pop("id", number)
            await self._answer(id_, ask.pop("do", None), ask)
        except CharRNNError as error:
            self._tell(id_, {"error": one_line(error)})
        except OSError:
            raise
        except Exception as error:  # a mistake of ours: told, and the next request is served
            self._tell(id_, {"error": f"{type(error).__name__}: {error}"})

    async def _answer(self, id_: Any, what: Any, ask: dict[str, Any]) -> None:
        if not isinstance(id_, (str, int)):
            raise RequestError(422, "id is not a string or a whole number")
        if what in ("health", "models"):
            self._tell(id_, getattr(self._service, what)())
        elif what == "cancel":
            self._cancel(id_)
        elif what not in _ASKS:
            raise RequestError(422, f'"do" is one of {", ".join(_ASKS)}, models, health, cancel')
        elif id_ in self._tasks:
            raise RequestError(422, "a request of this id is being served: give each an id of its own")
        else:
            await self._pieces(id_, what, ask)

    async def _pieces(self, id_: Any, what: str, ask: dict[str, Any]) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks[id_] = task
        try:
            async with self._places, aclosing(self._service.answer(what, ask)) as answers:
                async for answer in answers:
                    self._tell(id_, answer)
        except asyncio.CancelledError:
            if self._tasks.get(id_) is task:  # not by a request: all is over
                raise
            self._tell(id_, {"error": "cancelled"})
        finally:
            if self._tasks.get(id_) is task:
                del self._tasks[id_]

    def _cancel(self, id_: Any) -> None:
        if id_ not in self._tasks:
            raise RequestError(422, "no request of this id is being served")
        self._tasks.pop(id_).cancel()

    def _tell(self, id_: Any, data: dict[str, Any]) -> None:
        self._write(json_line({"id": id_} | data))


def _read(
    file: BinaryIO, loop: asyncio.AbstractEventLoop, lines: asyncio.Queue[bytes | OSError], room: threading.Semaphore
) -> None:
    """Hand on the lines of the file, and an empty one at its end, or why it cannot be read.

    Those that are too long are cut, so that it shows.
    """
    last: bytes | OSError = b""
    with suppress(RuntimeError):  # the loop is closed: all is over
        try:
            while line := file.readline(MOST_BYTES + 1):
                rest = line
                while rest and not rest.endswith(b"\n"):
                    rest = file.readline(MOST_BYTES)
                room.acquire()
                loop.call_soon_threadsafe(lines.put_nowait, line)
        except OSError as error:
            last = error
        loop.call_soon_threadsafe(lines.put_nowait, last)
