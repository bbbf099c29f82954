"""The service as lines of JSON, for the program that started it: one request a line, answers with the same id.

{"do": "generate", "id": 7, "prime": "Once"}  ->  {"id": 7, "text": " upon a time", ...}

"do" is the name of a path of the HTTP service, or "cancel". Requests are served concurrently, so answers come in any
order. Each request gets one answer, after the pieces of its text if it asks for a stream.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import aclosing, suppress
from typing import Any, BinaryIO

from charrnn.errors import CharRNNError
from charrnn.serve.requests import ACTIONS, MOST_BYTES, RequestError, check_size, json_line, one_line, parse
from charrnn.serve.service import Service


class LineClient:
    """A client on two pipes. `write` is called with each whole line of an answer."""

    def __init__(self, service: Service, write: Callable[[bytes], None]) -> None:
        self._service, self._write = service, write
        self._tasks: dict[Any, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(service.limits.requests)

    async def converse(self, file: BinaryIO) -> None:
        """Answer every line of the file, reading no further while the maximum number of requests is being served."""
        lines: asyncio.Queue[bytes | OSError] = asyncio.Queue()
        slots = threading.Semaphore(self._service.limits.requests + 1)  # one more may cancel another
        threading.Thread(target=_read, args=(file, asyncio.get_running_loop(), lines, slots), daemon=True).start()
        number = 0
        try:
            async with asyncio.TaskGroup() as tasks:
                while line := await lines.get():
                    if isinstance(line, OSError):
                        break
                    number += 1
                    if line.isspace():
                        slots.release()
                        continue
                    task = tasks.create_task(self._serve(number, line))
                    task.add_done_callback(lambda _: slots.release())
        except ExceptionGroup as errors:  # usually, the client closed the pipe
            raise errors.exceptions[0] from None
        if isinstance(line, OSError):
            raise CharRNNError.of(line, "cannot read standard input", "pipe requests in")

    async def _serve(self, number: int, line: bytes) -> None:
        """Answer one line; without an id, the number of the line is the id."""
        id_: Any = number
        try:
            check_size(len(line.strip()))
            request = parse(line)
            id_ = request.pop("id", number)
            await self._answer(id_, request.pop("do", None), request)
        except CharRNNError as error:
            self._send(id_, {"error": one_line(error)})
        except OSError:
            raise
        except Exception as error:  # a bug: report it, and serve the next request
            self._send(id_, {"error": f"{type(error).__name__}: {error}"})

    async def _answer(self, id_: Any, action: Any, request: dict[str, Any]) -> None:
        if not isinstance(id_, (str, int)):
            raise RequestError(422, "id must be a string or a whole number")
        if action in ("health", "models"):
            self._send(id_, getattr(self._service, action)())
        elif action == "cancel":
            self._cancel(id_)
        elif not isinstance(action, str) or action not in ACTIONS:
            raise RequestError(422, f'"do" must be one of {", ".join(ACTIONS)}, models, health, cancel')
        elif id_ in self._tasks:
            raise RequestError(422, "a request with this id is in progress: give each its own id")
        else:
            await self._send_answers(id_, action, request)

    async def _send_answers(self, id_: Any, action: str, request: dict[str, Any]) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks[id_] = task
        try:
            async with self._slots, aclosing(self._service.answer(action, request)) as answers:
                async for answer in answers:
                    self._send(id_, answer)
        except asyncio.CancelledError:
            if self._tasks.get(id_) is task:  # not cancelled by a request: the service ends
                raise
            self._send(id_, {"error": "cancelled"})
        finally:
            if self._tasks.get(id_) is task:
                del self._tasks[id_]

    def _cancel(self, id_: Any) -> None:
        if id_ not in self._tasks:
            raise RequestError(422, "no request with this id is in progress")
        self._tasks.pop(id_).cancel()

    def _send(self, id_: Any, data: dict[str, Any]) -> None:
        own = {"id": id_}
        self._write(json_line(own | data | own))  # OpenAI's object has another id


def _read(
    file: BinaryIO, loop: asyncio.AbstractEventLoop, lines: asyncio.Queue[bytes | OSError], slots: threading.Semaphore
) -> None:
    """Put the lines of the file into the queue; at its end an empty line, or the error that ended it.

    A line that is too long is cut off one byte above the limit, so that it is refused.
    """
    last: bytes | OSError = b""
    with suppress(RuntimeError):  # the event loop is closed
        try:
            while line := file.readline(MOST_BYTES + 1):
                rest = line
                while rest and not rest.endswith(b"\n"):
                    rest = file.readline(MOST_BYTES)
                slots.acquire()
                loop.call_soon_threadsafe(lines.put_nowait, line)
        except OSError as error:
            last = error
        loop.call_soon_threadsafe(lines.put_nowait, last)
