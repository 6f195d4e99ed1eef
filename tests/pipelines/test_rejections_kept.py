"""What was refused can be looked at: a bounded number of small pictures, each with the gate and what it said."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pictures
from production_workspace import PlantingGenerator, ThumbnailExtractor, precalibrate, write_workspace

from pipelines.imaging.normalise import decode_png, encode_png
from pipelines.produce.gates.decodable import judge
from pipelines.produce.gates.verdict import Candidates
from pipelines.produce.pictures import PICTURE_PX, read_picture, small_picture
from pipelines.produce.rejections import SHEET
from pipelines.produce.result import ProductionResult, load_result
from pipelines.produce.run import produce_quotas
from pipelines.produce.settle import settle_production
from schemas.ledger import GATES, SURPLUS, AttemptRow, RejectedRow
from schemas.params import GateParams, Params
from schemas.paths import Workspace
from schemas.table import read_rows
from schemas.words import Lesion

QUOTAS = {(5, Lesion.MELANOMA): 8, (2, Lesion.NEVUS): 8}
KEPT = 2

Made = tuple[Workspace, Params, ProductionResult]


def settings(kept: int) -> GateParams:
    return GateParams(lesion_min_probability=0.0, tone_tolerance_deg=8, outlier_quantile=1, rejected_kept=kept)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    workspace, params = write_workspace(tmp_path_factory.mktemp("rejected"), QUOTAS, gates=settings(KEPT))
    precalibrate(workspace, params)
    generator, extractor = PlantingGenerator(), ThumbnailExtractor()
    return workspace, params, produce_quotas(workspace, params, generator=generator, extractor=extractor)


def test_the_first_of_each_reason_are_kept_with_a_picture_and_what_the_gate_said(made: Made) -> None:
    workspace = made[0]
    ledger = {r.image_id: r for r in read_rows(workspace.ledger, AttemptRow)}
    refused = [r for r in ledger.values() if r.reason not in (None, SURPLUS)]
    rows = read_rows(workspace.rejected, RejectedRow)
    counts = Counter((r.fst, r.reason) for r in refused)
    assert Counter((r.fst, r.reason) for r in rows) == {cell: min(n, KEPT) for cell, n in counts.items()}
    assert max(counts.values()) > KEPT  # the bound was met
    for row in rows:
        attempt = ledger[row.image_id]
        assert (row.reason, row.seed_index, row.lesion) == (attempt.reason, attempt.seed_index, attempt.lesion)
        assert row.score == getattr(attempt, f"{row.reason}_score")
        assert len(row.message) > 10
        assert read_picture(row.picture).shape == (PICTURE_PX, PICTURE_PX, 3)
        assert len(row.picture.bytes) < 3000
    for cell in counts:
        kept = [r.seed_index for r in rows if (r.fst, r.reason) == cell]
        assert kept == sorted(r.seed_index for r in refused if (r.fst, r.reason) == cell)[: len(kept)]


def test_the_sheet_shows_them(made: Made) -> None:
    with Pictures.open(made[0].rejected / SHEET) as sheet:
        assert sheet.width > 3 * PICTURE_PX
        assert len(set(sheet.convert("L").get_flattened_data())) > 20


def test_the_result_has_the_rates_of_every_gate_by_skin_type(made: Made) -> None:
    workspace, _, result = made
    assert load_result(workspace.production) == result
    rows = read_rows(workspace.ledger, AttemptRow)
    found = {(r.fst, r.gate): r for r in result.rejection_rates}
    for fst in (2, 5):
        mine = [r for r in rows if r.fst == fst]
        for gate in GATES:
            judged = [r for r in mine if getattr(r, f"{gate}_score") is not None]
            if judged:
                assert found[fst, gate].judged == len(judged)
                assert found[fst, gate].refused == sum(not getattr(r, f"{gate}_passed") for r in judged)


def test_another_bound_on_what_is_kept_makes_no_block_anew(made: Made) -> None:
    workspace, params, result = made
    fewer = params.model_copy(update={"produce": params.produce.model_copy(update={"gates": settings(0)})})
    generator = PlantingGenerator()
    again = produce_quotas(workspace, fewer, generator=generator, extractor=ThumbnailExtractor())
    assert generator.drawn == 0
    assert again == result
    assert not read_rows(workspace.rejected, RejectedRow)
    assert not (workspace.rejected / SHEET).exists()
    from pipelines.produce.plan import plan_production

    settle_production(workspace, params, plan_production(workspace, params, PlantingGenerator()))
    assert read_rows(workspace.rejected, RejectedRow)


@pytest.mark.parametrize("side", [16, 32, 64, 200])
def test_a_small_picture_looks_like_the_image(side: int) -> None:
    ramp = np.linspace(30, 220, side).astype(np.uint8)
    image = np.stack([np.tile(ramp, (side, 1))] * 3, axis=-1)
    seen = read_picture(small_picture(image, "a"))
    assert abs(seen.astype(int).mean() - image.mean()) < 3
    assert seen[:, -1].mean() - seen[:, 0].mean() > 150


def test_a_file_that_does_not_give_the_picture_back_is_refused() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 24, 24, 3), dtype=np.uint8)
    candidates = Candidates(pixels, np.zeros((5, 4), np.float32), None, Lesion.NEVUS, None)
    whole = encode_png(pixels[0])
    assert np.array_equal(decode_png(candidates.files[0]), pixels[0])
    changed = np.where(np.eye(24)[..., None] > 0, 0, pixels[4]).astype(np.uint8)
    candidates.__dict__["files"] = [whole, whole[:200], b"", encode_png(pixels[3][:20]), encode_png(changed)]
    found = judge(candidates, None)  # type: ignore[arg-type]
    assert [v.keep for v in found] == [True, False, False, False, False]
    assert [v.score for v in found[:4]] == [1, 0, 0, 0]
    assert found[1].reason is not None
    assert "does not decode" in found[1].reason
    assert found[3].reason == "its file decodes to (20, 24, 3), needs (24, 24, 3)"
    assert found[4].score == pytest.approx(1 - 1 / 24)


def test_pictures_refused_as_copies_never_leave_the_workspace(tmp_path: Path) -> None:
    from release_workspace import make_params, make_workspace

    from pipelines.release.inputs import open_inputs
    from pipelines.release.refused import refused_pictures
    from schemas.table import write_rows

    workspace = make_workspace(tmp_path)
    picture = small_picture(np.full((24, 24, 3), 90, np.uint8), "a")
    rows = [
        RejectedRow(image_id=f"{i}", modality="phantom", fst=6, lesion="melanoma", seed_index=i, reason=reason, score=0.5,
                    message="said why", picture=picture)
        for i, reason in enumerate(GATES)
    ]  # fmt: skip
    write_rows(rows, RejectedRow, workspace.rejected / "phantom-VI-melanoma.parquet")
    shown = refused_pictures(open_inputs(workspace, make_params()))
    assert {gate for _, _, gate in shown} == set(GATES) - {"copy"}
