"""What each quota policy wants of every stratum, in whole images. Nothing read, nothing rounded away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipelines.stratify.shares import largest_remainder
from schemas.errors import ParamsError
from schemas.quota_params import QuotaParams
from schemas.strata import StratumRow
from schemas.words import Lesion, Modality, stratum_name

Stratum = tuple[Modality, int | None, Lesion]


def wanted_images(
    strata: Sequence[StratumRow], quotas: QuotaParams, table: Mapping[Stratum, int] | None = None
) -> list[int]:
    """Return the images wanted of each stratum, in the given order: of both kinds, or synthetic, as `quotas.count` says.

    equal:  `per_stratum` of each.
    parity: `per_fst` of each FST, shared among the lesions as that FST's own training images are; an FST that nobody is
            of has no mix to keep and gets that of its modality.
    match:  `per_fst` of each FST, shared as the training images of the best-served FST are, the one with the most of
            them (the lighter of two that tie). Real images are never taken away: where an FST has more of a lesion than
            that, its mix stays apart from the best-served one's by those.
    table:  what the table says; nothing of a stratum it leaves out.

    `per_fst` left out is the best-served FST's number of training images. Shares are by largest remainder, so that each
    FST sums to `per_fst` exactly. A stratum of unknown FST wants none where the modality's FST is known for other
    images, unless the table names it: balance is measured over FST, and nobody can be missing from "unknown".

    Raises:
        ParamsError: the table names a stratum that is not among `strata`.
    """
    if quotas.policy == "table":
        return _of_table(strata, table or {})
    known = {s.modality for s in strata if s.fst is not None}
    counted = [s for s in strata if s.fst is not None or s.modality not in known]
    if quotas.policy == "equal":
        found = {_cell(s): quotas.per_stratum for s in counted}
    else:
        found = {}
        for modality in dict.fromkeys(s.modality for s in counted):
            found |= _by_fst([s for s in counted if s.modality == modality], quotas)
    return [found.get(_cell(s), 0) for s in strata]


def _cell(stratum: StratumRow) -> Stratum:
    return stratum.modality, stratum.fst, stratum.lesion


def _by_fst(strata: Sequence[StratumRow], quotas: QuotaParams) -> dict[Stratum, int]:
    """Return the wanted images of one modality's strata under parity or match."""
    types = list(dict.fromkeys(s.fst for s in strata))
    mixes = {fst: {s.lesion: s.n_train for s in strata if s.fst == fst} for fst in types}
    best = max(types, key=lambda fst: sum(mixes[fst].values()))  # the first of those that tie
    per_fst = sum(mixes[best].values()) if quotas.per_fst is None else quotas.per_fst
    of_all = {lesion: sum(mix.get(lesion, 0) for mix in mixes.values()) for lesion in mixes[best]}
    found: dict[Stratum, int] = {}
    for fst in types:
        own = mixes[best] if quotas.policy == "match" else mixes[fst]
        mix = next((m for m in (own, of_all) if any(m.values())), dict.fromkeys(own, 1))
        shares = dict(zip(mix, largest_remainder(list(mix.values()), per_fst), strict=True))
        found |= {_cell(s): shares.get(s.lesion, 0) for s in strata if s.fst == fst}
    return found


def _of_table(strata: Sequence[StratumRow], table: Mapping[Stratum, int]) -> list[int]:
    cells = [_cell(s) for s in strata]
    strange = [stratum_name(m.value, f, le.value) for m, f, le in table if (m, f, le) not in cells]
    if strange:
        here = stratum_name(cells[0][0].value, cells[0][1], cells[0][2].value) if cells else "none"
        raise ParamsError(
            f"stratify.quotas: stratum {', '.join(strange)}: got a quota, but this catalog has no such stratum among its "
            f"{len(cells)} (one is {here}); take it out of the table or add a source that has it"
        )
    return [table.get(cell, 0) for cell in cells]
