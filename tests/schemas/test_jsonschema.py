"""JSON Schemas: the committed files are the generated ones, and they accept what the models accept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from schemas.jsonschema import FOLDER, row_types, schema_files
from schemas.params import Params

ROOT = Path(__file__).parents[2]


def test_committed_files_are_the_generated_ones() -> None:
    committed = {p.name: p.read_text(encoding="utf-8") for p in FOLDER.glob("*.json")}
    assert committed == schema_files(), "run `python -m schemas.jsonschema` and read the difference"


def test_every_table_is_there() -> None:
    names = {kind.__name__ for kind in row_types()}
    assert {"CatalogRow", "PixelRow", "QuarantineRow", "StratumRow", "QuotaRow", "AttemptRow", "IndexRow"} <= names


@pytest.mark.parametrize("name", sorted(schema_files()))
def test_every_schema_is_valid_and_closed(name: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(schema_files()[name])
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["additionalProperties"] is False
    assert schema["description"]


def test_the_params_schema_reads_the_shipped_params() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    data = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(json.loads(schema_files()["Params.schema.json"]))
    Params.model_validate(data)
    assert list(validator.iter_errors(data)) == []
    data["stratify"]["colour"] = 1
    assert [e.validator for e in validator.iter_errors(data)] == ["additionalProperties"]
