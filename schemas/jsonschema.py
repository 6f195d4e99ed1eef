"""JSON Schemas of every row type and of params.yaml, for readers without Python.

`python -m schemas.jsonschema` writes them to schemas/json; a test compares.
"""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
from pathlib import Path

from pydantic import BaseModel

import schemas
from schemas.params import Params
from schemas.table import Row, write_text

FOLDER = Path(__file__).parent / "json"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def row_types() -> list[type[Row]]:
    """Return every row type declared in `schemas`, by name."""
    found = set()
    for module in pkgutil.iter_modules(schemas.__path__):
        if module.name == Path(__file__).stem:
            continue
        members = inspect.getmembers(importlib.import_module(f"schemas.{module.name}"), inspect.isclass)
        found |= {kind for _, kind in members if issubclass(kind, Row) and kind is not Row}
    return sorted(found, key=lambda kind: kind.__name__)


def render(model: type[BaseModel]) -> str:
    """Return one model's JSON Schema as text, keys as in params.yaml or the table, ending in a newline."""
    body = model.model_json_schema(by_alias=True, mode="validation")
    return json.dumps({"$schema": DIALECT, **body}, indent=2, ensure_ascii=False) + "\n"


def schema_files() -> dict[str, str]:
    """Return the text of every file in schemas/json, by file name."""
    models: list[type[BaseModel]] = [*row_types(), Params]
    return {f"{model.__name__}.schema.json": render(model) for model in models}


def main() -> None:
    """Write schemas/json anew; files of types that are gone are removed."""
    files = schema_files()
    for path in FOLDER.glob("*.schema.json"):
        if path.name not in files:
            path.unlink()
    for name, text in files.items():
        write_text(text, FOLDER / name)


if __name__ == "__main__":
    main()
