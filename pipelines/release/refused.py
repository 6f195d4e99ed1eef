"""What the report says and shows of the gates: who was refused how often, and a few of the pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pipelines.produce.pictures import read_picture
from pipelines.produce.rejection_rates import unequal_rejections
from pipelines.release import tally
from pipelines.release.inputs import Inputs
from pipelines.release.pictures import strip_uri
from schemas.ledger import GATE_ASKS, GATES, RejectedRow
from schemas.table import read_rows

GATE_COLOURS: Final = dict(
    zip(
        GATES,
        ("#2f3540", "#7d8590", "#d08a1d", "#8a5a12", "#b3422f", "#5d7a2c", "#6b4a94", "#3f63a5"),
        strict=True,  # a new gate needs a colour of its own
    )
)
NEVER_SHOWN: Final = "copy"
"""A picture refused as a copy may be a patient's photograph: it stays in the workspace it was made in."""

SHOWN: Final = 3


def gate_context(inputs: Inputs) -> dict[str, Any]:
    """Return the variables of gates.html.j2."""
    outcomes, rates = tally.gate_outcomes(inputs), tally.rejection_rates(inputs)
    return {
        "outcomes": outcomes,
        "asks": GATE_ASKS,
        "reasons": list(GATES),
        "gate_colours": GATE_COLOURS,
        "rates": {(rate.modality.value, rate.fst, rate.gate): rate for rate in rates},
        "unequal": unequal_rejections(rates, inputs.params.produce.gates.max_rejection_ratio),
        "refused": refused_pictures(inputs),
        "rejections": sum(outcome.rejections for outcome in outcomes),
        "accepted": sum(outcome.accepted for outcome in outcomes),
        "surplus": sum(outcome.surplus for outcome in outcomes),
    }


def refused_pictures(inputs: Inputs) -> Mapping[tuple[str, int | None, str], str]:
    """Return the first 3 refused pictures by id of each modality, skin type and gate but `copy`, as one PNG data URI."""
    folder = inputs.workspace.rejected
    found: dict[tuple[str, int | None, str], list[RejectedRow]] = {}
    for row in read_rows(folder, RejectedRow) if folder.is_dir() else ():
        if row.reason != NEVER_SHOWN:
            found.setdefault((row.modality.value, row.fst, row.reason), []).append(row)
    return {
        cell: strip_uri([read_picture(row.picture) for row in sorted(mine, key=lambda r: r.image_id)[:SHOWN]])
        for cell, mine in found.items()
    }
