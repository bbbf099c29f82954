"""The service on a socket, run by uvicorn. No other module needs that package."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import MutableMapping
from contextlib import ExitStack, suppress
from typing import Any

import uvicorn

from charrnn.errors import RECURS, CharRNNError, exit_code_of
from charrnn.serve.deadlines import GRACE
from charrnn.serve.service import Service
from charrnn.serve.web import App, Receive, Scope, Send, application

_HEAD_SECONDS = 10.0  # time for the head of a connection's first request to arrive
_UNREAD_SECONDS = 60.0  # time for a client to read some of an answer that fills the buffers


class Listener(socket.socket):
    """A listening socket that closes a connection whose first request does not arrive."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._timers: dict[Any, asyncio.TimerHandle] = {}

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection, and start the timer for its first request."""
        connection, address = super().accept()
        loop = asyncio.get_running_loop()
        self._timers[address[:2]] = loop.call_later(_HEAD_SECONDS, self._close, connection, address[:2])
        return connection, address

    def heard(self, client: Any) -> None:
        """Stop the timer of a connection, whose client has sent a request."""
        if timer := self._timers.pop(tuple(client), None):
            timer.cancel()

    def _close(self, connection: socket.socket, client: Any) -> None:
        del self._timers[client]
        with suppress(OSError):  # it is closed already
            connection.shutdown(socket.SHUT_RDWR)


class _Server(uvicorn.Server):  # type: ignore[misc]
    """Uvicorn's server, which stops the service when a signal stops the server."""

    service: Service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, and wait for running requests."""
        self.service.stop()
        await super().shutdown(sockets)


def listening(host: str, port: int) -> Listener:
    """Return a socket that listens already; port 0 picks any free port.

    Raises:  CharRNNError where the address is not available.
    """
    with ExitStack() as stack:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            listener = stack.enter_context(Listener(family, kind, protocol))
            if os.name == "posix":  # elsewhere this lets two servers share a port
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux: its connections inherit this
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(_UNREAD_SECONDS * 1000))
            listener.bind(address)
            listener.listen()
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or error
            code = RECURS
            if isinstance(error, OSError) and error.errno != socket.EAI_NONAME:
                code = exit_code_of(error)
            raise CharRNNError(f"cannot listen on {host}:{port}: {why}: give another --port or --host", code) from None
        stack.pop_all()
        return listener


def _guarded(app: App, listener: Listener) -> App:
    """Return the application with a limit on the time in which a client reads some of an answer.

    Sending a piece takes as long as the client needs to make room for it. A timer for each answer looks now and then
    how long the newest piece has been waiting: a limit for each piece would take a twentieth of a busy server's time.
    """

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        loop, since = asyncio.get_running_loop(), list[float]()  # when the piece that is being sent began to wait
        timer: asyncio.TimerHandle

        async def send_in_time(message: MutableMapping[str, Any]) -> None:
            since.append(loop.time())
            await send(message)
            since.clear()

        def look() -> None:
            nonlocal timer
            if since and loop.time() - since[0] >= _UNREAD_SECONDS:
                limit.reschedule(loop.time())
            else:
                timer = loop.call_later(_UNREAD_SECONDS / 4, look)

        listener.heard(scope["client"])
        timer = loop.call_later(_UNREAD_SECONDS / 4, look)
        try:
            async with asyncio.timeout(None) as limit:
                await app(scope, receive, send_in_time)
        finally:
            timer.cancel()

    return guarded


async def serve(service: Service, listener: Listener, token: str | None) -> None:
    """Answer requests from the socket until a signal asks to stop; then raise that signal again."""
    config = uvicorn.Config(
        _guarded(application(service, token), listener),
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",  # errors go to the clients
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=int(GRACE) + 2,
    )
    server = _Server(config)
    server.service = service
    await server.serve(sockets=[listener])
