"""The verbs that answer for what was used: accept a changed source, withdraw somebody, say what used them."""

from __future__ import annotations

from flows.checks import check_params
from flows.lock import hold
from flows.verbs import show
from schemas.errors import CheckFailed, NotFoundError, UserError
from schemas.paths import Workspace
from schemas.withdrawal import WithdrawalKind


def accept(source: str, by: str, why: str, *, as_json: bool) -> None:
    """Show how a source differs from what was accepted, and record it as accepted if a name and a reason are given.

    Raises:
        NotFoundError: no such source, or it is left out.
        UserError: a name without a reason, or a reason without a name.
        CheckFailed: it differs and was not accepted now.
    """
    from pipelines.sources.drift import accept_source, survey_source
    from pipelines.sources.permission import permitted_sources
    from pipelines.sources.registry import open_source

    workspace = Workspace.here()
    params = check_params(workspace)
    by, why = by.strip(), why.strip()
    if bool(by) != bool(why):
        raise UserError("accept: got one of --by and --why; both are needed to record it, neither to look; give both")
    used = permitted_sources(params)
    if source not in used:
        raise NotFoundError(f"source {source}: not one of {', '.join(used)}; use a name under sources.use")
    with hold(workspace):
        survey, now = survey_source(workspace, params, source, open_source(source, used[source], workspace))
        same = survey.state == "as accepted"
        entry = accept_source(workspace, source, now, by, why) if by and not same else None
    show(
        {
            "source": source,
            "state": "accepted" if entry else survey.state,
            "accepted_by": entry.by if entry else survey.accepted_by,
            "accepted_when": str(entry.when if entry else survey.accepted_when or ""),
            "digest": entry.digest if entry else None,
            "record": f"infra/accepted/{source}.json" + ("; commit it" if entry else ""),
            "changes": survey.changes,
        },
        as_json=as_json,
    )
    if not same and not entry:
        raise CheckFailed(f"source {source}: {survey.state}; to accept it as it is give --by NAME and --why TEXT")


def withdraw(source: str, kind: str, name: str, why: str, *, absent: bool, as_json: bool) -> None:
    """Put a patient, a row or an image on the withdrawal list."""
    from pipelines.ingest.withdraw import withdraw as put

    workspace = Workspace.here()
    params = check_params(workspace)
    with hold(workspace):
        show(put(workspace, params, source, WithdrawalKind(kind), name, why, absent), as_json=as_json)


def impact_of(source: str, name: str, *, withdrawn: bool, as_json: bool) -> None:
    """Show every model and release that used a row, a patient, an image, or anything on the withdrawal list.

    Raises:
        UserError: neither or both were asked for.
    """
    from flows.history import history
    from pipelines.release.impact import impact
    from pipelines.release.wanted import wanted_id, wanted_withdrawn

    if withdrawn == bool(name) or (source and not name):
        raise UserError("impact: got neither or both of an id and --withdrawn; give SOURCE and an id, or --withdrawn")
    workspace = Workspace.here()
    params = check_params(workspace)
    wanted = wanted_withdrawn(workspace, params) if withdrawn else wanted_id(workspace, params, source, name)
    show(impact(workspace, wanted, history(workspace)), as_json=as_json)
