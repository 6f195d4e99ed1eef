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

    id: str = Field(description="SPDX id, or LicenseRef- for terms of the publisher's own")
    name: str
    allows: tuple[Permission, ...] = Field(description="commercial use, sharing copies, making derived works")
    citation: str = Field(description="what must be said when it is shared")
    url: str

    @property
    def share_alike(self) -> bool:
        """Whether what is derived must be shared under the same licence; SPDX ids spell it `SA`."""
        return "SA" in self.id.split("-")

    @property
    def restricts_use(self) -> bool:
        """Whether it forbids some uses of what is derived, and demands that this be passed on (RAIL)."""
        return "RAIL" in self.id


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
        Licence(
            id="CC-BY-SA-4.0",
            name="Creative Commons Attribution-ShareAlike 4.0 International",
            allows=("commercial", "share", "derive"),
            citation=f"{_ATTRIBUTION}; share under the same licence.",
            url="https://creativecommons.org/licenses/by-sa/4.0/",
        ),
        Licence(
            id="CC-BY-NC-SA-4.0",
            name="Creative Commons Attribution-NonCommercial-ShareAlike 4.0 International",
            allows=("share", "derive"),
            citation=f"{_ATTRIBUTION}; no commercial use; share under the same licence.",
            url="https://creativecommons.org/licenses/by-nc-sa/4.0/",
        ),
        Licence(
            id="CC-BY-ND-4.0",
            name="Creative Commons Attribution-NoDerivatives 4.0 International",
            allows=("commercial", "share"),
            citation=f"{_ATTRIBUTION}; share it unchanged.",
            url="https://creativecommons.org/licenses/by-nd/4.0/",
        ),
        Licence(
            id="CC-BY-NC-ND-4.0",
            name="Creative Commons Attribution-NonCommercial-NoDerivatives 4.0 International",
            allows=("share",),
            citation=f"{_ATTRIBUTION}; no commercial use; share it unchanged.",
            url="https://creativecommons.org/licenses/by-nc-nd/4.0/",
        ),
        Licence(
            id="LicenseRef-CreativeML-OpenRAIL-M",
            name="CreativeML Open RAIL-M (Stable Diffusion 1.x)",
            allows=("commercial", "share", "derive"),
            citation="Pass on the restrictions of use in its attachment A with the model and what is derived from it.",
            url="https://huggingface.co/spaces/CompVis/stable-diffusion-license",
        ),
        Licence(
            id="LicenseRef-CreativeML-OpenRAIL++-M",
            name="CreativeML Open RAIL++-M (Stable Diffusion 2.x)",
            allows=("commercial", "share", "derive"),
            citation="Pass on the restrictions of use in its attachment A with the model and what is derived from it.",
            url="https://huggingface.co/stabilityai/stable-diffusion-2/blob/main/LICENSE-MODEL",
        ),
        Licence(
            id="LicenseRef-SCIN",
            name="SCIN Data Use License",
            allows=("commercial", "share", "derive"),
            citation=f"{_ATTRIBUTION}; no attempt to find out who is in it.",
            url="https://github.com/google-research-datasets/scin/blob/main/LICENSE",
        ),
        Licence(
            id="LicenseRef-DDI",
            name="Stanford DDI research use agreement",
            # Copies may not be passed on, and nothing grants the right to publish what is made from them.
            allows=(),
            citation="Own research without commercial use only; no copies to others.",
            url="https://stanfordaimi.azurewebsites.net/datasets/35866158-8196-48d8-87bf-50dca81df965",
        ),
        Licence(
            id="LicenseRef-PH2",
            name="PH2 database terms of use",
            allows=(),
            citation="Research and education only; no copies to others.",
            url="https://www.fc.up.pt/addi/ph2%20database.html",
        ),
        Licence(
            id="LicenseRef-in-house",
            name="Own data, used with the owner's permission inside the organisation",
            allows=("commercial", "derive"),
            citation="Named as the owner wishes; no copies to others.",
            url="",
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
        Dataset(
            id="isic2018_task3",
            title="ISIC 2018 task 3",
            licence="CC-BY-NC-4.0",
            citation=(
                "Codella N et al. Skin lesion analysis toward melanoma detection 2018: a challenge hosted by the "
                "International Skin Imaging Collaboration. arXiv:1902.03368 (2019); Tschandl P, Rosendahl C, Kittler H. "
                "Scientific Data 5, 180161 (2018)."
            ),
            url="https://challenge.isic-archive.com/data/#2018",
        ),
        Dataset(
            id="isic2019",
            title="ISIC 2019",
            licence="CC-BY-NC-4.0",
            citation=(
                "Tschandl P et al. Scientific Data 5, 180161 (2018); Codella NCF et al. arXiv:1710.05006 (2017); "
                "Combalia M et al. BCN20000: dermoscopic lesions in the wild. arXiv:1908.02288 (2019)."
            ),
            url="https://challenge.isic-archive.com/data/#2019",
        ),
        Dataset(
            id="isic2020",
            title="SIIM-ISIC 2020",
            licence="CC-BY-NC-4.0",
            citation=(
                "Rotemberg V et al. A patient-centric dataset of images and metadata for identifying melanomas using "
                "clinical context. Scientific Data 8, 34 (2021)."
            ),
            url="https://doi.org/10.34970/2020-ds01",
        ),
        Dataset(
            id="fitzpatrick17k",
            title="Fitzpatrick17k",
            licence="CC-BY-NC-SA-3.0",
            citation=(
                "Groh M et al. Evaluating deep neural networks trained on clinical images in dermatology with the "
                "Fitzpatrick 17k dataset. CVPR Workshops (2021)."
            ),
            url="https://github.com/mattgroh/fitzpatrick17k",
        ),
        Dataset(
            id="ddi",
            title="Diverse Dermatology Images",
            licence="LicenseRef-DDI",
            citation=(
                "Daneshjou R et al. Disparities in dermatology AI performance on a diverse, curated clinical image set. "
                "Science Advances 8, eabq6147 (2022)."
            ),
            url="https://ddi-dataset.github.io/",
        ),
        Dataset(
            id="scin",
            title="Skin Condition Image Network",
            licence="LicenseRef-SCIN",
            citation=(
                "Ward A et al. Creating an empirical dermatology dataset through crowdsourcing with web search "
                "advertisements. JAMA Network Open 7, e2446615 (2024)."
            ),
            url="https://github.com/google-research-datasets/scin",
        ),
        Dataset(
            id="ph2",
            title="PH2",
            licence="LicenseRef-PH2",
            citation=(
                "Mendonca T et al. PH2 - a dermoscopic image database for research and benchmarking. "
                "Proc. IEEE EMBC 35, 5437-5440 (2013)."
            ),
            url="https://www.fc.up.pt/addi/ph2%20database.html",
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
    """Return the licence with the fewest permissions among `ids`.

    Of equals, one that demands share-alike, then one that restricts use, then by id.
    This is the one to *name* for a mixed set. What a mixed set *allows* is the intersection of every `allows`.

    Raises:
        NotFoundError: an id is not known.
        ValueError: `ids` is empty.
    """
    found = [licence_of(licence_id) for licence_id in set(ids)]
    if not found:
        raise ValueError("most_restrictive got no licence ids; it needs one or more")
    return min(
        found, key=lambda licence: (len(licence.allows), not licence.share_alike, not licence.restricts_use, licence.id)
    )
