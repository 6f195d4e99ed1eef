"""The suite of schemas/expectations, and how one frame is held against it by Great Expectations."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import schemas
from pipelines.validate.result import KEPT, SHOWN, Check, FailedRow

BATCHES = ("whole", "rows", "counts")
"""The frames expectations are checked on, in the order they are reported."""

_IDS = ("image_id", "source", "source_row_id")
WORDS_SHOWN: Final = 9
"""Words of a vocabulary that a result lists; schemas/lesions.py has all."""

_COLUMNS = ("column", "column_A", "column_B", "column_list")
_HOW = ("condition_parser", "ignore_row_if", "batch_id")


def read_suite() -> list[dict[str, Any]]:
    """Return the entries of schemas/expectations/catalog.json: type, kwargs, meta."""
    file = Path(schemas.__file__).parent / "expectations" / "catalog.json"
    entries: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["expectations"]
    return entries


class Suite:
    """The expectations of one kind of batch, ready to be held against frames of that kind.

    Great Expectations runs in memory: no project folder, no Data Docs, no progress bars, no telemetry. Importing it
    takes seconds, so it happens here and not with this module.
    """

    def __init__(self, batch: str, parameters: Mapping[str, float]) -> None:
        os.environ["GX_ANALYTICS_ENABLED"] = "False"  # before the import, which reads it in some versions
        import great_expectations as gx
        from great_expectations.data_context.types.base import ProgressBarsConfig

        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
        self._parameters = dict(parameters)
        self._entries = [e for e in read_suite() if e["meta"]["batch"] == batch]
        self._suite = gx.ExpectationSuite(
            name=batch,
            expectations=[{**e, "meta": {**e["meta"], "place": i}} for i, e in enumerate(self._entries)],
        )
        asset = context.data_sources.add_pandas("frames").add_dataframe_asset(batch)
        self._batches = asset.add_batch_definition_whole_dataframe(batch)
        self._ids = [] if batch == "counts" else list(_IDS)

    def check(self, frame: Any) -> list[Check]:
        """Return one check an expectation, in the suite's order, for a pandas frame."""
        found = self._batches.get_batch({"dataframe": frame}).validate(
            self._suite,
            expectation_parameters=self._parameters,
            result_format={
                "result_format": "SUMMARY",
                "partial_unexpected_count": KEPT,
                "unexpected_index_column_names": self._ids,
            },
        )
        read: list[Any] = [r.to_json_dict() for r in found.results]
        by_place = {r["expectation_config"]["meta"]["place"]: r for r in read}
        return [self._read(entry, by_place[i]) for i, entry in enumerate(self._entries)]

    def _read(self, entry: dict[str, Any], found: dict[str, Any]) -> Check:
        meta, result = entry["meta"], found["result"]
        rows = result.get("partial_unexpected_index_list") or []
        return Check(
            name=entry["type"],
            column=_columns(entry["kwargs"]),
            needs=_needs(entry["kwargs"], self._parameters) or entry["type"].split("_to_", 1)[1].replace("_", " "),
            critical=meta["critical"],
            passed=bool(found["success"]),
            unexpected=int(result.get("unexpected_count") or 0) if self._ids else 0,
            observed=_observed(found),
            sample_rows=tuple(FailedRow(**{k: row.get(k) for k in _IDS}) for row in rows if self._ids),
            why=meta["why"],
            fix=meta["fix"],
        )


def _columns(kwargs: dict[str, Any]) -> str:
    named = [kwargs[key] for key in _COLUMNS if key in kwargs]
    return ", ".join(c for part in named for c in ([part] if isinstance(part, str) else part))


def _needs(kwargs: dict[str, Any], parameters: dict[str, float]) -> str:
    """Return the limits of an expectation, e.g. `min_value 1, max_value 6`; empty if its name says it all."""
    limits = []
    for key, value in kwargs.items():
        if key in _COLUMNS or key in _HOW:
            continue
        given = parameters[value["$PARAMETER"]] if isinstance(value, dict) else value
        limits.append(f"{key} {_listed(given) if isinstance(given, list) else given}")
    return ", ".join(limits)


def _listed(words: list[Any]) -> str:
    """Return a vocabulary in words; of a long one the first, and how many more there are."""
    shown = " ".join(map(str, words[:WORDS_SHOWN]))
    return f"{shown} and {len(words) - WORDS_SHOWN} more" if len(words) > WORDS_SHOWN else shown


def _observed(found: dict[str, Any]) -> tuple[str, ...]:
    """Return the total an expectation looked at, else the first unexpected values, else why it could not look."""
    error = _error(found.get("exception_info") or {})
    if error:
        return (error,)
    result = found["result"]
    if "observed_value" in result:
        return (_said(result["observed_value"]),)
    values = dict.fromkeys(_said(value) for value in result.get("partial_unexpected_list") or [])
    return tuple(values)[:SHOWN] if values else () if found["success"] else ("null",)


def _said(value: Any) -> str:
    """Return a value as people write it; the values of several columns with a slash between."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return " / ".join(map(_said, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _error(info: dict[str, Any]) -> str | None:
    """Return the first line of an exception inside an expectation; Great Expectations nests one a metric."""
    if "raised_exception" in info:
        return str(info["exception_message"]).splitlines()[0] if info["raised_exception"] else None
    return next((found for nested in info.values() if (found := _error(nested))), None)
