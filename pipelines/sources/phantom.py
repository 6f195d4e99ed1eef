"""Phantoms as a source: drawn when asked for, from (seed, index) alone. The default of a machine without patients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipelines.phantoms.scene import VERSION, draw
from pipelines.sources import wording
from pipelines.sources.interface import Facts, SourceReader, SourceRow
from pipelines.sources.picture import DrawnPicture
from schemas.licences import DATASETS, Licence, licence_of
from schemas.paths import Workspace
from schemas.source_params import PhantomSource
from schemas.taxonomy import read_taxonomy
from schemas.words import Modality


def open_reader(name: str, source: PhantomSource, workspace: Workspace) -> SourceReader:  # noqa: ARG001 - no files
    """Return the source, opened. Nothing can be missing."""
    return PhantomReader(name, source)


class PhantomReader:
    """A SourceReader that draws its rows. FST is exact by construction, so no person said it: `fst_source` is null."""

    dataset = id_space = "phantom"
    modality = Modality.PHANTOM

    def __init__(self, name: str, source: PhantomSource) -> None:
        self.name = name
        self._source = source

    @property
    def licence(self) -> Licence:
        """The phantoms' licence."""
        return licence_of(DATASETS[self.dataset].licence)

    @property
    def table_rows(self) -> int:
        """Phantoms to draw."""
        return self._source.count

    def __len__(self) -> int:
        """Return the number of phantoms."""
        return self._source.count

    def rows(self, start: int, stop: int) -> Iterator[SourceRow]:
        """Yield phantoms start..stop, drawing each when it is asked for."""
        for index in range(start, min(stop, len(self))):
            yield self._row(index)

    def fingerprint(self) -> dict[str, Any]:
        """Return the source's parameters and the version of the drawing code: together they are the pixels."""
        return {
            "adapter": self.dataset,
            "modality": str(self.modality),
            "licence": self.licence.id,
            "citation": DATASETS[self.dataset].citation,
            "params": self._source.model_dump(mode="json", exclude={"adapter"}),
            "rows": self.table_rows,
            "files_without_row": 0,
            "version": VERSION,
        }

    def _row(self, index: int) -> SourceRow:
        phantom = draw(self._source, index)
        # Two phantom sources number their patients alike; the seed keeps them apart.
        seed = self._source.seed
        facts = Facts(
            label=str(phantom.lesion),
            patient=f"{seed}/{phantom.patient}",
            lesion=f"{seed}/{phantom.lesion_id}",
            fst=phantom.fst,
            site=wording.site(phantom.site),
            age_band=wording.age_band(str(phantom.age), "age"),
            sex=wording.sex(phantom.sex, "sex"),
        )
        raw = {"seed": seed, "index": index, "fst": phantom.fst, "lesion": str(phantom.lesion)}
        diagnosis = read_taxonomy()[(self.dataset, facts.label)]
        return SourceRow(f"{index:07d}", raw, facts, diagnosis, DrawnPicture(phantom.pixels, phantom.mask))
