"""The settings of embedding lines, from which options of `charrnn embed` are made. Imports no NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from charrnn.config import ModelConfig, setting
from charrnn.errors import ConfigError

POOLINGS = ("mean", "last", "max")


@dataclass(frozen=True)
class EmbedConfig:
    """The settings of embedding lines.

    layer    the layer whose states make the vectors: its number from 0, "top", or "all" for all layers side by side
    pooling  how the states at the characters of a line become one vector
    Raises:  ConfigError for a value that is none of these.
    """

    layer: str = setting("all", "Vectors", "Layer of the states: its number from 0, top, or all.", metavar="N|top|all")
    pooling: str = setting(
        "mean", "Vectors", "How a line's states become one vector.", choices=POOLINGS, flags=("--pool",)
    )

    def __post_init__(self) -> None:
        if not (isinstance(self.layer, str) and (self.layer in ("top", "all") or self.layer.isdecimal())):
            raise ConfigError(f"--layer must be a layer's number from 0, top or all, got {self.layer}")
        if self.pooling not in POOLINGS:
            raise ConfigError(f"--pool must be mean, last or max, got {self.pooling!r}")

    def layers(self, count: int) -> Sequence[int]:
        """Return the numbers of the layers, for a model with so many.

        Raises:  ConfigError if the model has no such layer.
        """
        if self.layer == "all":
            return range(count)
        number = count - 1 if self.layer == "top" else int(self.layer)
        if number >= count:
            has = "one layer, 0" if count == 1 else f"{count} layers, 0 to {count - 1}"
            raise ConfigError(f"--layer {number}: the model has {has}: choose one, or top")
        return [number]

    def size(self, config: ModelConfig) -> int:
        """Return the numbers of a vector."""
        return len(self.layers(config.num_layers)) * config.hidden_size
