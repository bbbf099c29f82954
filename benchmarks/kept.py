"""Keep rows of figures in a JSON file, and name the processor that they come from."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

from charrnn.system.atomic import replacing
from charrnn.system.processor import cpu_facts


def load(path: Path) -> list[dict[str, Any]]:
    """Return the rows of the file, or none if there is no file yet."""
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return rows


def save(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write the rows to the file, one per line, atomically."""
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    with replacing(path, "name another file with --json") as file:
        file.write(f"[\n{lines}\n]\n".encode())


def processor() -> str:
    """Return the name of the processor."""
    return cpu_facts().get("model name") or platform.processor() or platform.machine()
