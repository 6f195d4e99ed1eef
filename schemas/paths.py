"""Where everything lies, relative to the workspace. Said here once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from schemas.errors import WorkspaceError


@dataclass(frozen=True)
class Workspace:
    """A checkout that is being built in. Every path the factory reads or writes is a property of it."""

    root: Path

    @classmethod
    def here(cls, start: Path | None = None) -> Workspace:
        """Return the workspace holding `start` (default: the current folder).

        Raises:
            WorkspaceError: no folder upwards holds both params.yaml and dvc.yaml.
        """
        origin = (start or Path.cwd()).resolve()
        for folder in (origin, *origin.parents):
            if (folder / "params.yaml").is_file() and (folder / "dvc.yaml").is_file():
                return cls(folder)
        raise WorkspaceError(
            f"{origin}: no params.yaml and dvc.yaml here or above; a workspace needs both; run inside a clone of the project"
        )

    def path(self, relative: str) -> Path:
        """Return a path given in params.yaml, taken relative to the workspace."""
        return (self.root / relative).resolve()

    @property
    def params(self) -> Path:
        return self.root / "params.yaml"

    @property
    def state(self) -> Path:
        """Locks, the local Prefect server's database, logs: never part of a result."""
        return self.root / ".equiderm"

    @property
    def timings(self) -> Path:
        """What parts of productions took on this machine: rows of schemas.timing, a JSON line each."""
        return self.state / "timings.jsonl"

    @property
    def sources(self) -> Path:
        return self.root / "data/sources.json"

    def fetched(self, source: str) -> Path:
        """The mirror of a source that is not a local folder. Kept between builds, no stage's out."""
        return self.root / "data/fetched" / source

    def fetched_manifest(self, source: str) -> Path:
        """What is in the mirror, what is not and why: rows of schemas.fetch."""
        return self.root / "data/fetched" / f"{source}.parquet"

    def fetching(self, source: str) -> Path:
        """Files half fetched, and the journal of those that arrived since the manifest was written."""
        return self.root / "data/fetched/.unfinished" / source

    @property
    def accepted(self) -> Path:
        """What was accepted of each source: committed, reviewed."""
        return self.root / "infra/accepted"

    @property
    def withdrawn(self) -> Path:
        """Who and what was withdrawn, as salted hashes: committed, reviewed."""
        return self.root / "infra/withdrawn.csv"

    @property
    def quota_tables(self) -> Path:
        """Custom quota tables: committed, reviewed, and a dependency of stratify."""
        return self.root / "infra/quotas"

    @property
    def catalog(self) -> Path:
        return self.root / "data/catalog"

    @property
    def images(self) -> Path:
        return self.root / "data/images"

    @property
    def quarantine(self) -> Path:
        return self.root / "data/quarantine"

    @property
    def copies(self) -> Path:
        """Rows whose pixels had entered with an earlier row: whom they name is on that picture too."""
        return self.root / "data/copies"

    @property
    def validation(self) -> Path:
        return self.root / "data/validation"

    @property
    def duplicates(self) -> Path:
        return self.root / "data/duplicates"

    @property
    def clusters(self) -> Path:
        return self.duplicates / "clusters.parquet"

    @property
    def quarantined(self) -> list[Path]:
        """Every file of quarantine rows there is: those of ingest, then those of dedupe."""
        files = sorted(f for f in self.quarantine.glob("*.parquet") if not f.name.startswith("."))
        own = self.duplicates / "quarantine.parquet"
        return [*files, own] if own.is_file() else files

    @property
    def strata(self) -> Path:
        return self.root / "data/strata/strata.parquet"

    @property
    def quotas(self) -> Path:
        return self.root / "data/strata/quotas.parquet"

    @property
    def splits(self) -> Path:
        return self.root / "data/strata/catalog.parquet"

    def model(self, generator: str) -> Path:
        return self.root / "models" / generator

    @property
    def production(self) -> Path:
        return self.root / "production"

    @property
    def blocks(self) -> Path:
        return self.production / "blocks"

    @property
    def pilot(self) -> Path:
        """Which generator makes which stratum, where several are named."""
        return self.production / "pilot.parquet"

    @property
    def ledger(self) -> Path:
        return self.production / "ledger"

    @property
    def shards(self) -> Path:
        return self.production / "shards"

    @property
    def rejected(self) -> Path:
        """Refused attempts kept to be looked at."""
        return self.production / "rejected"

    @property
    def sheets(self) -> Path:
        """A contact sheet a stratum."""
        return self.production / "sheets"

    @property
    def evaluation(self) -> Path:
        return self.root / "evaluation"

    @property
    def releases(self) -> Path:
        return self.root / "releases"
