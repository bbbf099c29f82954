"""Which package may import which: the order of docs/architecture.md, held by reading the imports of every file."""

import ast
import json
import sys
import tomllib
from pathlib import Path

import pytest
from fixtures_run import output_of

import charrnn

PACKAGE = Path(charrnn.__file__).parent

#: The packages and the modules at the top, in the order of docs/architecture.md: each imports from those before it.
ORDER = [
    *("errors", "arrays", "version", "wording", "config", "keywords", "signatures"),
    *("system", "pages", "nn", "data", "memory", "parallel", "checkpoint", "interop"),
    *("evaluation", "generation", "training", "classification", "embedding", "restoration"),
    *("insight", "api", "doctor", "serve", "cli", "__main__"),
]
#: Neighbours in that order which do not know each other.
APART = {
    ("data", "nn"),
    ("generation", "evaluation"),
    ("embedding", "classification"),
    ("restoration", "classification"),
    ("restoration", "embedding"),
}
#: What else than NumPy is imported below the command, and where.
THIRD_PARTY = {
    "system/blas.py": {"threadpoolctl"},
    "parallel/plan.py": {"threadpoolctl"},
    "parallel/ranks.py": {"mpi4py"},
    "generation/regex.py": {"regex"},
    "api.py": {"tqdm"},
    "data/files.py": {"zstandard", "compression"},
    "pages/__init__.py": {"jinja2", "markupsafe"},
    "classification/baselines.py": {"sklearn"},
    "insight/figures.py": {"matplotlib"},
    "insight/export.py": {"tensorboardX"},
    "serve/server.py": {"uvicorn"},
    "serve/web.py": {"starlette"},
}

#: The modules of commands that show results, and therefore import the library.
SCREENS = ("_console", "_bars", "_train_screen", "_label_screen", "_panel", "_live")

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


def room_of(module):
    """Return the package, or the module at the top, that a module is in."""
    return module.partition(".")[0]


def test_every_package_has_its_place_in_the_order():
    assert {room_of(module_of(file)) for file in FILES} - {""} == set(ORDER)


@pytest.mark.parametrize("file", [file for file in FILES if file != "__init__.py"])
def test_imports_go_to_earlier_packages_only(file):
    here = room_of(module_of(file))
    for module in ours(imports_of(file)):
        there = room_of(module)
        assert there, f"{file} imports the package itself: name the module"
        assert ORDER.index(there) <= ORDER.index(here), f"{file} imports {module}"
        assert (here, there) not in APART, f"{file} imports {module}"


def test_the_package_itself_imports_its_version_and_the_rest_only_for_types():
    assert ours(imports_of("__init__.py", typing=False)) == {"version"}
    homes = {f"charrnn.{home}" for home in charrnn._HOMES.values()}
    assert imports_of("__init__.py") - imports_of("__init__.py", typing=False) == homes


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("nn/cells/")])
def test_a_cell_imports_the_contract_and_no_other_cell(file):
    within = {module for module in ours(imports_of(file)) if module.startswith("nn.cells.")}
    allowed = {
        "nn/cells/__init__.py": {"nn.cells.base", "nn.cells.contract"},
        "nn/cells/base.py": set(),
        "nn/cells/lnlstm.py": {"nn.cells.base", "nn.cells.lstm"},
        "nn/cells/mlstm.py": {"nn.cells.base", "nn.cells.lstm"},
        "nn/cells/lnmlstm.py": {f"nn.cells.{name}" for name in ("base", "lnlstm", "lstm", "mlstm")},
    }
    assert within <= allowed.get(file, {"nn.cells.base"})


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("cli/")])
def test_commands_import_helpers_and_never_each_other(file):
    for module in ours(imports_of(file)):
        if module.startswith("cli"):
            helper = module.partition(".")[2].startswith("_")
            assert helper, f"{file} imports {module}: what two commands share has a name that begins with _"


@pytest.mark.parametrize("file", [file for file in FILES if not file.startswith(("cli/", "__main__"))])
def test_below_the_command_only_numpy_and_the_standard_library_are_imported(file):
    names = {name.split(".")[0] for name in imports_of(file)}
    assert names <= sys.stdlib_module_names | {"numpy", "charrnn"} | THIRD_PARTY.get(file, set())


def test_the_types_are_there_for_those_who_use_the_package():
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    assert "py.typed" in project["tool"]["setuptools"]["package-data"]["charrnn"]
    assert (PACKAGE / "py.typed").is_file()


def test_no_cycle_is_left():
    edges = {module_of(file): ours(imports_of(file, inside=False, typing=False)) for file in FILES}
    while ends := [module for module, needs in edges.items() if not needs & edges.keys()]:
        for module in ends:
            del edges[module]
    assert edges == {}


def test_the_settings_and_the_commands_import_no_numpy():
    # Not even by way of others: so that `--help` is quick.
    light = ("config.py", "system/processor.py", "nn/cells/__init__.py")
    without = [file for file in FILES if file.startswith("cli/") or file in light]
    screens = {f"cli/{name}.py" for name in SCREENS}
    modules = [f"charrnn.{module_of(file)}" for file in without if file not in screens]
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
    names = ", ".join(f"charrnn.cli.{name}" for name in SCREENS)
    code = f"import sys, {names}; print([name for name in ('rich', 'tqdm') if name in sys.modules])"
    assert output_of(code) == "[]\n"
