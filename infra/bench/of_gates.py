"""The gates against planted defects: precision and recall of each, what they take from good real images, what they cost.

Phantoms, and the photos of PAD-UFES-20 and HAM10000 where --data has them. Patients are split 60 / 15 / 25: gates are
calibrated on training and validation images; good and spoilt images are test images of other patients, half each. Copies
are of training images, as they have to be. A gate's precision counts what it refused of the good images and of the
defects that are its own, so it depends on how many of each were planted: the counts stand beside it.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from planted import STRANGERS, Case, cases

from pipelines.embedding.corpus import Corpus, read_corpus
from pipelines.embedding.extractor import Extractor, default_extractor
from pipelines.ingest.plan import plan_shards
from pipelines.ingest.settle import settle_catalog
from pipelines.ingest.shard import ingest_shard
from pipelines.probes.skin_type_trust import abstentions
from pipelines.produce.calibrate import calibrate_gates, patients
from pipelines.produce.calibration import load_reference
from pipelines.produce.gates import JUDGES
from pipelines.produce.gates.duplicate import scores_against
from pipelines.produce.gates.verdict import Candidates, Limits, Verdict
from pipelines.produce.rejection_rates import wilson
from schemas.catalog import CatalogRow
from schemas.ledger import GATES
from schemas.params import GateParams, Params, parse_params
from schemas.paths import Workspace
from schemas.strata import QuotaRow
from schemas.table import read_rows, write_rows
from schemas.words import FST_ROMAN, Modality, Split, Support

SOURCES: dict[str, dict[str, Any]] = {
    "phantom": {"adapter": "phantom", "count": 1200, "seed": 7, "resolution": 64, "fst_shares": [1 / 6] * 5 + [1 - 5 / 6]},
    "pad_ufes_20": {"adapter": "pad_ufes_20", "path": "pad_ufes_20"},
    "ham10000": {"adapter": "ham10000", "path": "ham10000"},
}  # fmt: skip


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return, for each set of images, recall and precision by gate, recall by recolouring, rates by FST, and costs."""
    result: dict[str, Any] = {}
    for name, source in SOURCES.items():
        path = (args.data / source["path"]).resolve() if "path" in source else None
        if path and not path.is_dir():
            result[name] = {"skipped": f"{args.data / source['path']}: no such folder; give --data"}
            continue
        with tempfile.TemporaryDirectory() as scratch:
            given = {**source, "path": str(path)} if path else source
            result[name] = measure_source(Workspace(Path(scratch)), name, given, repeats=args.repeats)
        show(name, result[name])
    return result


def measure_source(
    workspace: Workspace, name: str, source: dict[str, Any], *, repeats: int = 1, gates: GateParams | None = None
) -> dict[str, Any]:
    """Return what the gates did on one set of images."""
    params = parse_params({"sources": {"use": {name: source}}, "ingest": {"resolution": 64}}, "bench")
    params = params.model_copy(update={"produce": params.produce.model_copy(update={"gates": gates or GateParams()})})
    modality = fill(workspace, params)
    calibration = calibrate_gates(workspace, params)
    bounds = calibration.of(modality)
    limits = Limits(params.produce.gates, bounds, load_reference(workspace, modality, calibration.digest))
    corpus = read_corpus(workspace, modality, tuple(Split))
    found = [(case, *judge(case, limits)) for case in cases(corpus)]
    return {
        "images": {split.value: len(corpus.split(split)) for split in Split},
        "tone_probe": bounds.tone_probe.model_dump(mode="json"),
        "tone_probe_abstains": abstentions(bounds.tone_probe),
        "outlier_bounds": [b.model_dump() for b in bounds.outlier],
        "copy_bounds": {"embedding": bounds.copy_embedding, "pattern": bounds.copy_pattern, "pixels": bounds.copy_pixels},
        "gates": {gate: score(gate, found) for gate in GATES},
        "copies": {c.name: recall("copy", [v]) for c, v, _ in found if c.spoils == "copy"},
        "strangers": {c.name: recall("outlier", [v]) for c, v, _ in found if c.name in STRANGERS},
        "false_rejection_by_fst": by_skin_type(found),
        "milliseconds_per_image": cost(corpus, limits, repeats),
    }  # fmt: skip


def fill(workspace: Workspace, params: Params) -> Modality:
    """Ingest the source and split it by patient; return its modality."""
    for shard in plan_shards(workspace, params):
        ingest_shard(workspace, params, shard)
    settle_catalog(workspace, params)
    rows = read_rows(workspace.catalog, CatalogRow)
    split = [split_of(whose) for whose in patients(rows)]
    write_rows(
        [r.model_copy(update={"split": s}) for r, s in zip(rows, split, strict=True)], CatalogRow, workspace.splits
    )
    first = rows[0]
    about = {"modality": first.modality, "fst": first.fst, "lesion": first.lesion, "support": Support.SUPPORTED}
    quota = QuotaRow.model_validate({**about, "target": 1, "have": 0, "need": 1, "cap": 1, "quota": 1, "reason": None})
    write_rows([quota], QuotaRow, workspace.quotas)
    return first.modality


def split_of(patient: str) -> Split:
    """Return a patient's split, 60 / 15 / 25."""
    share = int(hashlib.sha256(patient.encode()).hexdigest()[:6], 16) / 16**6
    return Split.TRAIN if share < 0.6 else Split.VALIDATION if share < 0.75 else Split.TEST


Judged = tuple[Case, dict[str, list[Verdict]], list[int | None]]


def judge(case: Case, limits: Limits) -> tuple[dict[str, list[Verdict]], list[int | None]]:
    """Return each gate's verdicts on a case's images, and the skin types they were asked for as."""
    extractor = default_extractor()
    verdicts: dict[str, list[Verdict]] = {gate: [] for gate in GATES}
    asked: list[int | None] = []
    for batch in batches(case, extractor):
        for gate, judge_batch in JUDGES.items():
            verdicts[gate] += judge_batch(batch, limits)
        if case.beside is not None:  # already kept in this production
            bits, bound = limits.params.duplicate_bits, limits.calibration.duplicate_pixels
            scores = scores_against(batch.thumbs, case.beside, bits=bits, pixel_bound=bound).min(axis=1)
            verdicts["duplicate"] += [Verdict(s >= 1, float(s), None) for s in scores]
        asked += [batch.fst] * len(batch.pixels)
    return verdicts, asked


def batches(case: Case, extractor: Extractor) -> Iterator[Candidates]:
    """Yield the case's images by the stratum they were asked for as."""
    features = extractor(case.pixels)
    for stratum in dict.fromkeys(case.asked):
        mine = [i for i, asked in enumerate(case.asked) if asked == stratum]
        batch = Candidates(case.pixels[mine], features[mine], *stratum)
        if case.files is not None:
            batch.__dict__["files"] = [case.files[i] for i in mine]  # in place of the files that it would encode
        yield batch


def refused(verdicts: list[Verdict]) -> int:
    return sum(not v.keep for v in verdicts)


def recall(gate: str, judged: list[dict[str, list[Verdict]]]) -> dict[str, Any]:
    """Return the share of planted images that the gate refused, and the share that any gate did."""
    own = [v for one in judged for v in one[gate]]
    every = [any(not one[g][i].keep for g in GATES if one[g]) for one in judged for i in range(len(one[gate]))]
    return {"planted": len(own), "recall": refused(own) / len(own), "any_gate": sum(every) / len(every)} if own else {}


def score(gate: str, found: list[Judged]) -> dict[str, Any]:
    """Return a gate's recall on the defects that are its own, its precision, and what it took of the good images."""
    planted = [v for case, v, _ in found if case.spoils == gate and case.counts]
    good = [v for case, judged, _ in found if case.spoils is None for v in judged[gate] if v.score is not None]
    result = recall(gate, planted) if planted else {"planted": 0}
    if not result["planted"] or not good:
        return {**result, "good": len(good)}
    hits, false = round(result["recall"] * result["planted"]), refused(good)
    precision = hits / (hits + false) if hits + false else None
    return {**result, "precision": precision, "good": len(good), "good_refused": false}


def by_skin_type(found: list[Judged]) -> dict[str, dict[str, Any]]:
    """Return each gate's rate of refusing good images, by their skin type, with its interval."""
    table: dict[str, dict[str, Any]] = {}
    for case, verdicts, asked in found:
        for gate, said in verdicts.items() if case.spoils is None else ():
            for fst in sorted(set(asked), key=lambda f: f or 9):
                mine = [v for v, a in zip(said, asked, strict=False) if a == fst and v.score is not None]
                if mine:
                    low, high = wilson(refused(mine), len(mine))
                    label = FST_ROMAN[fst] if fst else "unknown"
                    table.setdefault(gate, {})[label] = [refused(mine), len(mine), low, high]
    return table


def cost(corpus: Corpus, limits: Limits, repeats: int) -> dict[str, float]:
    """Return what each gate and each thing measured for them costs, ms an image, in one block of 24; medians."""
    pixels = corpus.split(Split.TEST).pixels[:24]
    default_extractor()(pixels)
    runs = [_cost_once(pixels, corpus.split(Split.TEST).rows[0], limits) for _ in range(repeats)]
    return {name: float(np.median([run[name] for run in runs])) for name in runs[0]}


def _cost_once(pixels: NDArray[np.uint8], row: CatalogRow, limits: Limits) -> dict[str, float]:
    times: dict[str, float] = {}

    def clock(what: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        done = work()
        times[what] = (time.perf_counter() - start) / len(pixels) * 1e3
        return done

    features = clock("measured: features", lambda: default_extractor()(pixels))
    batch = Candidates(pixels, features, row.fst, row.lesion, (-90.0, 90.0))
    for name in ("files", "tones", "thumbs", "patterns", "units"):
        clock(f"measured: {name}", partial(getattr, batch, name))
    for gate, judge_batch in JUDGES.items():
        clock(f"gate: {gate}", partial(judge_batch, batch, limits))
    kept, bound = limits.reference.thumbs, limits.calibration.duplicate_pixels
    clock(
        f"gate: duplicate, of {len(kept)} kept", lambda: scores_against(batch.thumbs, kept, bits=4, pixel_bound=bound)
    )
    return {**times, "all": sum(times.values())}


def show(name: str, found: dict[str, Any]) -> None:
    """Print the tables of docs/log.md."""
    print(f"\n{name}: {found['images']}; tone probe {found['tone_probe_abstains'] or 'judges every type'}\n")
    print(
        "| gate | planted | recall | refused by any gate | good | of them refused | precision |\n|---|---|---|---|---|---|---|"
    )
    for gate, row in found["gates"].items():
        if row.get("planted"):
            precision = "-" if row.get("precision") is None else f"{row['precision']:.2f}"
            print(f"| {gate} | {row['planted']} | {row['recall']:.2f} | {row['any_gate']:.2f} | {row['good']} "
                  f"| {row.get('good_refused', 0)} | {precision} |")  # fmt: skip
    for title in ("copies", "strangers"):
        print(f"\n| {title} | planted | recall | refused by any gate |\n|---|---|---|---|")
        for what, row in found[title].items():
            print(f"| {what} | {row['planted']} | {row['recall']:.2f} | {row['any_gate']:.2f} |")
    types = list(next(iter(found["false_rejection_by_fst"].values())))
    print("\n| good images refused, FST | " + " | ".join(types) + " |\n|---|" + "---|" * len(types))
    for gate, row in found["false_rejection_by_fst"].items():
        print(
            f"| {gate} | " + " | ".join(f"{row[t][0]} of {row[t][1]}" if t in row else "abstains" for t in types) + " |"
        )
    print("\n| ms an image | |\n|---|---|")
    for what, value in found["milliseconds_per_image"].items():
        print(f"| {what} | {value:.2f} |")
