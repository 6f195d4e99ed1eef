"""params.yaml as types. Unknown keys, wrong types and impossible values stop a build before any work."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from schemas.errors import ParamsError
from schemas.licences import Permission
from schemas.quota_params import QuotaParams
from schemas.sampler_params import SamplerParams as SamplerParams
from schemas.section import Section, Share
from schemas.source_params import ADAPTERS, Source
from schemas.train_params import TrainParams
from schemas.words import ColourConstancy

MOST_SHOWN: Final = 400
"""Characters of a vocabulary that a message lists; of a longer one it names the nearest words."""


class DriftParams(Section):
    """How far a source may move from what was accepted of it before a build stops.

    A lost or new label, another column, licence, modality or adapter always stops it.
    """

    rows: Share = Field(0.01, description="of the accepted number of rows")
    files: Share = Field(0.01, description="of the accepted number of image or mask files")
    shares: Share = Field(0.01, description="change of any label's or Fitzpatrick type's share of the rows, 0-1")
    classes: Share = Field(0.1, description="of any label's or Fitzpatrick type's own rows: the rare ones count too")
    first_use: Literal["record", "refuse"] = Field(
        "record", description="a source that nobody accepted yet: record it as it is and go on, or stop"
    )


class SourcesParams(Section):
    """Where images come from. Each name is the `source` column of the catalog."""

    use: dict[str, Source] = Field(min_length=1)
    require: tuple[Permission, ...] = Field((), description="sources whose licence does not allow these are left out")
    drift: DriftParams = DriftParams()


class IngestParams(Section):
    """How files become normalised pixels."""

    resolution: int = Field(64, ge=16, le=1024, description="side of the square normalised image, px")
    max_pixels: int = Field(50_000_000, ge=1, description="larger files are quarantined as decompression bombs")
    max_bytes: int = Field(200_000_000, ge=1, description="larger files are quarantined")
    shard_rows: int = Field(
        500, ge=1, le=100_000, description="most rows a shard; it has at least half as many where a source has more"
    )
    workers: int = Field(2, ge=1, le=64, description="shards at once")
    colour_constancy: ColourConstancy = Field(
        ColourConstancy.NONE,
        description="remove the light's colour before ITA; wrong by skin type, see docs/skin-tone.md",
    )
    salt: str = Field("equiderm", min_length=1, description="per workspace; hashed into patient and lesion ids")


class ValidateParams(Section):
    """Limits for the expectations under schemas/expectations."""

    min_rows: int = Field(100, ge=1)
    max_quarantine_share: Share = Field(1.0, description="of all source rows")


class DedupeParams(Section):
    """When two images are the same picture, and what becomes of them. The bounds were chosen on real photos."""

    policy: Literal["keep_one", "keep_all_one_split"] = Field(
        "keep_one", description="keep_one: the row of the first source stays, the others go to quarantine"
    )
    hash_bits: int = Field(10, ge=0, le=15, description="of 64, in the best of 8 poses: pairs beyond are not looked at")
    min_structure: float = Field(0.9, ge=-1, le=1, description="cosine of low frequencies below which they differ")
    same_detail: float = Field(
        0.95, ge=-1, le=1, description="cosine of middle frequencies from which they are the same"
    )
    min_similarity: float = Field(
        0.6, ge=-1, le=1, description="cosine of features needed where the detail is the same"
    )
    same_similarity: float = Field(0.92, ge=-1, le=1, description="cosine of features from which they are a crop")


class SplitShares(Section):
    """Shares of patients in each split."""

    train: Share = 0.7
    validation: Share = 0.1
    test: Share = 0.2

    @model_validator(mode="after")
    def _sum_to_one(self) -> SplitShares:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train + validation + test is {total:g}; it needs to be 1")
        return self


class SupportLevels(Section):
    """Least real images for each support level; below `borrowed` a stratum is unsupported."""

    supported: int = Field(100, ge=1)
    borrowed: int = Field(25, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> SupportLevels:
        if self.borrowed > self.supported:
            raise ValueError(f"borrowed {self.borrowed} is above supported {self.supported}; lower borrowed")
        return self


class StratifyParams(Section):
    """Splits, strata and quotas."""

    seed: int = Field(17, ge=0)
    split: SplitShares = SplitShares()
    support: SupportLevels = SupportLevels()
    quotas: QuotaParams = QuotaParams()


def _names(given: Any) -> Any:
    """Check `produce.generator`; pydantic would say of a wrong one what it is not twice, for text and for list."""
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list | tuple) or not names or not all(isinstance(n, str) for n in names):
        raise ValueError("it needs to be a generator's name, a list of names, or auto")
    if len(set(names)) < len(names) or ("auto" in names and not isinstance(given, str)):
        raise ValueError("a list needs each name once, and auto stands alone; correct the list")
    return given if isinstance(given, str) else tuple(names)


class GateParams(Section):
    """Thresholds of the gates, cheapest first."""

    min_std: float = Field(4.0, ge=0, le=128, description="blank below this standard deviation of the pixels, 0-255")
    max_saturated: Share = Field(0.35, description="share of pixels at 0 or 255")
    tone_tolerance_deg: float = Field(3.0, ge=0, le=90, description="degrees outside the requested ITA band still kept")
    tone_probe_min_probability: Share = Field(
        0.5, description="of the requested skin type or one next to it, by the skin type probe"
    )
    tone_probe_min_kappa: float = Field(
        0.4,
        ge=-1,
        le=1,
        description="agreement of that probe with held-out labels (lower end of kappa's interval) below which it abstains",
    )
    lesion_min_probability: Share = Field(0.5, description="of the requested lesion, by the probe")
    outlier_neighbours: int = Field(5, ge=1, le=100, description="a real image reaches as far as this neighbour of it")
    outlier_quantile: float | None = Field(
        0.999,
        ge=0.5,
        le=1,
        description="quantile of held-out real images' distance above which an image is an outlier; null: none is",
    )
    copy_quantile: float = Field(
        0.01,
        ge=0,
        le=0.5,
        description="quantile of held-out real images' distance to training images below which an image is a copy",
    )
    duplicate_bits: int = Field(
        4, ge=0, le=64, description="difference-hash bits of 64 at or under which two kept images are one"
    )
    max_rejection_ratio: float = Field(
        1.5, ge=1, le=1000, description="of two skin types' rejection rates, beyond which produce warns"
    )
    rejected_kept: int = Field(
        16, ge=0, le=10_000, description="refused images kept to be looked at, a stratum and reason"
    )


class PilotParams(Section):
    """The trial that chooses a stratum's generator where several are named."""

    attempts: int = Field(32, ge=1, le=10_000, description="a stratum and generator; the chosen one's count on")
    confidence: float = Field(0.9, ge=0.5, le=0.9999, description="of the bounds of a gate yield, one-sided")
    min_images: int = Field(25, ge=2, description="KID needs at least this many passed and real validation images")


class ProduceParams(Section):
    """Mass production of exactly the quotas."""

    seed: int = Field(23, ge=0)
    generator: Annotated[str | tuple[str, ...], BeforeValidator(_names)] = Field(
        "diffusion", description="a name, a list of names, or auto: all of train.use; of several a pilot chooses"
    )
    pilot: PilotParams = PilotParams()
    block: int = Field(24, ge=1, le=4096, description="attempts a block: the unit of work and of resume")
    max_attempts_per_image: float = Field(5.0, ge=1, description="per stratum; beyond it the rest is a shortfall")
    confidence: float = Field(
        0.8,
        ge=0.5,
        le=0.9999,
        description="of the lower bound of the acceptance rate that each round's attempts follow",
    )
    workers: int = Field(1, ge=1, le=1024, description="blocks at once")
    block_timeout_s: float | None = Field(
        None, gt=0, description="longest a block may take; a worker that hangs is ended and the block made elsewhere"
    )
    sampler: SamplerParams = SamplerParams()
    gates: GateParams = GateParams()


class EvaluateParams(Section):
    """What is measured on the finished production."""

    seed: int = Field(29, ge=0)
    bootstrap: int = Field(400, ge=10, le=100_000, description="resamples for each interval")
    interval: float = Field(0.95, gt=0, lt=1)
    min_images: int = Field(50, ge=2, description="KID needs at least this many of each kind")
    min_images_fd: int = Field(2000, ge=2, description="FD is reported only from this many of each kind")


class ReleaseParams(Section):
    """What is shipped."""

    name: str = Field("balanced", pattern=r"^[a-z][a-z0-9_-]{0,63}$")
    version: str = Field("0.1.0", pattern=r"^\d+\.\d+\.\d+$")
    shard_rows: int = Field(1000, ge=1)
    row_group_rows: int = Field(128, ge=64, le=256)
    sheet_per_cell: int = Field(3, ge=1, le=16, description="images in each cell of the contact sheet")
    contact: str = Field("", description="shown in the datasheet")


class Params(Section):
    """The whole of params.yaml. Each section is the stage of that name."""

    sources: SourcesParams
    ingest: IngestParams = IngestParams()
    validate_: ValidateParams = Field(ValidateParams(), alias="validate")
    dedupe: DedupeParams = DedupeParams()
    stratify: StratifyParams = StratifyParams()
    train: TrainParams = TrainParams()
    produce: ProduceParams = ProduceParams()
    evaluate: EvaluateParams = EvaluateParams()
    release: ReleaseParams = ReleaseParams()


def parse_params(data: Any, origin: str) -> Params:
    """Return checked parameters.

    Raises:
        ParamsError: naming every wrong key, what it holds and what it needs.
    """
    try:
        return Params.model_validate(data)
    except ValidationError as error:
        raise ParamsError(f"{origin}: " + "; ".join(_explain(e) for e in error.errors())) from None


def load_params(path: Path) -> Params:
    """Return the parameters in a YAML file.

    Raises:
        ParamsError: the file is missing, is not YAML, or holds a wrong key or value.
    """
    if not path.is_file():
        raise ParamsError(f"{path.name}: no such file; a workspace needs one; copy the project's params.yaml")
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path.name}: not readable as YAML ({str(error).splitlines()[0]}); fix the file") from None
    return parse_params(data, path.name)


def _explain(error: Any) -> str:
    loc = [str(part) for part in error["loc"] if part != "[key]"]
    if loc[:2] == ["sources", "use"]:
        del loc[3:4]  # pydantic names the adapter here; params.yaml does not
    where, got = ".".join(loc), error["input"]
    match error["type"]:
        case "extra_forbidden":
            return f"unknown key {where} = {got!r}; remove it or check its spelling"
        case "missing":
            return f"{where}: missing; add it"
        case "model_type" | "dict_type":
            return f"{where or 'the whole file'}: got {got!r}; needs keys with values"
        case "union_tag_not_found" | "union_tag_invalid":
            known = error["ctx"].get("expected_tags", ", ".join(map(repr, ADAPTERS)))
            return f"{where}.adapter: got {error['ctx'].get('tag')!r}; needs one of {known}"
        case "enum" if len(error["ctx"]["expected"]) > MOST_SHOWN:
            near = difflib.get_close_matches(str(got), error["ctx"]["expected"].replace("'", "").split(", "), 3)
            like = f", for instance {', '.join(near)}" if near else ""
            return f"{where}: got {got!r}; needs a word of schemas/lesions.py{like}"
    message = error["msg"].removeprefix("Value error, ")
    return f"{where}: got {got!r}; {message[0].lower()}{message[1:]}"
