"""Write the course's notebooks from its chapters: `make learn`. With --run, run them too, and renew the pictures.

A chapter is a Markdown file. Its blocks of `python` and `bash` become cells; everything else is text. The notebooks are
in a folder of their own, so their links get one more `../`, and their first cell goes to the folder of the project.
"""

import re
import shutil
import sys
import tempfile
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CHAPTERS = [*sorted(HERE.glob("[0-9]-*.md")), HERE / "answers.md"]
#: A chapter may begin with a command, so its language must be given.
HEADER = "---\njupyter:\n  kernelspec:\n    display_name: Python 3\n    language: python\n    name: python3\n---\n"
SET_UP = "# The commands and files of this notebook are those of the project's folder.\n%cd -q ../../.."
SHOW = 'from IPython.display import Image\n\nImage("{}")'
SECONDS = 300  # after which a cell counts as hanging


def notebook(chapter: Path) -> nbformat.NotebookNode:
    """Return a chapter as a notebook without outputs; the same chapter gives the same bytes."""
    made = jupytext.reads(HEADER + chapter.read_text(encoding="utf-8"), "md")
    made.cells = [nbformat.v4.new_code_cell(SET_UP), *(shown for cell in made.cells for shown in with_picture(cell))]
    for number, cell in enumerate(made.cells):
        cell.id = str(number)
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"\]\((?![a-z]+:|#)", "](../", cell.source)
    del made.metadata["jupytext"]  # its version, which would change the file
    return made


def with_picture(cell: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """Return a cell, and after a command that writes a picture one that shows it, as matplotlib's cells do."""
    written = re.findall(r"--out (\S+\.png)$", cell.source, re.MULTILINE) if cell.cell_type == "code" else []
    return [cell, *(nbformat.v4.new_code_cell(SHOW.format(name)) for name in written)]


def text_of(chapter: Path) -> str:
    """Return the file of a chapter's notebook."""
    return f"{nbformat.writes(notebook(chapter))}\n"


def file_of(chapter: Path) -> Path:
    """Return where a chapter's notebook is."""
    return HERE / "notebooks" / f"{chapter.stem}.ipynb"


def prepare(folder: Path) -> None:
    """Copy into an empty folder what the notebooks use, where they look for it."""
    shutil.copytree(ROOT / "data", folder / "data")
    (folder / "docs" / "learn" / "notebooks").mkdir(parents=True)
    for name in ("rnn.py", "course.mplstyle"):
        shutil.copy(HERE / name, folder / "docs" / "learn")


def run(chapter: Path, folder: Path) -> None:
    """Run a chapter's notebook in a prepared folder; raise nbclient's CellExecutionError if a cell fails."""
    place = {"metadata": {"path": str(folder / "docs" / "learn" / "notebooks")}}
    NotebookClient(notebook(chapter), timeout=SECONDS, kernel_name="python3", resources=place).execute()


def main() -> None:
    """Write the notebooks; with --run, run them and keep the pictures that they save."""
    for chapter in CHAPTERS:
        file_of(chapter).write_text(text_of(chapter), encoding="utf-8")
    if "--run" in sys.argv:
        with tempfile.TemporaryDirectory() as name:
            prepare(Path(name))
            for chapter in CHAPTERS:
                run(chapter, Path(name))
            for picture in Path(name).glob("*.png"):
                shutil.copy(picture, HERE / "pictures")


if __name__ == "__main__":
    main()
