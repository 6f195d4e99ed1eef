"""The same accepted images however the work is cut, stopped, repeated or shuffled; every shortfall said aloud."""

from __future__ import annotations

import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from production_workspace import PlantingGenerator, ThumbnailExtractor, planted, precalibrate, write_workspace

from pipelines.imaging.normalise import decode_png
from pipelines.produce.attempts import block_path
from pipelines.produce.blocks import next_blocks, produce_block
from pipelines.produce.estimate import estimate_production
from pipelines.produce.plan import ProductionPlan, plan_production
from pipelines.produce.result import ProductionResult, load_result
from pipelines.produce.run import produce_quotas
from pipelines.produce.settle import settle_production
from schemas.errors import CheckFailed
from schemas.ledger import GATES as LEDGER_GATES
from schemas.ledger import AttemptRow, SyntheticRow
from schemas.params import GateParams, Params
from schemas.paths import Workspace
from schemas.table import read_rows
from schemas.words import Lesion

QUOTAS = {(5, Lesion.MELANOMA): 6, (6, Lesion.NEVUS): 6}
GATES = GateParams(lesion_min_probability=0.0, tone_tolerance_deg=8)


def produce(workspace: Workspace, params: Params) -> tuple[ProductionResult, int]:
    """Return the result and how many images were drawn for it."""
    generator = PlantingGenerator()
    precalibrate(workspace, params)
    result = produce_quotas(workspace, params, generator=generator, extractor=ThumbnailExtractor())
    return result, generator.drawn


def outputs(workspace: Workspace) -> dict[str, bytes]:
    """Return the bytes of everything a production hands on."""
    files = [*workspace.ledger.iterdir(), *workspace.shards.iterdir(), *workspace.rejected.iterdir()]
    files.append(workspace.production / "result.json")
    return {str(f.relative_to(workspace.root)): f.read_bytes() for f in files}


def ledger(workspace: Workspace) -> list[AttemptRow]:
    return read_rows(workspace.ledger, AttemptRow)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Params, ProductionResult]:
    workspace, params = write_workspace(tmp_path_factory.mktemp("made"), QUOTAS, gates=GATES)
    return workspace, params, produce(workspace, params)[0]


@pytest.fixture
def copy(made: tuple[Workspace, Params, ProductionResult], tmp_path: Path) -> tuple[Workspace, Params]:
    shutil.copytree(made[0].root, tmp_path / "copy")
    return Workspace(tmp_path / "copy"), made[1]


def test_quotas_are_met_exactly_and_the_ledger_rebuilds_every_count(
    made: tuple[Workspace, Params, ProductionResult],
) -> None:
    workspace, _, result = made
    rows = ledger(workspace)
    assert (result.quota, result.accepted, result.shortfall) == (12, 12, 0)
    assert result == load_result(workspace.production)
    assert len(rows) == result.attempts == len({r.image_id for r in rows})
    for one in result.strata:
        mine = [r for r in rows if (r.fst, r.lesion) == (one.fst, one.lesion)]
        assert [r.seed_index for r in mine] == list(range(one.attempts))
        assert sum(r.accepted for r in mine) == one.accepted == one.quota
        for gate, count in one.rejected.items():
            assert sum(r.reason == gate for r in mine) == count
        assert one.accepted + one.surplus + sum(one.rejected.values()) == one.attempts
    pixels = {r.image_id: decode_png(r.image.bytes) for r in read_rows(workspace.shards, SyntheticRow)}
    assert set(pixels) == {r.image_id for r in rows if r.accepted}
    assert all(p.shape == (32, 32, 3) and p.dtype == np.uint8 for p in pixels.values())


def test_no_planted_defect_is_accepted(made: tuple[Workspace, Params, ProductionResult]) -> None:
    rows = ledger(made[0])
    kinds = {kind: [r for r in rows if planted(r.image_id) == kind] for kind in {planted(r.image_id) for r in rows}}
    assert {"blank", "tone", "copy", "flipped", "repeat"} <= set(kinds)
    assert not any(r.blank_passed for r in kinds["blank"])
    assert not any(r.tone_passed for r in kinds["tone"])
    assert not any(r.copy_passed for r in kinds["copy"] + kinds["flipped"])
    accepted = [planted(r.image_id) for r in rows if r.accepted]
    assert set(accepted) <= {"good", "lesion", "repeat"}
    assert accepted.count("repeat") <= 2  # the first of a picture is no duplicate; one picture a stratum


def test_the_reason_is_the_first_gate_that_failed(made: tuple[Workspace, Params, ProductionResult]) -> None:
    for row in ledger(made[0]):
        failed = [gate for gate in LEDGER_GATES if not getattr(row, f"{gate}_passed")]
        assert row.reason == failed[0] if failed else row.reason in (None, "surplus")
        assert row.accepted == (row.reason is None)
        assert (row.copy_score < 1) == (not row.copy_passed)
        assert (row.duplicate_score < 1) == (not row.duplicate_passed)


def test_nothing_is_made_twice(copy: tuple[Workspace, Params]) -> None:
    before = outputs(copy[0])
    assert produce(*copy)[1] == 0
    assert outputs(copy[0]) == before


@pytest.mark.parametrize(("damage", "share"), [("delete", 0), ("truncate", 0), *(("flip", s) for s in range(1, 9))])
def test_a_lost_or_damaged_block_is_made_again_and_nothing_else_changes(
    copy: tuple[Workspace, Params], damage: str, share: int
) -> None:
    before = outputs(copy[0])
    blocks = sorted(copy[0].blocks.iterdir())
    victim, content = blocks[1], blocks[1].read_bytes()
    if damage == "delete":
        victim.unlink()
    elif damage == "truncate":
        victim.write_bytes(content[: len(content) // 2])
    else:
        middle = len(content) * share // 10
        victim.write_bytes(
            content[:middle] + bytes(b ^ 255 for b in content[middle : middle + 64]) + content[middle + 64 :]
        )
    drawn = produce(*copy)[1]
    assert 0 < drawn <= 8 or (damage == "flip" and drawn == 0)  # bytes that carry no value may be hit
    assert outputs(copy[0]) == before


def accepted(workspace: Workspace) -> dict[str, list[str]]:
    """Return the accepted image ids of each shard, in order."""
    return {f.name: [r.image_id for r in read_rows(f, SyntheticRow)] for f in sorted(workspace.shards.iterdir())}


@pytest.mark.parametrize("block", [1, 32])
def test_the_batch_size_changes_no_accepted_image(
    made: tuple[Workspace, Params, ProductionResult], tmp_path: Path, block: int
) -> None:
    workspace, params = write_workspace(tmp_path, QUOTAS, gates=GATES, block=block)
    produce(workspace, params)
    assert accepted(workspace) == accepted(made[0])
    theirs = {r.image_id: r for r in ledger(made[0])}
    for row in ledger(workspace):  # attempts may be more or fewer, but what was made of one is the same
        if row.image_id in theirs:
            assert row == theirs[row.image_id]


def test_workers_order_and_interruptions_change_nothing(
    made: tuple[Workspace, Params, ProductionResult], tmp_path: Path
) -> None:
    workspace, params = write_workspace(tmp_path, QUOTAS, gates=GATES)
    shutil.copytree(made[0].production / "gates", workspace.production / "gates")
    plan = plan_production(workspace, params, PlantingGenerator())
    shuffle = random.Random(0)

    def make(block: object) -> None:
        produce_block(
            workspace, params, plan, block, generator=PlantingGenerator(), extractor=ThumbnailExtractor()  # type: ignore[arg-type]
        )  # fmt: skip

    while blocks := next_blocks(workspace, plan):
        shuffle.shuffle(blocks)
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(make, blocks[: 1 + len(blocks) // 2]))  # the rest is "killed": asked for again
    settle_production(workspace, params, plan)
    assert outputs(workspace) == outputs(made[0])


def test_settling_early_is_refused(copy: tuple[Workspace, Params]) -> None:
    workspace, params = copy
    plan = plan_production(workspace, params, PlantingGenerator())
    shutil.rmtree(workspace.blocks)
    with pytest.raises(
        CheckFailed, match=r"scheduled blocks are not made, first [0-9a-f]{24}; .*run `equiderm produce`"
    ):
        settle_production(workspace, params, plan)


def test_what_another_plan_left_behind_goes(copy: tuple[Workspace, Params]) -> None:
    workspace, params = copy
    (workspace.blocks / ".leftover.parquet.partial").write_bytes(b"x")
    changed = params.model_copy(update={"produce": params.produce.model_copy(update={"seed": 24})})
    before, old_ids = set(workspace.blocks.iterdir()), {r.image_id for r in ledger(workspace)}
    write_workspace(workspace.root, {(6, Lesion.NEVUS): 3})
    produce(workspace, changed)
    assert not before & set(workspace.blocks.iterdir())
    assert [f.name for f in workspace.ledger.iterdir()] == ["phantom-VI-nevus.parquet"]
    assert [f.name for f in workspace.shards.iterdir()] == ["phantom-VI-nevus.parquet"]
    assert not old_ids & {r.image_id for r in ledger(workspace)}


ONE_KEY = "0000002" + "0" * 17  # a picture that passes every gate in both strata


class OneNoteGenerator(PlantingGenerator):
    """Makes one and the same picture of each stratum, whatever the key."""

    def sample(self, conditions, keys):  # type: ignore[no-untyped-def]
        """Return one image a key."""
        return super().sample(conditions, [ONE_KEY] * len(keys))


def test_a_stratum_out_of_attempts_is_a_shortfall(tmp_path: Path) -> None:
    workspace, params = write_workspace(tmp_path, QUOTAS, gates=GATES, max_attempts_per_image=2)
    precalibrate(workspace, params)
    result = produce_quotas(workspace, params, generator=OneNoteGenerator(), extractor=ThumbnailExtractor())
    assert [(s.quota, s.accepted, s.shortfall, s.attempts, s.rejected) for s in result.strata] == [
        (6, 1, 5, 12, {"duplicate": 11})
    ] * 2
    assert (result.accepted, result.shortfall) == (2, 10)


class SwappedGenerator(PlantingGenerator):
    """Another checkpoint than was planned."""

    checkpoint_sha256 = "0" * 64


class ShapelessGenerator(PlantingGenerator):
    """Returns floats."""

    def sample(self, conditions, keys):  # type: ignore[no-untyped-def]
        """Return what no generator may."""
        return super().sample(conditions, keys) / 255


@pytest.mark.parametrize(
    ("generator", "words"), [(SwappedGenerator, "weights changed"), (ShapelessGenerator, "float64")]
)
def test_a_generator_that_breaks_its_word_is_stopped(
    copy: tuple[Workspace, Params], generator: type[PlantingGenerator], words: str
) -> None:
    workspace, params = copy
    plan: ProductionPlan = plan_production(workspace, params, PlantingGenerator())
    shutil.rmtree(workspace.blocks)
    block = next_blocks(workspace, plan)[0]
    with pytest.raises(CheckFailed, match=words):
        produce_block(workspace, params, plan, block, generator=generator(), extractor=ThumbnailExtractor())
    assert not block_path(workspace, block).exists()


def test_an_estimate_comes_from_the_last_production(copy: tuple[Workspace, Params]) -> None:
    found = estimate_production(*copy)
    assert found.attempts is not None
    assert 12 <= found.attempts.low <= found.attempts.expected <= found.attempts.high <= found.attempt_limit == 60
    assert found.hours is not None
    assert 0 < found.hours.low <= found.hours.expected <= found.hours.high < 1
    assert "blocks timed on this machine" in found.basis
    shutil.rmtree(copy[0].state)
    unmeasured = estimate_production(*copy)
    assert (unmeasured.hours, unmeasured.attempts) == (None, found.attempts)
    assert "no block was timed on this machine" in unmeasured.basis
