"""The service on a socket, by uvicorn. Nothing else imports this module, nor needs that package."""

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
from charrnn.serve.service import GRACE, Service
from charrnn.serve.web import Web, json_line

_HEAD_SECONDS = 10.0  # in which the first lines of a request have to arrive, or the rest of one that was refused
_UNREAD_SECONDS = 60.0  # in which a client that is told more than the system holds for it has to read some of it


class _Server(uvicorn.Server):  # type: ignore[misc]
    """Uvicorn's server, which tells the service when it is asked to stop."""

    service: Service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening; wait for what is being served."""
        self.service.stop()
        await super().shutdown(sockets)


class _Protocol(H11Protocol):  # type: ignore[misc]
    """Uvicorn's connection, which does not wait for ever for a request that was begun, nor to be read."""

    _patience: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._be_patient()

    def data_received(self, data: bytes) -> None:
        """Take what arrives; go on waiting where it is not a whole head of a request."""
        super().data_received(data)
        self._be_patient()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        super().connection_lost(exc)
        self._be_patient()
        if self._unread is not None:
            self._unread.cancel()

    def pause_writing(self) -> None:
        """Begin to see whether the client reads."""
        super().pause_writing()
        if os.name == "posix":  # elsewhere nobody knows what is left while it is being sent
            self._see_that_it_reads(self.transport.get_write_buffer_size() + 1)

    def resume_writing(self) -> None:
        """Leave that off."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()

    def eof_received(self) -> None:
        """Tell a client that has sent half a request."""
        if self.conn.their_state is h11.SEND_BODY and self.conn.our_state is h11.SEND_RESPONSE:
            self.send_400_response("it was cut short")

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request, like all else, by JSON."""
        body = json_line({"error": f"the request is not HTTP: {msg}"})
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event))
        self.transport.close()

    def _see_that_it_reads(self, before: int) -> None:
        """Hang up where the client has read nothing since there were so many bytes for it."""
        size = self.transport.get_write_buffer_size()
        if size >= before:
            self.transport.abort()
        else:
            self._unread = self.loop.call_later(_UNREAD_SECONDS, self._see_that_it_reads, size)

    def _be_patient(self) -> None:
        begun = self.conn.their_state is h11.IDLE
        refused = self.conn.their_state is h11.SEND_BODY and self.conn.our_state in (h11.DONE, h11.MUST_CLOSE)
        waits = not self.transport.is_closing() and (begun or refused)
        if waits and self._patience is None:
            self._patience = self.loop.call_later(_HEAD_SECONDS, self.timeout_keep_alive_handler)
        elif not waits and self._patience is not None:
            self._patience.cancel()
            self._patience = None


def listening(host: str, port: int) -> socket.socket:
    """Return a socket on which clients can knock already; port 0 is any that is free.

    Raises:  CharRNNError where the address cannot be had.
    """
    with ExitStack() as holds:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            own = holds.enter_context(socket.socket(family, kind, protocol))
            if os.name == "posix":  # elsewhere two could then have the same port
                own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            own.bind(address)
            own.listen()
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or error
            raise CharRNNError(f"cannot listen on {host}:{port}: {why}: give another --port or --host") from None
        holds.pop_all()
        return own


async def serve(service: Service, own: socket.socket, token: str | None) -> None:
    """Answer what arrives at the socket, until a signal asks to stop; then raise that signal again."""
    config = uvicorn.Config(
        Web(service, token),
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",  # clients are told what is wrong
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=int(GRACE) + 2,
    )
    server = _Server(config)
    server.service = service
    await server.serve(sockets=[own])
