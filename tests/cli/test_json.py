"""`--json`: what every command prints is what the tables of docs/json.md say, key by key and type by type."""

import json
import re
from pathlib import Path

import click
import pytest

from charrnn.cli import main
from charrnn.cli._command import commands_of
from charrnn.config import ModelConfig, setting_names
from charrnn.doctor import machine

from ._material import SMALL

DOCUMENT = (Path(__file__).parents[2] / "docs" / "json.md").read_text(encoding="utf-8")
COMMANDS = dict(commands_of(main.make_context("charrnn", [], resilient_parsing=True)))
SECTIONS = dict(re.findall(r"^## charrnn ([\w ]+)\n(.*?)(?=^## |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL))
TYPES = {dict: "object", list: "list", str: "string", bool: "boolean", int: "integer", float: "number"}

#: What is run for each command: all keys that are documented have to appear somewhere.
RUNS = {
    "cache": [()],
    "classify eval": [("--baselines",), ("more.tsv",)],
    "classify predict": [("one.txt", "--top", "2"), ("one.txt", "--explain")],
    "compare": [(), ("tiny", "--by", "seed")],
    "complete": [("D",), ("D", "--to", "line", "-k", "2", "--max-length", "3")],
    "doctor": [()],
    "embed": [("one.txt",), ("one.txt", "--nearest", "tiny.txt")],
    "eval": [(), ("--baselines",), ("--protocol", "windows", "--dynamic"), ("one.txt",), ("--memory", "9")],
    "fill": [("D_r", "--top", "2"), ("D_r", "--backward", "back")],
    "info": [(), ("-m", "checkpoints/tiny/last.npz"), ("-m", "labelled")],
    "inspect": [(), ("one.txt",), ("tiny.txt", "--find", "vowel"), ("--saturation",), ("--reach",)],
    "list": [()],
    "plot": [("tiny",)],
    "repair": [("tiny.txt", "--backward", "back", "--rate", "0.4"), ("one.txt", "--backward", "back")],
    "sample": [("--count", "2", "-n", "9", "--prime", "D"), ("--no-echo", "-n", "1")],
    "score": [("tiny.txt",), ("one.txt", "--per-char"), ("one.txt", "-m", "tiny", "-m", "tiny", "--best")],
    "vocab": [("tiny.txt",)],
}
BY_LINE = ("classify predict", "complete", "embed", "fill", "repair", "sample", "score")  # an object a line


def documented(name: str) -> dict[str, set[str]]:
    """Return the types of each key in a command's table."""
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \|", SECTIONS[name], re.MULTILINE)
    return {key: set(types.strip().split(" or ")) for key, types in rows}


def check(value: object, key: str, table: dict[str, set[str]], seen: set[str]) -> None:
    """Fail where a value is not of a type that the table has for its key, or an object has not exactly its keys."""
    if key:
        assert key in table, f"{key} is not documented"
        seen.add(key)
        kind = "null" if value is None else TYPES[type(value)]
        allowed = table[key] | ({"integer"} if "number" in table[key] else set())
        assert kind in allowed or "any" in allowed, f"{key} is {value!r}, documented as {table[key]}"
    if isinstance(value, dict):
        prefix = f"{key}." if key else ""
        own = {name.removeprefix(prefix) for name in table if re.fullmatch(rf"{re.escape(prefix)}[\w*]+", name)}
        if "*" in own:
            own = {"*"}
        else:
            wanted = {name for name in own if "absent" not in table[prefix + name]}
            assert wanted <= value.keys() <= own, f"{key or 'the object'} has the keys {sorted(value)}"
        for name, item in value.items():
            check(item, prefix + ("*" if "*" in own else name), table, seen)
    elif isinstance(value, list):
        for item in value:
            check(item, f"{key}[]", table, seen)


@pytest.fixture
def quick_machine(monkeypatch):
    """Let the machine's speed be measured in no time."""
    look = machine.measure_machine
    monkeypatch.setattr(machine, "measure_machine", lambda set_kernel: look(0.01, set_kernel=set_kernel))


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_printed_is_what_is_documented(run, tiny, quick_machine, monkeypatch, request, name):
    has_json = any("--json" in param.opts for param in COMMANDS[name].params if isinstance(param, click.Option))
    assert has_json == (name in SECTIONS) == (name in RUNS)
    if not has_json:
        return
    monkeypatch.setattr("charrnn.data.reading.CACHED_FROM", 1)
    monkeypatch.setenv("CHARRNN_CACHE", "cache")
    run("vocab", "tiny.txt")
    Path("one.txt").write_text("D")
    if name.startswith("classify") or name in ("info", "list"):
        request.getfixturevalue("classifier")
        monkeypatch.setattr("charrnn.classification.baselines.n_gram_baselines", lambda train, test: {})  # an extra
        Path("more.tsv").write_text("fliegt\tDer\nbrummt\tDer\n")
    if name in ("fill", "repair"):
        run("train", "tiny.txt", *SMALL, "--reverse", "--steps", "1", "--quiet", "--out", "back")
    table, seen = documented(name), set()
    for args in RUNS[name]:
        outcome = run(*name.split(), *args, "--json")
        for text in outcome.stdout.splitlines() if name in BY_LINE else [outcome.stdout]:
            check(json.loads(text), "", table, seen)
    never = {key for key in table if key not in seen and "[]" not in key and not key.startswith("val_source.")}
    assert never == set()


def test_settings_are_the_fields_of_the_configs(run, tiny):
    data = run("info", "--json").json
    assert list(data["model"]) == list(ModelConfig.__dataclass_fields__)
    assert [*data["model"], *data["train"]] == ["vocab_size", *setting_names(), "document_rules", "ranks"]


def test_a_damaged_run_and_one_without_validation_are_listed(run, tiny):
    run("train", "-", "--steps", "1", "--hidden-size", "8", "--val-fraction", "0", "--quiet", input="abc" * 99)
    (tiny / "last.npz").write_bytes(b"PK and nothing else")
    table = documented("list")
    data = run("list", "--json").json
    check(data, "", table, set())
    first, second = sorted(data["runs"], key=lambda found: found["name"])
    assert (first["name"], first["corpus"], first["best_loss"], first["damage"]) == ("stdin", ["-"], None, None)
    assert second["cell"] is None
    assert "checkpoints/tiny/last.npz is damaged" in second["damage"]
    outcome = run("list")
    assert "damaged" in outcome.stdout
    assert outcome.stderr == f"Note: {second['damage']}\n"


def test_the_reader_of_tables_sees_what_is_wrong():
    table = {"a": {"integer"}, "b": {"object"}, "b.c": {"string", "null"}, "d": {"list", "absent"}, "d[]": {"number"}}
    check({"a": 1, "b": {"c": None}, "d": [1, 2.5]}, "", table, set())
    check({"a": 1, "b": {"c": "x"}}, "", table, set())
    for wrong in (
        {"a": 1.5, "b": {"c": None}},
        {"a": True, "b": {"c": None}},
        {"a": 1},
        {"a": 1, "b": {}},
        {"a": 1, "b": {"c": 3}},
        {"a": 1, "b": {"c": None}, "d": ["x"]},
        {"a": 1, "b": {"c": None}, "e": 1},
    ):
        with pytest.raises(AssertionError):
            check(wrong, "", table, set())
