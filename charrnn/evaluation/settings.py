"""The settings of scoring lines, from which options of `charrnn score` are made. Imports no NumPy."""

from __future__ import annotations

from dataclasses import dataclass

from charrnn.config import setting
from charrnn.errors import ConfigError

_SELECTED = "Lines instead of figures"


@dataclass(frozen=True)
class ScoreConfig:
    """The settings of scoring lines.

    per_char      compute the bits of each character
    above, below  select lines with more, or fewer, bits per character than this
    Raises:       ConfigError if no line can be selected.
    """

    per_char: bool = setting(False, "Output", "Add the bits of each character, and of the line's end, as `bits`.")
    above: float | None = setting(None, _SELECTED, "Let lines of more than X bpc through, as they are.", low=0)
    below: float | None = setting(None, _SELECTED, "Let lines of less than X bpc through, as they are.", low=0)

    def __post_init__(self) -> None:
        if self.above is not None and self.below is not None and self.above >= self.below:
            raise ConfigError(f"--above {self.above:g} and --below {self.below:g} let no line through: change one")

    @property
    def selects(self) -> bool:
        """Return whether lines are selected rather than scored."""
        return self.above is not None or self.below is not None

    def includes(self, bpc: float | None) -> bool:
        """Return whether a line with these bits per character is selected; one without any score never is."""
        return bpc is not None and (self.above is None or bpc > self.above) and (self.below is None or bpc < self.below)
