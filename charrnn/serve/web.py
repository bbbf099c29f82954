"""The service over HTTP: a Starlette application, which any ASGI server can run.

`openapi` lists the paths. A request is a JSON object, and so is its answer. A stream is lines of JSON, the last of
which is the answer, or, under /v1, server-sent events. An error is {"error": "one line"}, or, under /v1, OpenAI's
object.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias, TypeVar
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from charrnn.errors import CharRNNError
from charrnn.pages import render
from charrnn.serve import openai, openapi
from charrnn.serve.requests import RequestError, check_size, json_line, one_line, parse
from charrnn.serve.service import Service

T = TypeVar("T")
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Answers: TypeAlias = AsyncGenerator[dict[str, Any], None]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_BODY_SECONDS = 10.0  # time for a request to arrive
_BLOCK = 1 << 16  # bytes of an answer that are sent at once, so that a client that does not read is noticed
_HEADERS = {401: {"www-authenticate": "Bearer"}, 503: {"retry-after": "1"}}
_PAGES = {"/": render("service.html"), "/docs": render("api.html")}
_PUBLIC = (*_PAGES, "/openapi.json")  # served without the token, since a browser cannot send it with an address
#: A page loads nothing, runs only what is in it, and talks only to this server.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def application(service: Service, token: str | None) -> Starlette:
    """Return the ASGI application.

    token  every request needs the header `Authorization: Bearer TOKEN`. None: only requests to localhost are served,
           and none from a web page of another host, even if that host's name resolves to this machine
    """
    answers = _Answers(service)
    gets = {
        **dict.fromkeys(_PAGES, _page),
        "/openapi.json": _openapi,
        "/health": answers.health,
        "/models": answers.models,
        "/v1/models": answers.openai_models,
        "/v1/models/{name}": answers.openai_model,
    }
    routes = [Route(path, endpoint, methods=["GET"]) for path, endpoint in gets.items()]
    routes += [Route(path, answers.post, methods=["POST"]) for path in openapi.POSTS]
    handlers = {CharRNNError: _refusal, HTTPException: _wrong_path, Exception: _refusal}
    return Starlette(routes=routes, exception_handlers=handlers, middleware=[Middleware(_Access, token=token)])


class _Answers:
    """The endpoints that ask the service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def health(self, request: Request) -> Response:
        """Return the status of the service."""
        return _json(self._service.health())

    async def models(self, request: Request) -> Response:
        """Return the models."""
        return _json(self._service.models())

    async def openai_models(self, request: Request) -> Response:
        """Return the models in OpenAI's form."""
        models = [openai.model(name, created) for name, created in self._service.created().items()]
        return _json({"object": "list", "data": models})

    async def openai_model(self, request: Request) -> Response:
        """Return one model in OpenAI's form."""
        name, created = request.path_params["name"], self._service.created()
        if name not in created:
            raise RequestError(404, f"no model {name!r} is loaded: choose from {', '.join(created)}", "model")
        return _json(openai.model(name, created[name]))

    async def post(self, request: Request) -> Response:
        """Answer a request; stop if the client disconnects."""
        data, path = parse(await _body(request)), request.scope["path"]
        answers = self._service.answer(openapi.POSTS[path], data)
        try:
            first = await _unless_disconnected(anext(answers), request)
        except ClientDisconnect:
            return Response(status_code=499)  # the client is gone
        if data.get("stream") is not True:
            await answers.aclose()
            return _Blocks(json_line(first), media_type="application/json")
        kind, lines = "application/x-ndjson", _lines(request, first, answers)
        if _is_openai(request):
            kind, lines = "text/event-stream", _events(lines)
        return StreamingResponse(lines, media_type=kind, background=BackgroundTask(answers.aclose))


class _Access:
    """Refuses requests without the token, or, where none is set, from another host."""

    def __init__(self, app: App, token: str | None) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            request = Request(scope)
            try:
                self._check(request)
            except RequestError as error:
                response = await _refusal(request, error)
                response.headers["connection"] = "close"
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, request: Request) -> None:
        """Raise RequestError with 401 or 403 for a request to refuse."""
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        if self._token is not None:
            given = request.headers.get("authorization", "").encode("latin-1")
            right = hmac.compare_digest(given, b"Bearer " + self._token.encode())
            if not right and request.scope["path"] not in _PUBLIC:
                raise RequestError(401, "the request lacks the token: send the header Authorization: Bearer TOKEN")
        elif not is_loopback(_hostname("//" + host)):
            raise RequestError(403, f"the request is for host {host!r}: without a token, only localhost is served")
        elif origin is not None and not is_loopback(_hostname(origin)):
            raise RequestError(403, "the request comes from a web page on another host: use a token")


class _Blocks(Response):  # type: ignore[misc]
    """A response that is sent block by block, as fast as the client reads."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for at in range(0, len(self.body), _BLOCK):
            more = at + _BLOCK < len(self.body)
            await send({"type": "http.response.body", "body": self.body[at : at + _BLOCK], "more_body": more})


def _json(data: dict[str, Any], status: int = 200) -> Response:
    return Response(json_line(data), status, _HEADERS.get(status), "application/json")


async def _page(request: Request) -> Response:
    headers = {
        "content-security-policy": _POLICY,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
    }
    return Response(_PAGES[request.scope["path"]], headers=headers, media_type="text/html")


async def _openapi(request: Request) -> Response:
    return _json(openapi.document())


async def _lines(request: Request, first: dict[str, Any], answers: Answers) -> AsyncGenerator[bytes, None]:
    """Yield each answer as a line; an error is the last one."""
    try:
        yield json_line(first)
        async for answer in answers:
            yield json_line(answer)
    except Exception as error:
        yield json_line(_error(request, error)[1])


async def _events(lines: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Yield each line as a server-sent event, and the event that ends a stream."""
    async for line in lines:
        yield b"data: " + line + b"\n"
    yield b"data: [DONE]\n\n"


# Errors


def _error(request: Request, error: Exception) -> tuple[int, dict[str, Any]]:
    """Return the status and the object of an error."""
    if isinstance(error, CharRNNError):
        status, message = getattr(error, "status", 422), one_line(error)
    else:
        status, message = 500, " ".join(f"{type(error).__name__}: {error}".split())  # a bug
    if not _is_openai(request):
        return status, {"error": message}
    status = 400 if status == 422 else status
    return status, openai.error(status, message, getattr(error, "field", None))


async def _refusal(request: Request, error: Exception) -> Response:
    """Return the response to a request that failed."""
    status, data = _error(request, error)
    return _json(data, status)


async def _wrong_path(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path, allowed = request.scope["path"], (error.headers or {}).get("Allow")
    expected = "POST" if path in openapi.POSTS else "GET"
    message = f"{path} is for {expected}, not {request.method}" if allowed else f"there is no {path}: see /docs"
    return await _refusal(request, RequestError(error.status_code, message))


# Requests


def _is_openai(request: Request) -> bool:
    """Return whether the client speaks OpenAI's protocol.

    The path is not that of `request.url`, which the header Host could change.
    """
    return bool(request.scope["path"].startswith("/v1/"))


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


async def _body(request: Request) -> bytes:
    """Return the body of a request.

    Raises:  RequestError if it is too large or does not arrive.
    """
    length = request.headers.get("content-length", "0")
    check_size(int(length) if length.isdecimal() else 0)
    body = b""
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                check_size(len(body))
    except ClientDisconnect:
        raise RequestError(400, "the request was cut short") from None
    except TimeoutError:
        raise RequestError(408, f"the request did not arrive within {_BODY_SECONDS:.0f} seconds") from None
    return body


async def _unless_disconnected(awaitable: Awaitable[T], request: Request) -> T:
    """Await this, but cancel it if the client disconnects."""
    answer, disconnect = asyncio.ensure_future(awaitable), asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({answer, disconnect}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not answer.done():
            answer.cancel()
        disconnect.cancel()
        await asyncio.wait({answer, disconnect})
    if answer.cancelled():
        raise ClientDisconnect
    return answer.result()
