"""A synthetic image's name is fixed before it is made; the golden values may never change, or no ledger replays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.produce.identity import canonical_json, image_key, requested_ita
from pipelines.produce.plan import request_band
from schemas.words import ITA_BANDS_DEG, Modality

SETTINGS = {"steps": 16, "guidance_tone": 1.5, "seed": 23, "request_deg": [-28.0, 8.0]}


def test_golden_key() -> None:
    assert canonical_json({"b": [1, 2.5], "a": None}) == '{"a":null,"b":[1,2.5]}'
    assert image_key("ab" * 32, SETTINGS, "phantom/V/melanoma", 7) == "e1dab5e1dd5737504bf010a6"
    assert requested_ita("e1dab5e1dd5737504bf010a6", (-28.0, 8.0)) == pytest.approx(-19.640674)


def test_the_order_of_settings_does_not_matter_and_each_part_does() -> None:
    key = image_key("ab" * 32, SETTINGS, "phantom/V/melanoma", 7)
    assert image_key("ab" * 32, dict(reversed(SETTINGS.items())), "phantom/V/melanoma", 7) == key
    others = {
        image_key("ac" * 32, SETTINGS, "phantom/V/melanoma", 7),
        image_key("ab" * 32, {**SETTINGS, "steps": 17}, "phantom/V/melanoma", 7),
        image_key("ab" * 32, SETTINGS, "phantom/VI/melanoma", 7),
        image_key("ab" * 32, SETTINGS, "phantom/V/melanoma", 8),
    }
    assert len(others | {key}) == 5


@given(st.integers(0, 10**6), st.floats(-90, 90), st.floats(0, 90))
def test_the_requested_tone_is_in_the_band(seed_index: int, low: float, width: float) -> None:
    key = image_key("ab" * 32, SETTINGS, "phantom/V/melanoma", seed_index)
    asked = requested_ita(key, (low, low + width))
    assert asked is not None
    assert low <= asked <= low + width
    assert requested_ita(key, None) is None


def test_requested_tones_fill_the_band_evenly() -> None:
    asked = [requested_ita(f"{i:024x}", (0.0, 1.0)) or 0.0 for i in range(2000)]
    assert sum(a < 0.25 for a in asked) == pytest.approx(500, abs=60)
    assert sum(a > 0.9 for a in asked) == pytest.approx(200, abs=45)


def test_phantom_tones_are_asked_for_inside_their_bands() -> None:
    for band in ITA_BANDS_DEG.values():
        asked = request_band(Modality.PHANTOM, band)
        assert asked is not None
        assert band[0] + 2 <= asked[0] < asked[1] <= band[1] - 2
        assert asked[0] >= -55
        assert asked[1] <= 70
    assert request_band(Modality.CLINICAL, (12.0, 40.0)) == (12.0, 40.0)
    assert request_band(Modality.CLINICAL, None) is None
