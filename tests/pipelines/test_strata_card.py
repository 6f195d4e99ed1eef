"""What a model card says of strata: who was learned how well, who borrows from whom, and how well tone was read."""

from __future__ import annotations

from typing import Any

from pipelines.train.strata_card import fairness_section, lenders, strata_section
from schemas.strata import StratumRow
from schemas.training import StratumLossRow
from schemas.words import Lesion, Modality, Support


def stratum(fst: int, lesion: Lesion, n: int, support: Support) -> StratumRow:
    return StratumRow(
        modality=Modality.PHANTOM, fst=fst, lesion=lesion, n_real=n, n_train=n, n_validation=0, n_test=0, share=0.1,
        ita_p05=None, ita_p50=None, ita_p95=None, support=support,
    )  # fmt: skip


STRATA = [
    stratum(2, Lesion.NEVUS, 120, Support.SUPPORTED),
    stratum(2, Lesion.MELANOMA, 41, Support.SUPPORTED),
    stratum(6, Lesion.NEVUS, 16, Support.BORROWED),
    stratum(6, Lesion.MELANOMA, 1, Support.UNSUPPORTED),
]


def loss(images: int, fst: int, noise_bin: int, relative: float, weight: float) -> StratumLossRow:
    return StratumLossRow(
        images=images, modality=Modality.PHANTOM, fst=fst, lesion=Lesion.NEVUS, noise_bin=noise_bin, shown=10, loss=0.3,
        relative=relative, weight=weight,
    )  # fmt: skip


def test_each_stratum_s_last_loss_and_whom_it_borrows_from() -> None:
    losses = [
        loss(100, 6, 0, 9.0, 9.0),
        loss(200, 6, 0, 1.2, 1.5),
        loss(200, 6, 1, 1.4, 1.7),
        loss(200, 2, 0, 0.9, 0.8),
    ]
    assert strata_section(STRATA, losses).splitlines()[2:] == [
        "| phantom/II/nevus | 120 | supported | 0.90 | 0.80 |  |",
        "| phantom/II/melanoma | 41 | supported |  |  |  |",
        "| phantom/VI/nevus | 16 | borrowed | 1.30 | 1.60 | borrowed: tone from 1 images of other lesions on FST VI, "
        "lesion from 120 of nevus on other skin types |",
        "| phantom/VI/melanoma | 1 | unsupported |  |  | below the floor: refused |",
    ]


def test_another_modality_lends_nothing() -> None:
    photo = STRATA[0].model_copy(update={"modality": Modality.CLINICAL, "n_train": 999})
    assert "999" not in lenders(STRATA[2], [*STRATA, photo])


def about(**changes: Any) -> dict[str, Any]:
    params = {"fairness": {"group_weights": {"use": True, "clamp": 3.0}, "tone": {"weight": 0.1, "target": "batch"}}}
    watch = {"stopped_early": False, "best_worst_kid": None, "best_images": None}
    probe = {"used": True, "why": "", "recall": {"1": {"images": 8, "recall": 1.0}, "6": {"images": 4, "recall": 0.75}}}
    given = {"generator": "diffusion", "resample_power": 0.5, "max_repeats": 5.0, "params": params, "watch": watch}
    return {**given, "tone_probe": probe, **changes}


def test_the_parts_that_were_on_and_the_probe_s_error_by_skin_type() -> None:
    assert fairness_section(about()).splitlines() == [
        "- Resampling: a stratum of n images is drawn in proportion to n^0.5; no image more than 5 times as often as in an "
        "even draw.",
        "- Loss weights by stratum and noise level: within 1/3 to 3.",
        "- Tone term: weight 0.1, towards the labelled mix of skin types.",
        "- Its probe's error on validation images, by FST: I 0.00 of 8, VI 0.25 of 4. Nothing else is measured with this "
        "probe.",
    ]


def test_what_was_off_or_ended_early_is_said() -> None:
    off = {"fairness": {"group_weights": {"use": False, "clamp": 3.0}, "tone": {"weight": 0, "target": "batch"}}}
    probe = {"used": False, "why": "switched off", "recall": {}}
    watch = {"stopped_early": True, "best_worst_kid": 0.5, "best_images": 4000}
    said = fairness_section(about(params=off, tone_probe=probe, max_repeats=None, watch=watch))
    assert "no cap on repeats." in said
    assert "- Loss weights by stratum: switched off." in said
    assert "- Tone term: not used (switched off)." in said
    assert "stopped early; the weights are those after 4,000 images" in said
    assert "gan has neither" in fairness_section(about(generator="gan", params={}))
