"""Planning refuses what cannot be made, in one line that says what to change, and writes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from production_workspace import LESIONS, PlantingGenerator, catalog_row, phantoms, precalibrate, write_workspace

from pipelines.produce.estimate import estimate_production
from pipelines.produce.plan import plan_production, plan_strata
from schemas.catalog import CatalogRow
from schemas.errors import CheckFailed, UserError
from schemas.params import parse_params
from schemas.paths import Workspace
from schemas.strata import QuotaRow
from schemas.table import read_rows, write_rows
from schemas.words import ITA_BANDS_DEG, Lesion, Modality, Split

QUOTAS = {(6, Lesion.NEVUS): 5, (1, Lesion.MELANOMA): 3}


def message(error: pytest.ExceptionInfo[UserError]) -> str:
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2
    return str(error.value)


def test_a_plan_has_every_stratum_with_a_quota_and_its_attempt_limit(tmp_path: Path) -> None:
    workspace, params = write_workspace(tmp_path, QUOTAS, max_attempts_per_image=2.5)
    precalibrate(workspace, params)
    plan = plan_production(workspace, params, PlantingGenerator())
    assert [(s.name, s.quota, s.attempts) for s in plan.strata] == [
        ("phantom/I/melanoma", 3, 8),
        ("phantom/VI/nevus", 5, 13),
    ]
    assert [s.band_deg for s in plan.strata] == [ITA_BANDS_DEG[1], ITA_BANDS_DEG[6]]
    assert [s.file for s in plan.strata] == ["phantom-I-melanoma.parquet", "phantom-VI-nevus.parquet"]
    assert plan.models["diffusion"].settings == {"steps": 1, "seed": 23}
    assert plan.settings_of(plan.strata[0])["request_deg"] == [57.0, 70.0]


def test_planning_before_stratify_calibration_or_training_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        plan_production(Workspace(tmp_path), write_workspace(tmp_path / "other", QUOTAS)[1])
    assert message(error) == "data/strata/quotas.parquet: not there; run `equiderm stratify` first"
    workspace, params = write_workspace(tmp_path, QUOTAS)
    with pytest.raises(UserError) as error:
        plan_production(workspace, params, PlantingGenerator())
    assert "production/gates/calibration.json: none readable" in message(error)
    with pytest.raises(UserError) as error:
        plan_production(workspace, params)
    assert "no checkpoint" in message(error)
    unknown = params.model_copy(update={"produce": params.produce.model_copy(update={"generator": "flow"})})
    with pytest.raises(UserError) as error:
        plan_production(workspace, unknown)
    assert "'flow'" in message(error)


def test_a_calibration_of_other_images_is_not_used(tmp_path: Path) -> None:
    workspace, params = write_workspace(tmp_path, QUOTAS)
    precalibrate(workspace, params)
    rows = [catalog_row(p, Split.TRAIN) for p in phantoms()]
    write_rows(rows, CatalogRow, workspace.splits)
    with pytest.raises(UserError) as error:
        plan_production(workspace, params, PlantingGenerator())
    assert "made from other images or params" in message(error)


def test_a_lesion_nobody_has_is_refused(tmp_path: Path) -> None:
    workspace, params = write_workspace(tmp_path, {**QUOTAS, (2, LESIONS[2]): 4})
    rows = [r for r in read_rows(workspace.splits, CatalogRow) if r.lesion != LESIONS[2]]
    write_rows(rows, CatalogRow, workspace.splits)
    with pytest.raises(UserError) as error:
        plan_strata(workspace, params)
    assert message(error).startswith(
        "stratum phantom/II/basal_cell_carcinoma: quota 4, but no real training image shows basal_cell_carcinoma, "
        "so the lesion gate can pass none; add a source"
    )


def test_a_quota_beyond_the_attempt_limit_is_refused(tmp_path: Path) -> None:
    data = {"sources": {"use": {"p": {"adapter": "phantom"}}}, "produce": {"max_attempts_per_image": 0.5}}
    with pytest.raises(UserError, match=r"produce.max_attempts_per_image: got 0.5"):
        parse_params(data, "params.yaml")
    workspace, params = write_workspace(tmp_path, {(6, Lesion.NEVUS): 2**29})
    with pytest.raises(UserError) as error:
        plan_strata(workspace, params)
    assert "quota 536870912 needs 536870912 attempts or more, at most 2147483647" in message(error)


def test_photographs_without_a_measured_tone_are_refused(tmp_path: Path) -> None:
    workspace, params = write_workspace(tmp_path, QUOTAS)
    for path, row in ((workspace.quotas, QuotaRow), (workspace.splits, CatalogRow)):
        found = read_rows(path, row)
        write_rows([r.model_copy(update={"modality": Modality.CLINICAL}) for r in found], row, path)
    with pytest.raises(UserError, match=r"has a quota but no row in strata.parquet"):
        plan_strata(workspace, params)


def test_an_estimate_says_null_for_what_was_never_measured(tmp_path: Path) -> None:
    workspace, params = write_workspace(tmp_path, QUOTAS)
    before = sorted(p for p in tmp_path.rglob("*"))
    found = estimate_production(workspace, params)
    assert (found.quota, found.attempt_limit, found.infeasible) == (8, 40, [])
    assert (found.images, found.attempts, found.hours, found.gpu_hours, found.bytes) == (None,) * 5
    assert [(s.stratum, s.acceptance) for s in found.strata] == [
        ("phantom/I/melanoma", None),
        ("phantom/VI/nevus", None),
    ]
    assert sorted(p for p in tmp_path.rglob("*")) == before


def test_the_wrong_resolution_is_refused(tmp_path: Path) -> None:
    workspace, params = write_workspace(tmp_path, QUOTAS)
    generator = PlantingGenerator()
    generator.resolution = 64
    with pytest.raises(UserError) as error:
        plan_production(workspace, params, generator)
    assert "draws 64 px, ingest.resolution is 32; they need to be equal" in message(error)
    assert not isinstance(error.value, CheckFailed)
