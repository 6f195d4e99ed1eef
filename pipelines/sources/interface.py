"""What every adapter gives: rows with the publisher's facts in canonical words, each with a picture or a fault."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from schemas.licences import Licence
from schemas.params import IngestParams
from schemas.taxonomy import Diagnosis
from schemas.words import FstSource, Modality, ToneGroup


class Refused(Exception):
    """This row cannot enter the catalog. `code` is short and stable, `message` says what was got, needed and to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Fault:
    """Why a row is known to stay out before any pixel was read."""

    code: str
    message: str


@dataclass(frozen=True)
class LoadedPicture:
    """A decoded picture and where it came from."""

    image: Image.Image
    """sRGB, mode RGB, upright."""
    mask: npt.NDArray[np.bool_] | None
    """(H, W), true on the lesion."""
    sha256: str
    """Of the source file's bytes (of the pixels, where there is no file)."""
    width: int
    """Of the file after EXIF rotation, px."""
    height: int


class Picture(Protocol):
    """A picture not yet read."""

    def load(self, limits: IngestParams) -> LoadedPicture:
        """Return the pixels.

        Raises:
            Refused: the picture cannot be used; the code says why.
        """


@dataclass(frozen=True)
class Facts:
    """What a publisher says of one row, in this project's words. Ids are the publisher's own, not yet hashed."""

    label: str
    patient: str | None = None
    lesion: str | None = None
    fst: int | None = None
    fst_source: FstSource | None = None
    site: str | None = None
    age_band: str | None = None
    sex: str | None = None
    label_weight: float | None = None
    """Weight of the label in a weighted differential, 0-1."""
    malignant: bool | None = None
    """The publisher's own word on it. A row whose label says otherwise contradicts itself and stays out."""
    fst_second: int | None = None
    fst_second_source: FstSource | None = None
    tone_group: ToneGroup | None = None
    monk: int | None = None
    monk_second: int | None = None


@dataclass(frozen=True)
class SourceRow:
    """One row of a source (or one file that no row names). It has a fault, or facts, a diagnosis and a picture."""

    row_id: str
    raw: Mapping[str, Any] = field(default_factory=dict)
    facts: Facts | None = None
    diagnosis: Diagnosis | None = None
    """What the label means. It names a lesion, or the row has a fault."""
    picture: Picture | None = None
    fault: Fault | None = None


class SourceReader(Protocol):
    """One source, opened. Opening checks folder, table and columns; rows are read when asked for."""

    @property
    def name(self) -> str:
        """The source's name in params.yaml."""

    @property
    def dataset(self) -> str:
        """The adapter's name."""

    @property
    def id_space(self) -> str:
        """Where patient and lesion ids mean the same person: one for all tables of an archive."""

    @property
    def modality(self) -> Modality: ...

    @property
    def licence(self) -> Licence: ...

    @property
    def table_rows(self) -> int:
        """Rows of the publisher's table."""

    def __len__(self) -> int:
        """Return the table's rows plus the image files that no row names; each of them is one SourceRow."""

    def rows(self, start: int, stop: int) -> Iterator[SourceRow]:
        """Yield rows start..stop, the table's in its order, then the files without a row by name."""

    def fingerprint(self) -> dict[str, Any]:
        """Return, JSON-able with stable order, everything that decides what ingest makes of this source."""
