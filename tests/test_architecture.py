"""Which module may import which: the layers of docs/architecture.md, held by reading the imports of every file."""

import ast
import json
import sys
import tomllib
from pathlib import Path

import pytest
from fixtures_run import output_of

import charrnn

PACKAGE = Path(charrnn.__file__).parent

#: A module imports only from layers strictly below its own; layer 0 serves all. `cells` and `cli` are folders whose
#: files need no entry each: within `cells` only `base` may be imported, and the commands in `cli` never import each
#: other. A new module has its place to find here before this test passes.
LAYERS = {
    # 0: words that everyone uses, and the loops that are compiled where Numba is installed
    "arrays": 0,
    "errors": 0,
    "fused": 0,
    "version": 0,
    # 1: one idea each, of arrays, of files or of the machine
    "blas": 1,
    "files": 1,
    "functional": 1,
    "gradcheck": 1,
    "init": 1,
    "inputs": 1,
    "ngram": 1,
    "optim": 1,
    "advice": 1,
    "processor": 1,
    "regular": 1,
    "schedules": 1,
    "stream": 1,
    "text": 1,
    # 2: a cell; where runs and encoded texts go
    "cache": 2,
    "cells": 2,
    "constraint": 2,
    "lines": 2,
    "novel": 2,
    "prepare": 2,
    "runfolder": 2,
    # 3: all settings
    "config": 3,
    # 4: what they are the settings of: the text, the model, the vocabulary with its policy for unknown characters
    "corpus": 4,
    "filters": 4,
    "model": 4,
    "recipe": 4,
    "vocab": 4,
    # 5: what is done with a model
    "checkpoint": 5,
    "lanes": 5,
    "nets": 5,
    "rules": 5,
    "survey": 5,
    "tape": 5,
    # 6: a text scored, one searched for, 7: texts written, training in memory, 8: what is settled before, 9: on disk
    "baselines": 7,
    "evaluate": 6,
    "sample": 6,
    "score": 7,
    "search": 6,
    "written": 6,
    "writer": 7,
    "train": 7,
    "complete": 8,
    "settle": 8,
    "budget": 8,
    "footprint": 8,
    "machine": 8,  # it measures training
    "runs": 8,
    "run": 9,
    # 10: all of it for a program, 11: for programs that ask for it, 12: the command, 13: `python -m`
    "api": 10,
    "serve": 11,
    "cli": 12,
    "__main__": 13,
}

FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


def module_of(file):
    """Return the dotted name of a file's module below the package: "" for the package itself."""
    parts = Path(file).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_typing_only(node):
    """Return whether this is `if TYPE_CHECKING:`, which no program runs."""
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports_of(file, *, inside=True, typing=True):
    """Return the dotted names that a file imports; without those inside functions, or for types only, if so asked."""
    found = set()

    def visit(node):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            for alias in node.names:
                path = PACKAGE.parent.joinpath(*node.module.split("."), alias.name)
                is_module = path.with_suffix(".py").exists() or path.is_dir()
                found.add(f"{node.module}.{alias.name}" if is_module else node.module)
        if is_typing_only(node) and not typing:
            children = node.orelse
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not inside:
            children = []
        else:
            children = ast.iter_child_nodes(node)
        for child in children:
            visit(child)

    visit(ast.parse((PACKAGE / file).read_text(encoding="utf-8")))
    return found


def ours(names):
    """Return the modules below the package that are among the names."""
    return {name.removeprefix("charrnn").removeprefix(".") for name in names if name.split(".")[0] == "charrnn"}


def test_every_module_has_a_layer_and_every_layer_its_modules():
    found = {module_of(file).partition(".")[0] for file in FILES} - {""}
    assert found == LAYERS.keys()


@pytest.mark.parametrize("file", [file for file in FILES if file != "__init__.py"])
def test_imports_go_to_lower_layers_only(file):
    here = module_of(file).partition(".")[0]
    for module in ours(imports_of(file)):
        there = module.partition(".")[0]
        assert there, f"{file} imports the package itself: name the module"
        if there != here:
            assert LAYERS[there] < LAYERS[here] or LAYERS[there] == 0, f"{file} imports {module}"


def test_layer_zero_imports_nothing_of_ours():
    for name, layer in LAYERS.items():
        if layer == 0:
            assert ours(imports_of(f"{name}.py")) == set(), name


def test_the_package_itself_imports_its_version_and_the_rest_only_for_types():
    assert ours(imports_of("__init__.py", typing=False)) == {"version"}
    homes = {f"charrnn.{home}" for home in charrnn._HOMES.values()}
    assert imports_of("__init__.py") - imports_of("__init__.py", typing=False) == homes


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("cells/")])
def test_within_cells_only_the_contract_is_imported(file):
    within = {module for module in ours(imports_of(file)) if module.partition(".")[0] == "cells"}
    assert within <= ({"cells.base"} if file != "cells/base.py" else set())


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("cli/")])
def test_commands_import_helpers_and_never_each_other(file):
    for module in ours(imports_of(file)):
        if module.startswith("cli"):
            helper = module.partition(".")[2].startswith("_")
            assert helper, f"{file} imports {module}: what two commands share has a name that begins with _"


@pytest.mark.parametrize("file", [file for file in FILES if not file.startswith(("cli/", "__main__"))])
def test_below_the_command_only_numpy_and_the_standard_library_are_imported(file):
    names = {name.split(".")[0] for name in imports_of(file)}
    threads = {"threadpoolctl"} if file in ("blas.py", "lanes.py") else set()
    compiler = {"numba"} if file == "fused.py" else set()
    classes = {"regex"} if file == "regular.py" else set()
    unpackers = {"zstandard", "compression"} if file == "inputs.py" else set()
    server = {"uvicorn", "h11"} if file == "serve/server.py" else set()
    assert names <= sys.stdlib_module_names | {"numpy", "charrnn"} | threads | compiler | unpackers | classes | server


def test_the_types_are_there_for_those_who_use_the_package():
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"] == {"packages": ["charrnn"]}  # with all that is in it
    assert (PACKAGE / "py.typed").is_file()


def test_no_cycle_is_left():
    edges = {module_of(file): ours(imports_of(file, inside=False, typing=False)) for file in FILES}
    while ends := [module for module, needs in edges.items() if not needs & edges.keys()]:
        for module in ends:
            del edges[module]
    assert edges == {}


def test_the_settings_and_the_commands_import_no_numpy():
    # Not even by way of others: so that `--help` is quick.
    without = [
        file for file in FILES if file.startswith("cli/") or file in ("config.py", "processor.py", "cells/__init__.py")
    ]
    modules = [f"charrnn.{module_of(file)}" for file in without if file != "cli/_console.py"]
    assert "charrnn.cli.train" in modules
    assert "charrnn.config" in modules
    for file in without:
        assert "numpy" not in {name.split(".")[0] for name in imports_of(file, inside=False)}, file
    code = """
import json, sys
from importlib import import_module
found = {}
for name in sys.argv[1:]:
    import_module(name)
    found[name] = [heavy for heavy in ("numpy", "rich", "tqdm") if heavy in sys.modules]
print(json.dumps(found))
"""
    assert json.loads(output_of(code, *modules)) == {module: [] for module in modules}


def test_what_shows_results_imports_rich_and_tqdm_only_where_it_uses_them():
    code = "import sys, charrnn.cli._console; print([name for name in ('rich', 'tqdm') if name in sys.modules])"
    assert output_of(code) == "[]\n"
