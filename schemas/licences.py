"""Under which terms a dataset may be used: licences by SPDX id, datasets by adapter, the strictest of several."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from pydantic import Field

from schemas.errors import NotFoundError
from schemas.table import Row

Permission = Literal["commercial", "share", "derive"]


class Licence(Row):
    """Terms of use, reduced to what a release must know. Not legal advice: the text at `url` is what counts."""

    id: str = Field(description="SPDX id")
    name: str
    allows: tuple[Permission, ...] = Field(description="commercial use, sharing copies, making derived works")
    citation: str = Field(description="what must be said when it is shared")
    url: str


class Dataset(Row):
    """A published dataset: whose it is and how to cite it."""

    id: str = Field(description="the adapter that reads it")
    title: str
    licence: str = Field(description="a key of LICENCES")
    citation: str
    url: str


_ATTRIBUTION = "Name the authors, link the licence, say what was changed"

LICENCES: Final[dict[str, Licence]] = {
    licence.id: licence
    for licence in (
        Licence(
            id="CC0-1.0",
            name="Creative Commons Zero 1.0 Universal",
            allows=("commercial", "share", "derive"),
            citation="Nothing need be said",
            url="https://creativecommons.org/publicdomain/zero/1.0/",
        ),
        Licence(
            id="CC-BY-4.0",
            name="Creative Commons Attribution 4.0 International",
            allows=("commercial", "share", "derive"),
            citation=f"{_ATTRIBUTION}.",
            url="https://creativecommons.org/licenses/by/4.0/",
        ),
        Licence(
            id="CC-BY-NC-4.0",
            name="Creative Commons Attribution-NonCommercial 4.0 International",
            allows=("share", "derive"),
            citation=f"{_ATTRIBUTION}; no commercial use.",
            url="https://creativecommons.org/licenses/by-nc/4.0/",
        ),
        Licence(
            id="CC-BY-NC-SA-3.0",
            name="Creative Commons Attribution-NonCommercial-ShareAlike 3.0 Unported",
            allows=("share", "derive"),
            citation=f"{_ATTRIBUTION}; no commercial use; share under the same licence.",
            url="https://creativecommons.org/licenses/by-nc-sa/3.0/",
        ),
    )
}
"""Every licence the factory knows, by id."""

DATASETS: Final[dict[str, Dataset]] = {
    dataset.id: dataset
    for dataset in (
        Dataset(
            id="phantom",
            title="equiderm phantoms",
            # Drawn by this project's own code: no patient and no third party has a claim on them.
            licence="CC0-1.0",
            citation="Rendered by equiderm from its own optical model; no patient, no third party's material.",
            url="",
        ),
        Dataset(
            id="pad_ufes_20",
            title="PAD-UFES-20",
            licence="CC-BY-4.0",
            citation=(
                "Pacheco AGC et al. PAD-UFES-20: a skin lesion dataset composed of patient data and clinical images "
                "collected from smartphones. Data in Brief 32, 106221 (2020)."
            ),
            url="https://doi.org/10.17632/zr7vgbcyr2.1",
        ),
        Dataset(
            id="ham10000",
            title="HAM10000",
            licence="CC-BY-NC-4.0",
            citation=(
                "Tschandl P, Rosendahl C, Kittler H. The HAM10000 dataset, a large collection of multi-source "
                "dermatoscopic images of common pigmented skin lesions. Scientific Data 5, 180161 (2018)."
            ),
            url="https://doi.org/10.7910/DVN/DBW86T",
        ),
    )
}
"""Every dataset an adapter reads, by the adapter's name."""


def licence_of(licence_id: str) -> Licence:
    """Return the licence with that id.

    Raises:
        NotFoundError: no such licence is known.
    """
    if licence_id not in LICENCES:
        raise NotFoundError(
            f"licence {licence_id!r} is not known; known: {', '.join(sorted(LICENCES))}; add it to schemas/licences.py"
        )
    return LICENCES[licence_id]


def most_restrictive(ids: Iterable[str]) -> Licence:
    """Return the licence with the fewest permissions among `ids`; of equals, the first by id.

    This is the one to *name* for a mixed set. What a mixed set *allows* is the intersection of every `allows`.

    Raises:
        NotFoundError: an id is not known.
        ValueError: `ids` is empty.
    """
    found = [licence_of(licence_id) for licence_id in set(ids)]
    if not found:
        raise ValueError("most_restrictive got no licence ids; it needs one or more")
    return min(found, key=lambda licence: (len(licence.allows), licence.id))
