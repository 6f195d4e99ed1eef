"""lineage.json: where a release comes from, as W3C PROV-JSON (member submission of 24 April 2013).

Images are not listed one by one. A synthetic image's `checkpoint_sha256` in index.parquet names its checkpoint entity
here (`equiderm:checkpoint/<sha256>`), its `seed_index` with the stratum and the sampler settings fix its noise, and the
checkpoint's `wasDerivedFrom` leads to the sources it learned from. A real image's `source` names its source entity.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pipelines.release.facts import canonical_sha256
from pipelines.release.inputs import Inputs
from pipelines.release.seal import file_sha256
from pipelines.release.tally import checkpoints, sources
from schemas.release import ReleaseFacts

NAMESPACE: Final = "urn:equiderm:"
AGENT: Final = "equiderm:software"


class _Graph:
    """A PROV document being put together; relations are numbered in the order they are added."""

    def __init__(self) -> None:
        self.document: dict[str, dict[str, Any]] = {"prefix": {"equiderm": NAMESPACE}}
        self._relations = 0

    def add(self, kind: str, name: str, kind_of: str, **attributes: Any) -> str:
        """Add an entity, activity or agent and return its qualified name; attributes without a value are left out."""
        qualified = f"equiderm:{name}"
        found = {f"equiderm:{key}": value for key, value in attributes.items() if value is not None}
        self.document.setdefault(kind, {})[qualified] = {
            "prov:type": {"$": f"equiderm:{kind_of}", "type": "xsd:QName"},
            **found,
        }
        return qualified

    def relate(self, kind: str, attributes: dict[str, Any] | None = None, **ends: str) -> None:
        self._relations += 1
        found = {f"prov:{k}": v for k, v in ends.items()} | {f"equiderm:{k}": v for k, v in (attributes or {}).items()}
        self.document.setdefault(kind, {})[f"_:r{self._relations:04d}"] = found

    def stage(self, name: str, params_sha256: str, used: Sequence[str], made: Sequence[str]) -> None:
        activity = self.add("activity", f"stage/{name}", "Stage", params_sha256=params_sha256)
        self.relate("wasAssociatedWith", activity=activity, agent=AGENT)
        for entity in used:
            self.relate("used", activity=activity, entity=entity)
        for entity in made:
            self.relate("wasGeneratedBy", entity=entity, activity=activity)


def lineage(inputs: Inputs, facts: ReleaseFacts, folder: Path) -> dict[str, Any]:
    """Return the PROV document of a release whose tables lie in `folder`."""
    graph, params, space = _Graph(), inputs.params, inputs.workspace
    graph.document["agent"] = {AGENT: _agent(facts)}
    origins = _sources(graph, inputs)
    catalog = graph.add(
        "entity", "catalog", "Table", sha256=file_sha256(space.splits), rows=inputs.count(_ROWS + "catalog")
    )
    quotas = graph.add(
        "entity", "quotas", "Table", sha256=file_sha256(space.quotas), rows=inputs.count(_ROWS + "quotas")
    )
    for origin in origins.values():
        graph.relate("wasDerivedFrom", generatedEntity=catalog, usedEntity=origin)
    models = _checkpoints(graph, inputs, catalog, origins)
    ledger = graph.add(
        "entity", "ledger", "Table", sha256=file_sha256(folder / "gates.parquet"), rows=inputs.count(_ROWS + "ledger")
    )
    scores = graph.add("entity", "metrics", "Measurements", sha256=file_sha256(space.evaluation / "metrics.json"))
    release = graph.add(
        "entity", f"release/{facts.name}/{facts.version}", "Release",
        licence=facts.licence, licence_allows=list(facts.licence_allows),
        images=facts.counts["images"], index_sha256=file_sha256(folder / "index.parquet"),
    )  # fmt: skip
    graph.stage("sources", canonical_sha256(params.sources), list(origins.values()), [])
    graph.stage("ingest", canonical_sha256(params.ingest), list(origins.values()), [])
    graph.stage("validate", canonical_sha256(params.validate_), [], [])
    graph.stage("dedupe", canonical_sha256(params.dedupe), [], [])
    graph.stage("stratify", canonical_sha256(params.stratify), [], [catalog, quotas])
    graph.stage("produce", canonical_sha256(params.produce), [catalog, quotas, *models], [ledger])
    graph.stage("evaluate", canonical_sha256(params.evaluate), [catalog, ledger], [scores])
    graph.stage("release", canonical_sha256(params.release), [catalog, quotas, ledger, scores], [release])
    for before, after in _ORDER:
        graph.relate("wasInformedBy", informed=f"equiderm:stage/{after}", informant=f"equiderm:stage/{before}")
    for entity in (catalog, ledger):
        graph.relate("wasDerivedFrom", generatedEntity=release, usedEntity=entity)
    return graph.document


def _agent(facts: ReleaseFacts) -> dict[str, Any]:
    return {
        "prov:type": {"$": "prov:SoftwareAgent", "type": "xsd:QName"},
        "equiderm:version": facts.code_version,
        "equiderm:code_sha256": facts.code_sha256,
    }


_ROWS: Final = "SELECT count(*) AS n FROM "
_ORDER: Final = (("ingest", "validate"), ("validate", "dedupe"), ("dedupe", "stratify"))
"""Stages whose work is seen only in the next one's: none leaves a table of its own in a release."""


def _sources(graph: _Graph, inputs: Inputs) -> dict[str, str]:
    found = {}
    for row in sources(inputs):
        name = row["source"]
        found[name] = graph.add(
            "entity", f"source/{name}", "Source",
            licence=row["licence"], licence_allows=row["allows"], images=row["images"], patients=row["patients"],
            files_sha256=row["files_sha256"],
        )  # fmt: skip
    return found


def _checkpoints(graph: _Graph, inputs: Inputs, catalog: str, origins: dict[str, str]) -> list[str]:
    """Add every checkpoint that made an attempt, with what it learned from; return their names."""
    learned = sources(inputs, "split = 'train'")
    found: dict[str, str] = {}
    for row in checkpoints(inputs):
        config = inputs.models.get(row["generator"], {})
        current = config.get("sha256") == row["sha256"]
        name = graph.add(
            "entity", f"checkpoint/{row['sha256']}", "Checkpoint",
            generator=row["generator"], sha256=row["sha256"], sampler=row["sampler"],
            start=config.get("start") if current else None,
            training_images=sum(s["images"] for s in learned),
            licence=inputs.synthetic_terms.licence.id, licence_allows=list(inputs.synthetic_terms.allows),
        )  # fmt: skip
        for source in learned:
            graph.relate(
                "wasDerivedFrom", {"training_images": source["images"]},
                generatedEntity=name, usedEntity=origins[source["source"]],
            )  # fmt: skip
        if current and config.get("start") == "base":
            base = graph.add("entity", f"base/{row['generator']}", "Base", trained_on="phantoms of every stratum")
            graph.relate("wasDerivedFrom", generatedEntity=name, usedEntity=base)
        for part in ("base", "autoencoder"):
            if current and (weights := config.get(part)):
                used = graph.add("entity", f"weights/{weights['sha256']}", "Weights", **weights)
                graph.relate("wasDerivedFrom", generatedEntity=name, usedEntity=used)
        found[row["sha256"]] = name
    for generator in sorted({row["generator"] for row in checkpoints(inputs)}):
        made = [found[row["sha256"]] for row in checkpoints(inputs) if row["generator"] == generator]
        section = getattr(inputs.params.train, generator, inputs.params.train)
        graph.stage(f"train/{generator}", canonical_sha256(section), [catalog], list(dict.fromkeys(made)))
    return list(found.values())


def learned_from(document: dict[str, Any], checkpoint_sha256: str) -> list[dict[str, Any]]:
    """Return what a checkpoint learned from, from a PROV document: source, licence, images; [] if it is not there."""
    name = f"equiderm:checkpoint/{checkpoint_sha256}"
    found = []
    for relation in document.get("wasDerivedFrom", {}).values():
        source = relation["prov:usedEntity"]
        if relation["prov:generatedEntity"] == name and source.startswith("equiderm:source/"):
            entity = document["entity"][source]
            found.append(
                {
                    "source": source.removeprefix("equiderm:source/"),
                    "licence": entity["equiderm:licence"],
                    "images": relation["equiderm:training_images"],
                }
            )
    return found
