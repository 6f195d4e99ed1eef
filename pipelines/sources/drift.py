"""Whether a source is still what somebody accepted. A build stops at a difference until `equiderm accept` records it.

profile()         what of a source must not change unseen
compare()         the differences between two profiles, each with its limit
check_drift()     every source against infra/accepted/<source>.json; raises at drift, records a first use
accept_source()   the record that lets a changed source in
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import ValidationError

from pipelines.sources.compare import compare
from pipelines.sources.interface import SourceReader
from pipelines.sources.profile import profile
from schemas.drift import FIRST_USE, Acceptance, Change, Profile, Survey
from schemas.errors import CheckFailed
from schemas.params import DriftParams, Params
from schemas.paths import Workspace
from schemas.table import write_text
from schemas.words import Modality

SHOWN: Final = 6
"""Differences of one source named in a message; the rest are counted, and `equiderm accept SOURCE` shows all."""


def check_drift(workspace: Workspace, params: Params, readers: Mapping[str, SourceReader]) -> dict[str, Survey]:
    """Return how every source stands; a source that nobody accepted yet is recorded as it is.

    Phantoms are left out: this project draws them, and what decides them is in params.yaml and the code.

    Raises:
        CheckFailed: a source differs by more than `sources.drift` allows, was never accepted and `first_use` is
            `refuse`, or its record is damaged. Nothing is recorded then.
    """
    found: dict[str, Survey] = {}
    fresh: dict[str, Profile] = {}
    refused: list[str] = []
    for name, reader in readers.items():
        if reader.modality == Modality.PHANTOM:
            found[name] = Survey(state="drawn here", accepted_by=None, accepted_when=None, changes=[])
            continue
        now, last = profile(reader, workspace, params.sources.use[name]), last_accepted(workspace, name)
        if last is None:
            fresh[name] = now
            found[name] = Survey(state=FIRST_USE, accepted_by=None, accepted_when=None, changes=[])
            continue
        changes = compare(last.profile, now, params.sources.drift)
        state = "changed within limits" if changes else "as accepted"
        found[name] = Survey(state=state, accepted_by=last.by, accepted_when=last.when, changes=changes)
        if any(change.stops for change in changes):
            refused.append(drift_message(name, last, changes))
    refused += _never_accepted(fresh, params.sources.drift)
    if refused:
        raise CheckFailed("; ".join(refused))
    for name, now in fresh.items():
        _append(workspace, name, now, FIRST_USE, "the first build that read it; nobody looked at it for this")
    return found


def _never_accepted(fresh: Mapping[str, Profile], limits: DriftParams) -> list[str]:
    if limits.first_use == "record":
        return []
    return [
        f"source {name}: never accepted, sources.drift.first_use is refuse; it needs a record; look at it, then run "
        f"`equiderm accept {name} --by NAME --why TEXT`"
        for name in fresh
    ]


def drift_message(name: str, last: Acceptance, changes: list[Change]) -> str:
    """Return the one line of a source that drifted: what was, what is, by how much, and what to do."""
    stops = [change for change in changes if change.stops]
    parts = [f"{c.what}: was {c.was}, is {c.now} ({c.by}; {c.limit})" for c in stops[:SHOWN]]
    if len(stops) > SHOWN:
        parts.append(f"and {len(stops) - SHOWN} more differences")
    whose = "was recorded at its first use" if last.by == FIRST_USE else f"{last.by} accepted"
    return (
        f"source {name} is not what {whose} on {last.when:%Y-%m-%d}: {'; '.join(parts)}; look at the "
        f"source, then put it back or run `equiderm accept {name} --by NAME --why TEXT`"
    )


def last_accepted(workspace: Workspace, name: str) -> Acceptance | None:
    """Return the last record of a source, None if there is none.

    Raises:
        CheckFailed: the file is damaged, or a profile in it is not the one its digest names.
    """
    entries = _read(workspace, name)
    return Acceptance.model_validate(entries[-1]) if entries else None


def _read(workspace: Workspace, name: str) -> list[dict[str, Any]]:
    path = workspace.accepted / f"{name}.json"
    if not path.is_file():
        return []
    where = path.relative_to(workspace.root).as_posix()
    mend = "restore it from git (`git log -p` shows who changed it)"
    try:
        entries: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        for entry in entries:
            if profile_digest(Acceptance.model_validate(entry).profile) != entry["digest"]:
                raise CheckFailed(f"{where}: the profile of {entry['when']} is not the one its digest names; {mend}")
    except (OSError, ValueError, TypeError) as error:
        what, field = str(error).splitlines()[0], ""
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"]))
            what = f"{field}: {first['msg']}"
        if field in ("by", "why"):
            # Recorded so by earlier versions, and then git has nothing better.
            mend = f"take that entry out and run `equiderm accept {name} --by NAME --why TEXT`"
        raise CheckFailed(f"{where}: not a readable record ({what}); a list of acceptances is needed; {mend}") from None
    return entries


def profile_digest(found: Profile) -> str:
    """Return the sha256 of a profile as canonical JSON."""
    text = json.dumps(found.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def survey_source(workspace: Workspace, params: Params, name: str, reader: SourceReader) -> tuple[Survey, Profile]:
    """Return how one source stands, and its profile now; nothing is recorded and drift raises nothing."""
    now, last = profile(reader, workspace, params.sources.use[name]), last_accepted(workspace, name)
    if last is None:
        return Survey(state="never accepted", accepted_by=None, accepted_when=None, changes=[]), now
    changes = compare(last.profile, now, params.sources.drift)
    state = "differs" if changes else "as accepted"
    return Survey(state=state, accepted_by=last.by, accepted_when=last.when, changes=changes), now


def accept_source(workspace: Workspace, name: str, now: Profile, by: str, why: str) -> Acceptance:
    """Return the record that was added to infra/accepted/<name>.json; earlier records stay as they are."""
    return _append(workspace, name, now, by, why)


def _append(workspace: Workspace, name: str, now: Profile, by: str, why: str) -> Acceptance:
    when = datetime.now(UTC).replace(microsecond=0)
    entry = Acceptance(by=by, when=when, why=why, digest=profile_digest(now), profile=now)
    entries = [*_read(workspace, name), entry.model_dump(mode="json")]
    write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n", workspace.accepted / f"{name}.json")
    return entry
