"""`charrnn serve`: keep models loaded and answer requests."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from charrnn.cli._command import SectionedCommand, section
from charrnn.cli._options import either, memory_options, models_option, options_of, run_argument, threads_option
from charrnn.cli._streams import unshared_input
from charrnn.cli._types import WholeNumber
from charrnn.errors import CharRNNError, ConfigError, MissingExtraError
from charrnn.serve.limits import Limits

if TYPE_CHECKING:
    from charrnn.api import LanguageModel
    from charrnn.serve.server import Listener
    from charrnn.serve.service import Service


_where = section("Connection")


@click.command(
    cls=SectionedCommand,
    conflicts=(either("runs", "models"),),
)
@run_argument("runs", several=True)
@models_option("May be repeated; each model is served under its name.")
@_where("--stdio", is_flag=True, help="Read requests as lines of JSON from standard input instead of HTTP.")
@_where("--host", default="127.0.0.1", show_default=True, metavar="HOST", help="Address to listen on.")
@_where(
    "--port",
    type=WholeNumber(0, 65535),
    default=8765,
    show_default=True,
    metavar="N",
    help="Port to listen on; 0: any free one.",
)
@_where(
    "--token",
    envvar="CHARRNN_TOKEN",
    show_envvar=True,
    metavar="TOKEN",
    help="Secret that every request must send, as `Authorization: Bearer TOKEN`; OpenAI clients call it the API key. "
    "Without it, the server answers only this machine. Prefer the variable: other users can see command lines.",
)
@options_of(Limits, "chars", "seconds", "requests")
@memory_options
@threads_option("Limits")
def command(
    runs: tuple[str, ...],
    models: tuple[str, ...],
    stdio: bool,
    host: str,
    port: int,
    token: str | None,
    max_chars: int,
    max_seconds: float,
    max_requests: int,
    memory: int | None,
    memory_from: str | None,
    threads: int | None,
) -> None:
    """Load models and answer requests over HTTP until Ctrl-C; concurrent requests share a batch.

    Each RUN or -m is a model, served under its name. Without any, the newest run is served.

    Open the printed address in a browser to try the models. Programs POST JSON to /generate, /score and /complete, or
    use any OpenAI client with the printed base URL, which ends in /v1. /docs lists all fields of requests.

    \b
    Examples:
      charrnn serve
      charrnn serve names verse --port 9000
      echo '{"do": "generate", "prime": "Once"}' | charrnn serve --stdio
    """
    import asyncio

    from charrnn.cli._console import note
    from charrnn.cli._signals import StopSignals
    from charrnn.serve.service import Service

    if stdio and sys.stdin is None:
        raise CharRNNError("standard input is closed: pipe requests in or leave out --stdio")
    listener = None if stdio else _listening(host, port, token)
    service = Service(
        _loaded(runs or models, memory, memory_from), Limits(max_chars, max_seconds, max_requests), threads
    )
    if listener:
        address, number = listener.getsockname()[:2]
        url = f"http://{f'[{address}]' if ':' in address else address}:{number}"
        note(f"Serving on {url}")
        note(f"API: {url}/docs; base URL for OpenAI clients: {url}/v1")
    with StopSignals():
        asyncio.run(_serve(service, listener, token))


def _listening(host: str, port: int, token: str | None) -> Listener:
    """Return the socket to listen on; refuse one that other machines could use without a token."""
    try:
        from charrnn.serve.server import listening
        from charrnn.serve.web import is_loopback
    except (ModuleNotFoundError, MissingExtraError):
        message = 'HTTP needs three more packages: pip install "charrnn-numpy[serve]", or use --stdio'
        raise ConfigError(message) from None
    if token is None and not is_loopback(host):
        raise ConfigError(f"--host {host} opens the server to other machines: set a token too, with CHARRNN_TOKEN")
    if token is not None and not (token.isascii() and token.isprintable() and token.strip() == token != ""):
        raise ConfigError("--token must be printable ASCII without spaces at its ends, to fit into a header")
    return listening(host, port)


def _loaded(paths: tuple[str, ...], memory: int | None, memory_from: str | None) -> dict[str, LanguageModel]:
    """Load the models; each is named after its run or file."""
    from charrnn.cli._console import open_model
    from charrnn.training.folder import model_name

    models: dict[str, LanguageModel] = {}
    for given in paths or (None,):
        model = open_model(given, memory, memory_from)
        assert model.path is not None
        if model.checkpoint.vocab.reverse:
            raise ConfigError(f"{model.path} reads backwards, and serve continues texts: name a model trained forwards")
        name = model_name(model.path.resolve())
        if name in models:
            raise ConfigError(f"two models have the name {name!r}: rename the folder of one")
        models[name] = model
    return models


async def _serve(service: Service, listener: Listener | None, token: str | None) -> None:
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
