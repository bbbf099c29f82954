"""Run the command: `charrnn`, or `python -m charrnn`."""

import atexit
import gc

#: New objects after which Python searches for garbage. Loading all modules makes up to 70,000, which live to the end.
_OBJECTS = 100_000


def main() -> None:
    """Run the command; neither now nor at its end does Python search what modules define for garbage."""
    gc.set_threshold(_OBJECTS)
    atexit.register(gc.freeze)
    from charrnn.cli import main as command

    command(prog_name="charrnn")


if __name__ == "__main__":
    main()
