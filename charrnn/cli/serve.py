"""`charrnn serve`: keep models loaded and answer requests."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from charrnn.cli._command import SectionedCommand, section
from charrnn.cli._options import models_option, options_of
from charrnn.cli._streams import unshared_input
from charrnn.cli._types import WholeNumber
from charrnn.errors import CharRNNError, ConfigError
from charrnn.serve.requests import Limits

if TYPE_CHECKING:
    import socket

    from charrnn.api import LanguageModel
    from charrnn.serve.service import Service


_where = section("Where it listens")


@click.command(cls=SectionedCommand, short_help="Keep models loaded and answer requests.")
@models_option("Several may be given, each served under its name.")
@_where("--stdio", is_flag=True, help="Lines of JSON on standard input and output in place of HTTP.")
@_where("--host", default="127.0.0.1", show_default=True, metavar="HOST", help="The address to listen on.")
@_where(
    "--port",
    type=WholeNumber(0, 65535),
    default=8765,
    show_default=True,
    metavar="N",
    help="The port; 0: any that is free.",
)
@_where(
    "--token",
    envvar="CHARRNN_TOKEN",
    show_envvar=True,
    metavar="TOKEN",
    help="What every request has to bring along, as `Authorization: Bearer TOKEN`. Without it, only this machine is "
    "served. Others can see what a command line says, so the variable is the better place.",
)
@options_of(Limits, "chars", "seconds", "requests")
def command(
    models: tuple[str, ...],
    stdio: bool,
    host: str,
    port: int,
    token: str | None,
    max_chars: int,
    max_seconds: float,
    max_requests: int,
) -> None:
    """Keep models loaded, and answer requests until Ctrl-C or SIGTERM; requests at the same time share a batch.

    By HTTP on this machine: GET /health and /models; POST /generate, /score and /complete with a JSON object. With
    "stream": true, /generate sends a line of JSON for each piece of the text. docs/serve.md tells of all fields.

    \b
    Examples:
      charrnn serve
      charrnn serve -m checkpoints/names -m checkpoints/verse --port 9000
      echo '{"do": "generate", "prime": "Once"}' | charrnn serve --stdio
    """
    import asyncio

    from charrnn.cli._console import note
    from charrnn.cli._signals import StopSignals
    from charrnn.serve.service import Service

    if stdio and sys.stdin is None:
        raise CharRNNError("standard input is closed: direct requests to it, or leave out --stdio")
    listener = None if stdio else _listening(host, port, token)
    service = Service(_loaded(models), Limits(max_chars, max_seconds, max_requests))
    if listener:
        name, number = listener.getsockname()[:2]
        note(f"Serving on http://{f'[{name}]' if ':' in name else name}:{number}")
    with StopSignals():
        asyncio.run(_serve(service, listener, token))


def _listening(host: str, port: int, token: str | None) -> socket.socket:
    """Return the socket to listen on; refuse one that other machines could use without a token."""
    from charrnn.serve.web import is_loopback

    try:
        from charrnn.serve.server import listening
    except ModuleNotFoundError:
        raise ConfigError("HTTP needs the package uvicorn: install charrnn-numpy[serve], or use --stdio") from None
    if token is None and not is_loopback(host):
        raise ConfigError(f"--host {host} lets other machines in: give a token too, by CHARRNN_TOKEN or --token")
    if token is not None and not (token.isascii() and token.isprintable() and token.strip() == token != ""):
        raise ConfigError("--token is no word of ASCII characters, as a header can carry it: choose another")
    return listening(host, port)


def _loaded(paths: tuple[str, ...]) -> dict[str, LanguageModel]:
    """Load the models; each is named after its run or file."""
    from charrnn.cli._console import open_model

    models: dict[str, LanguageModel] = {}
    for model in map(open_model, paths or (None,)):
        assert model.path is not None
        path = model.path.resolve()
        name = path.parent.name if path.name in ("best.npz", "last.npz") else path.stem
        if name in models:
            raise ConfigError(f"two models have the name {name!r}: rename the folder of one")
        models[name] = model
    return models


async def _serve(service: Service, listener: socket.socket | None, token: str | None) -> None:
    """Serve until a signal raises `Interrupted`, or standard input ends."""
    from asyncio import get_running_loop

    get_running_loop().set_exception_handler(lambda loop, context: None)  # silences tasks that the signal interrupts
    async with service:
        if listener is not None:
            from charrnn.serve.server import serve

            await serve(service, listener, token)
        else:
            from charrnn.serve.stdio import LineClient

            await LineClient(service, _write).converse(unshared_input())


def _write(line: bytes) -> None:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()
