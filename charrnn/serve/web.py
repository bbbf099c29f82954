"""The service over HTTP: an ASGI application, which any ASGI server can run.

GET /health and /models; POST /generate, /score and /complete with a JSON object. The answer is a JSON object. A stream
is lines of JSON, the last of which is the answer. An error is {"error": "one line"}.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import aclosing
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from charrnn.errors import CharRNNError
from charrnn.serve.deadlines import GRACE
from charrnn.serve.requests import RequestError, check_size, one_line, parse
from charrnn.serve.service import Service

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

_GET, _POST = ("health", "models"), ("generate", "score", "complete")
_BODY_SECONDS = 10.0  # time for a request to arrive
_HEADERS = {401: [(b"www-authenticate", b"Bearer")], 503: [(b"retry-after", b"1")]}


class Web:
    """The ASGI application.

    token  every request needs the header `Authorization: Bearer TOKEN`. None: only requests to localhost are served,
           and none from a web page of another host, even if that host's name resolves to this machine
    """

    def __init__(self, service: Service, token: str | None) -> None:
        self._service, self._token = service, token

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        reply = _Reply(send)
        try:
            self._authorize(dict(scope["headers"]))
            action = _action(scope["path"], scope["method"])
            if action in _GET:
                await reply.last(getattr(self._service, action)())
            else:
                request = parse(await _body(receive, dict(scope["headers"])))
                await _until_disconnect(self._answer(action, request, reply), receive)
        except CharRNNError as error:
            await reply.error(getattr(error, "status", 422), one_line(error))
        except TimeoutError:  # the client does not read the answer: the server closes the connection
            return
        except Exception as error:  # a bug: report it, and serve the next request
            await reply.error(500, " ".join(f"{type(error).__name__}: {error}".split()))

    async def _answer(self, action: str, request: dict[str, Any], reply: _Reply) -> None:
        async with asyncio.timeout(2 * self._service.limits.seconds + GRACE):  # in case the client never reads
            async with aclosing(self._service.answer(action, request)) as answers:
                async for answer in answers:
                    await (reply.piece if "piece" in answer else reply.last)(answer)

    def _authorize(self, headers: dict[bytes, bytes]) -> None:
        """Refuse a request without the token, or from another host.

        Raises:  RequestError with 401 or 403.
        """
        if self._token is not None:
            given = headers.get(b"authorization", b"")
            if not hmac.compare_digest(given, b"Bearer " + self._token.encode()):
                raise RequestError(401, "the request lacks the token: send the header Authorization: Bearer TOKEN")
            return
        host = headers.get(b"host", b"").decode("latin-1")
        origin = headers.get(b"origin")
        if not is_loopback(_hostname("//" + host)):
            raise RequestError(403, f"the request is for the host {host!r}: without a token, only localhost is served")
        if origin is not None and not is_loopback(_hostname(origin.decode("latin-1"))):
            raise RequestError(403, "the request comes from a web page of another host: use a token")


class _Reply:
    """One response, whose headers are sent with its first line."""

    def __init__(self, send: Send) -> None:
        self._send, self._started = send, False

    async def piece(self, data: dict[str, Any]) -> None:
        """Send a line that others will follow."""
        if not self._started:
            await self._start(200, b"application/x-ndjson")
        await self._send({"type": "http.response.body", "body": json_line(data), "more_body": True})

    async def last(self, data: dict[str, Any], status: int = 200) -> None:
        """Send the answer, and end the response."""
        body = json_line(data)
        if not self._started:
            await self._start(status, b"application/json", (b"content-length", str(len(body)).encode()))
        await self._send({"type": "http.response.body", "body": body})

    async def error(self, status: int, message: str) -> None:
        """Send an error, and end the response."""
        await self.last({"error": message}, status)

    async def _start(self, status: int, kind: bytes, *more: tuple[bytes, bytes]) -> None:
        self._started = True
        headers = [(b"content-type", kind), *more, *_HEADERS.get(status, [])]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})


def json_line(data: dict[str, Any]) -> bytes:
    """Return a line of JSON; a lone surrogate becomes an escape."""
    return json.dumps(data, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def is_loopback(host: str) -> bool:
    """Return whether this name or address always refers to this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _hostname(address: str) -> str:
    """Return the host of a URL, without its port."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _action(path: str, method: str) -> str:
    """Return the action that a path names, or refuse the request."""
    action = path.removeprefix("/")
    if action not in _GET + _POST:
        raise RequestError(404, f"there is no {path}: there are {', '.join('/' + name for name in _GET + _POST)}")
    expected = "GET" if action in _GET else "POST"
    if method != expected:
        raise RequestError(405, f"{path} is for {expected}, not {method}")
    return action


async def _body(receive: Receive, headers: dict[bytes, bytes]) -> bytes:
    """Return the body of the request.

    Raises:  RequestError if it is too large or does not arrive.
    """
    check_size(int(headers.get(b"content-length", b"0")))
    body, more = b"", True
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise RequestError(400, "the request was cut short")
                body, more = body + message.get("body", b""), message.get("more_body", False)
                check_size(len(body))
    except TimeoutError:
        raise RequestError(408, f"the request did not arrive within {_BODY_SECONDS:.0f} seconds") from None
    return body


async def _until_disconnect(answering: Awaitable[None], receive: Receive) -> None:
    """Answer, but stop if the client disconnects."""
    answer, disconnect = asyncio.ensure_future(answering), asyncio.ensure_future(receive())
    try:
        await asyncio.wait({answer, disconnect}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        unfinished = not answer.done()
        answer.cancel()
        disconnect.cancel()
        await asyncio.wait({answer, disconnect})
    if not unfinished:
        answer.result()
