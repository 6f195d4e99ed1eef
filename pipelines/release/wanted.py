"""What `equiderm impact` is asked for, as image ids and hashes: a row, a patient, an image, or the withdrawal list."""

from __future__ import annotations

import re
from typing import Final

import pyarrow.parquet as pq

from pipelines.ingest.pseudonym import salted
from pipelines.ingest.withdraw import Found, find
from pipelines.ingest.withdrawn import Withdrawn, read_withdrawn
from pipelines.release.impact import Wanted
from pipelines.release.trace import trace_image
from schemas.errors import NotFoundError
from schemas.params import Params
from schemas.paths import Workspace
from schemas.withdrawal import WithdrawalKind

WHOLE_ID: Final = re.compile(r"[0-9a-f]{24}")
START_OF_ID: Final = re.compile(r"[0-9a-f]{6,23}")


def wanted_id(workspace: Workspace, params: Params, source: str, name: str) -> Wanted:
    """Return what a name stands for: the source's row of that id, else its patient, else an image_id or its start.

    Raises:
        NotFoundError: no such source, or nothing has that id: neither the catalog, the source, a release, nor the
            withdrawal list.
    """
    name = name.strip()
    withdrawn = read_withdrawn(workspace, params.ingest.salt)
    row = find(workspace, params, source, WithdrawalKind.ROW, name)
    if row.rows:
        return Wanted(f"source {source}, row {name}", frozenset(row.images))
    patient = find(workspace, params, source, WithdrawalKind.PATIENT, name)
    if patient.rows or withdrawn.has_patient(patient.dataset, name):
        return _patient(params, source, name, patient)
    image = name.lower().removesuffix(".png")
    if START_OF_ID.fullmatch(image):
        image = trace_image(workspace, image).image_id
    if WHOLE_ID.fullmatch(image):
        return Wanted(f"image {image}", frozenset({image}))
    raise NotFoundError(
        f"source {source}: no row, patient or image {name}; an id as published, or an image_id, is needed; check it; "
        "for what the source itself no longer holds use --withdrawn"
    )


def _patient(params: Params, source: str, name: str, found: Found) -> Wanted:
    hashed = salted(params.ingest.salt, found.dataset, "patient", name)
    return Wanted(f"source {source}, patient {name}", frozenset(found.images), frozenset({hashed}))


def wanted_withdrawn(workspace: Workspace, params: Params) -> Wanted:
    """Return everything on the withdrawal list, with the images of its patients that the catalog still holds."""
    withdrawn = read_withdrawn(workspace, params.ingest.salt)
    number = len(withdrawn.entries)
    asked = f"the withdrawal list ({number} {'entry' if number == 1 else 'entries'})"
    return Wanted(asked, frozenset(_still_there(workspace, withdrawn)), withdrawn=withdrawn)


def _still_there(workspace: Workspace, withdrawn: Withdrawn) -> set[str]:
    """Return the images of withdrawn patients in the catalog: of a list that the last build did not see."""
    files = sorted(workspace.catalog.glob("*.parquet")) if workspace.catalog.is_dir() else []
    patients = {digest for _, digest in withdrawn.patients}
    rows = (r for file in files for r in pq.read_table(file, columns=["image_id", "patient_id"]).to_pylist())
    return {row["image_id"] for row in rows if row["patient_id"] in patients}
