"""Licences decide which sources enter: a known one, one that allows images to be derived, and what params require."""

from __future__ import annotations

from pathlib import Path

import pytest
from miniature import photo, png, row, run_ingest, write_pad

from pipelines.sources.fingerprint import survey_sources
from pipelines.sources.permission import left_out_sources, permitted_sources
from schemas import licences
from schemas.errors import SourceError
from schemas.licences import DATASETS, LICENCES, Licence
from schemas.params import Params, parse_params
from schemas.paths import Workspace

USE = {
    "ham": {"adapter": "ham10000", "path": "nowhere"},
    "pad": {"adapter": "pad_ufes_20", "path": "pad"},
    "drawn": {"adapter": "phantom", "count": 2, "resolution": 32},
}


def params(*require: str, **use: object) -> Params:
    data = {"sources": {"use": use or USE, "require": list(require)}, "ingest": {"resolution": 16}}
    return parse_params(data, "t")


def refused(found: Params) -> str:
    with pytest.raises(SourceError) as caught:
        permitted_sources(found)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_not_allowed_is_left_out_and_said(tmp_path: Path) -> None:
    write_pad(tmp_path, [row(1)], {"P_1.png": png(photo(1))})
    found = survey_sources(Workspace(tmp_path), params("commercial"))
    assert found["left_out"] == [{"source": "ham", "licence": "CC-BY-NC-4.0", "lacks": ("commercial",)}]
    assert list(found["sources"]) == list(found["drift"]) == ["pad", "drawn"]
    counts = run_ingest(Workspace(tmp_path), params("commercial"))
    assert list(counts.sources) == ["pad", "drawn"], "a source that is left out has no rows, in or out"
    assert not list(Workspace(tmp_path).catalog.glob("ham*"))


def test_without_a_requirement_every_source_is_used() -> None:
    assert list(permitted_sources(params())) == ["ham", "pad", "drawn"]
    assert left_out_sources(params()) == []


def test_a_requirement_that_leaves_nothing() -> None:
    assert refused(params("commercial", ham=USE["ham"])) == (
        "sources.require: commercial leaves no source: ham (CC-BY-NC-4.0) does not allow commercial; a build needs "
        "one; add a source or require less"
    )


def test_a_source_without_a_known_licence_does_not_enter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATASETS, "ham10000", DATASETS["ham10000"].model_copy(update={"licence": "Unheard-1.0"}))
    assert refused(params()).startswith("sources.use.ham: licence 'Unheard-1.0' is not known; known: CC")
    monkeypatch.setitem(DATASETS, "ham10000", DATASETS["ham10000"].model_copy(update={"licence": ""}))
    assert refused(params()).startswith("sources.use.ham: no licence is known for it; a source needs one to enter")


def test_a_licence_without_derived_works_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = Licence(id="CC-BY-ND-4.0", name="No derivatives", allows=("commercial", "share"), citation="", url="")
    monkeypatch.setitem(LICENCES, closed.id, closed)
    monkeypatch.setitem(DATASETS, "ham10000", DATASETS["ham10000"].model_copy(update={"licence": closed.id}))
    assert list(permitted_sources(params())) == ["ham", "pad", "drawn"]
    assert list(permitted_sources(params("derive"))) == ["pad", "drawn"]


def test_of_equally_open_licences_the_one_with_share_alike_is_named() -> None:
    assert licences.most_restrictive(["CC-BY-NC-4.0", "CC-BY-NC-SA-3.0"]).id == "CC-BY-NC-SA-3.0"
