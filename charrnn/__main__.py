"""Run the command: `charrnn`, or `python -m charrnn`."""

import atexit
import gc

#: New objects after which Python looks for garbage. Loading all modules creates 70,000, which live to the end.
_OBJECTS = 100_000


def main() -> None:
    """Run the command; Python does not search the objects of modules for garbage, now or at the end."""
    gc.set_threshold(_OBJECTS)
    atexit.register(gc.freeze)
    from charrnn.cli import main as command

    command(prog_name="charrnn")


if __name__ == "__main__":
    main()
