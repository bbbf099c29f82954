"""The service by HTTP: an ASGI application, which any server of that interface can run.

GET /health and /models, POST /generate, /score and /complete with a JSON object; the answer is a JSON object. A text of
which pieces are wanted comes as lines of JSON, the last of which is the answer. An error is {"error": "one line"}.
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
from charrnn.serve.requests import RequestError, check_size, one_line, parsed
from charrnn.serve.service import GRACE, Service

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

_GET, _POST = ("health", "models"), ("generate", "score", "complete")
_BODY_SECONDS = 10.0  # in which a request has to arrive
_MORE = {401: [(b"www-authenticate", b"Bearer")], 503: [(b"retry-after", b"1")]}


class Web:
    """The application.

    token  what a request has to bring along as `Authorization: Bearer TOKEN`. None: only what was sent to localhost
           gets an answer, and not by a web page of another host, whatever name it gave this machine
    """

    def __init__(self, service: Service, token: str | None) -> None:
        self._service, self._token = service, token

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        reply = _Reply(send)
        try:
            self._admit(dict(scope["headers"]))
            what = _what(scope["path"], scope["method"])
            if what in _GET:
                await reply.last(getattr(self._service, what)())
            else:
                ask = parsed(await _body(receive, dict(scope["headers"])))
                await _unless_left(self._answer(what, ask, reply), receive)
        except CharRNNError as error:
            await reply.error(getattr(error, "status", 422), one_line(error))
        except TimeoutError:  # the client does not read what it asked for: the server hangs up
            return
        except Exception as error:  # a mistake of ours: told, and the next request is served
            await reply.error(500, " ".join(f"{type(error).__name__}: {error}".split()))

    async def _answer(self, what: str, ask: dict[str, Any], reply: _Reply) -> None:
        async with asyncio.timeout(2 * self._service.limits.seconds + GRACE):  # for who asks and never reads
            async with aclosing(self._service.answer(what, ask)) as answers:
                async for answer in answers:
                    await (reply.piece if "piece" in answer else reply.last)(answer)

    def _admit(self, headers: dict[bytes, bytes]) -> None:
        """Refuse who may not come in."""
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
    """One response, which begins with its first piece."""

    def __init__(self, send: Send) -> None:
        self._send, self._begun = send, False

    async def piece(self, data: dict[str, Any]) -> None:
        """Send a line, after which others follow."""
        if not self._begun:
            await self._begin(200, b"application/x-ndjson")
        await self._send({"type": "http.response.body", "body": json_line(data), "more_body": True})

    async def last(self, data: dict[str, Any], status: int = 200) -> None:
        """Send the answer."""
        body = json_line(data)
        if not self._begun:
            await self._begin(status, b"application/json", (b"content-length", str(len(body)).encode()))
        await self._send({"type": "http.response.body", "body": body})

    async def error(self, status: int, message: str) -> None:
        """Send what is wrong."""
        await self.last({"error": message}, status)

    async def _begin(self, status: int, kind: bytes, *more: tuple[bytes, bytes]) -> None:
        self._begun = True
        headers = [(b"content-type", kind), *more, *_MORE.get(status, [])]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})


def json_line(data: dict[str, Any]) -> bytes:
    """Return a line of JSON; half a pair of surrogates becomes an escape."""
    return json.dumps(data, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def is_loopback(host: str) -> bool:
    """Return whether this name or address always means the machine itself."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _hostname(address: str) -> str:
    """Return the host of an address, without its port."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _what(path: str, method: str) -> str:
    """Return what is asked for."""
    what = path.removeprefix("/")
    if what not in _GET + _POST:
        raise RequestError(404, f"there is no {path}: there are {', '.join('/' + name for name in _GET + _POST)}")
    wanted = "GET" if what in _GET else "POST"
    if method != wanted:
        raise RequestError(405, f"{path} is for {wanted}, not {method}")
    return what


async def _body(receive: Receive, headers: dict[bytes, bytes]) -> bytes:
    """Return the body of the request.

    Raises:  RequestError where it is too large or does not arrive.
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


async def _unless_left(answering: Awaitable[None], receive: Receive) -> None:
    """Answer, or leave off where the client is gone."""
    answer, gone = asyncio.ensure_future(answering), asyncio.ensure_future(receive())
    try:
        await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        unfinished = not answer.done()
        answer.cancel()
        gone.cancel()
        await asyncio.wait({answer, gone})
    if not unfinished:
        answer.result()
