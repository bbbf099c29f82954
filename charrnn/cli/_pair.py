"""The two models of `charrnn fill` and `charrnn repair`: a forward and a backward one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from charrnn.cli._command import complete_runs, section

if TYPE_CHECKING:
    from charrnn.data.decoding import LineCodec
    from charrnn.restoration.pair import Pair

F = TypeVar("F", bound=Callable[..., Any])


def backward_option(*, required: bool) -> Callable[[F], F]:
    """Add `--backward`: the model that reads from the end."""
    without = "" if required else "; without it, fewer fills are right"
    return section("Model")(
        "--backward",
        metavar="MODEL",
        envvar="CHARRNN_BACKWARD",
        show_envvar=True,
        required=required,
        shell_complete=complete_runs,
        help=f"A model of the same text that was trained with --reverse{without}.",
    )


def open_pair(forward: str | None, backward: str | None) -> tuple[Pair, LineCodec]:
    """Load a forward model, and a backward one if it is given; return them, and how they read lines.

    Raises:  CheckpointError if one cannot be loaded; ConfigError if they do not fit together.
    """
    from charrnn.cli._console import open_model
    from charrnn.data.decoding import LineCodec
    from charrnn.restoration.pair import Pair

    first = open_model(forward).checkpoint
    pair = Pair.of(first, None if backward is None else open_model(backward).checkpoint)
    return pair, LineCodec(first.text_config.encoding, first.vocab.symbols)
