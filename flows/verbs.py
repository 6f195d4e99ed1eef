"""What each verb does: find the workspace, call the layer below, show the result."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from flows.checks import check_params, check_sources, check_used, check_watched
from flows.lifeline import held
from flows.lock import hold
from flows.records import Outcome, StageFailed, plain, read_record
from flows.server import local_server
from schemas.errors import CheckFailed, UserError, WorkspaceError
from schemas.params import load_params
from schemas.paths import Workspace


def run_stages(only: Sequence[str], *, as_json: bool) -> None:
    """Bring the named stages up to date (all, if none is named) and show what became of each.

    Raises:
        UserError: parameters, sources or workspace are wrong; nothing was run.
        StageFailed: a stage failed; the ones after it did not run.
    """
    workspace = Workspace.here()
    os.chdir(workspace.root)
    params = check_params(workspace)
    check_used(only, params)
    with hold(workspace), local_server(workspace) as server, held():
        from flows.graph import Graph, use_this_interpreter

        use_this_interpreter()
        check_sources(workspace, params)
        graph = Graph(workspace)
        graph.order(only)
        check_watched(graph)
        from flows.build import build

        server.wait()
        server.announce()
        try:
            outcomes = build(list(only))
        except StageFailed as error:
            _show_outcomes(workspace, error.outcomes, as_json)
            raise
    _show_outcomes(workspace, outcomes, as_json)


def _show_outcomes(workspace: Workspace, outcomes: Iterable[Outcome], as_json: bool) -> None:
    if not as_json:
        return  # each stage's line is on stderr already
    stages = []
    for outcome in outcomes:
        record = read_record(workspace, outcome.stage)
        stages.append({**outcome.model_dump(), "summary": record.summary if record else None})
    print(json.dumps({"ok": not any(s["exit_code"] for s in stages), "stages": stages}, indent=1))


def show_status(*, as_json: bool) -> None:
    """Show each stage: up to date or not, why, and what it last said; and what became of every attempt."""
    from flows.graph import Graph
    from pipelines.produce.counts import count_ledger

    workspace = Workspace.here()
    load_params(workspace.params)
    with ThreadPoolExecutor(1) as pool:  # DuckDB counts while DVC looks at the stages
        counting = pool.submit(count_ledger, workspace)
        graph = Graph(workspace)
        changes = graph.changes()
        counts = counting.result()
    rows = []
    for stage in graph.order():
        record = read_record(workspace, stage)
        why = [c for c in changes.get(stage, []) if c != "always changed"]
        rows.append(
            {
                "stage": stage,
                "state": "changed" if why else "up to date",
                "finished": record.finished.astimezone().isoformat(timespec="seconds") if record else None,
                "why": why,
                "headline": record.headline if record else None,
            }
        )
    if as_json:
        show({"stages": rows, "production": counts}, as_json=True)
        return
    show({"stages": rows}, as_json=False)
    if counts:
        print()
        show(counts, as_json=False)


def show_releases(*, as_json: bool) -> None:
    """Show the releases of this workspace."""
    from pipelines.release.listing import list_releases

    show({"releases": list_releases(Workspace.here())}, as_json=as_json)


def verify_one(release: str, *, as_json: bool) -> None:
    """Hash and count a release again.

    Raises:
        CheckFailed: something differs from what the release says.
    """
    from pipelines.release.verify import verify_release

    result = verify_release(_release_folder(release))
    show(result, as_json=as_json)
    if not result.passed:
        first = result.findings[0]
        raise CheckFailed(f"release {result.name}: not what it says; {first.file}: {first.message}")


def _release_folder(release: str) -> Path:
    """Return the release of that name here, else the folder of that path; without a name, the one of params.yaml."""
    try:
        workspace = Workspace.here()
    except WorkspaceError:
        if not release:
            raise
        return Path(release)
    here = workspace.releases / (release or load_params(workspace.params).release.name)
    return here if here.is_dir() or not Path(release).is_dir() else Path(release)


def trace_one(image: str, *, as_json: bool) -> None:
    """Show where one image comes from."""
    from pipelines.release.trace import trace_image

    show(trace_image(Workspace.here(), image), as_json=as_json)


def replay_one(image: str, *, as_json: bool) -> None:
    """Make one synthetic image again and compare.

    Raises:
        CheckFailed: the pixels differ by more than kernels round.
    """
    from pipelines.produce.remake import remake_image

    result = remake_image(Workspace.here(), image)
    show(result, as_json=as_json)
    if not result.same:
        raise CheckFailed(
            f"{result.image_id}: largest difference {result.largest_difference} of 255, rounding is {result.allowed} "
            "at most; made with other library versions, or changed since (`equiderm verify`)"
        )


def draw_phantoms(count: int, seed: int, resolution: int, out: Path, *, as_json: bool) -> None:
    """Draw phantoms into a folder.

    Raises:
        UserError: the folder holds other files.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: exists and is not an empty folder; name a new one with --out")
    from pipelines.phantoms.album import write_album
    from schemas.source_params import PhantomSource

    show(write_album(PhantomSource(count=count, seed=seed, resolution=resolution), out), as_json=as_json)


def show(value: Any, *, as_json: bool) -> None:
    """Print a result: JSON, or as it describes itself, or its plain values line by line and its lists as tables."""
    if not as_json and hasattr(value, "text"):
        print(value.text())
        return
    data = plain(value)
    if as_json:
        print(json.dumps(data, indent=1))
        return
    for name, item in data.items():
        if isinstance(item, list) and item and all(isinstance(row, dict) for row in item):
            _print_table(item)
        else:
            print(f"{name}: {_text(item)}")


def _print_table(rows: list[dict[str, Any]]) -> None:
    heads = list(rows[0])
    cells = [heads, *([_text(row.get(head)) for head in heads] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(heads))]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _text(value: Any) -> str:
    if value is None or value == []:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return json.dumps(value) if isinstance(value, dict | list) else str(value)
