"""The service on a socket, run by uvicorn. No other module needs that package."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import ExitStack
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from charrnn.errors import CharRNNError
from charrnn.serve.deadlines import GRACE
from charrnn.serve.service import Service
from charrnn.serve.web import Web, json_line

_HEAD_SECONDS = 10.0  # time for the head of a request to arrive, or for the rest of a refused one
_UNREAD_SECONDS = 60.0  # time for a client to read some of an answer that fills the buffers


class _Server(uvicorn.Server):  # type: ignore[misc]
    """Uvicorn's server, which stops the service when a signal stops the server."""

    service: Service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, and wait for running requests."""
        self.service.stop()
        await super().shutdown(sockets)


class _Protocol(H11Protocol):  # type: ignore[misc]
    """Uvicorn's connection, which closes if a request stays incomplete or an answer unread."""

    _head_timer: asyncio.TimerHandle | None = None
    _unread_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start the timer for a request."""
        super().connection_made(transport)
        self._update_head_timer()

    def data_received(self, data: bytes) -> None:
        """Process data; the timer runs on until the head of a request is complete."""
        super().data_received(data)
        self._update_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers."""
        super().connection_lost(exc)
        self._update_head_timer()
        if self._unread_timer is not None:
            self._unread_timer.cancel()

    def pause_writing(self) -> None:
        """Start the timer for a client that does not read."""
        super().pause_writing()
        if os.name == "posix":  # elsewhere the size of the buffer is unknown while it is being sent
            self._check_reading(self.transport.get_write_buffer_size() + 1)

    def resume_writing(self) -> None:
        """Stop that timer."""
        super().resume_writing()
        if self._unread_timer is not None:
            self._unread_timer.cancel()

    def eof_received(self) -> None:
        """Answer a client that sent half a request."""
        if self.conn.their_state is h11.SEND_BODY and self.conn.our_state is h11.SEND_RESPONSE:
            self.send_400_response("it was cut short")

    def send_400_response(self, msg: str) -> None:
        """Answer invalid HTTP with JSON, like all other errors."""
        body = json_line({"error": f"the request is not HTTP: {msg}"})
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event))
        self.transport.close()

    def _check_reading(self, before: int) -> None:
        """Close the connection if the client has read nothing since the buffer had this many bytes."""
        size = self.transport.get_write_buffer_size()
        if size >= before:
            self.transport.abort()
        else:
            self._unread_timer = self.loop.call_later(_UNREAD_SECONDS, self._check_reading, size)

    def _update_head_timer(self) -> None:
        """Run the timer while a request is incomplete, or the rest of a refused one still arrives."""
        incomplete = self.conn.their_state is h11.IDLE
        refused = self.conn.their_state is h11.SEND_BODY and self.conn.our_state in (h11.DONE, h11.MUST_CLOSE)
        waits = not self.transport.is_closing() and (incomplete or refused)
        if waits and self._head_timer is None:
            self._head_timer = self.loop.call_later(_HEAD_SECONDS, self.timeout_keep_alive_handler)
        elif not waits and self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens already; port 0 picks any free port.

    Raises:  CharRNNError where the address is not available.
    """
    with ExitStack() as stack:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            listener = stack.enter_context(socket.socket(family, kind, protocol))
            if os.name == "posix":  # elsewhere this lets two servers share a port
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or error
            raise CharRNNError(f"cannot listen on {host}:{port}: {why}: give another --port or --host") from None
        stack.pop_all()
        return listener


async def serve(service: Service, listener: socket.socket, token: str | None) -> None:
    """Answer requests from the socket until a signal asks to stop; then raise that signal again."""
    config = uvicorn.Config(
        Web(service, token),
        http=_Protocol,
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
