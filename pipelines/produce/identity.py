"""Which synthetic image is which: a name that is fixed before the image is made, and everything drawn from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

KEY_DIGITS = 24
"""Hex digits of a key: 96 bits, so a billion images collide with a chance of 1e-11."""


def canonical_json(value: Any) -> str:
    """Return JSON with sorted keys and no spaces: equal values, equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Any) -> str:
    """Return 24 hex digits of sha256 over the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode("ascii")).hexdigest()[:KEY_DIGITS]


def image_key(checkpoint_sha256: str, settings: Mapping[str, Any], stratum: str, seed_index: int) -> str:
    """Return the image's id and the seed of its noise, 24 hex digits.

    Args:
        checkpoint_sha256: of the weights.
        settings: everything else that shapes the image: sampler settings, `seed` and the range of requested ITA.
        stratum: as `schemas.words.stratum_name` writes it.
        seed_index: the attempt's number within the stratum.
    """
    return digest([checkpoint_sha256, dict(settings), stratum, seed_index])


def requested_ita(key: str, band_deg: tuple[float, float] | None) -> float | None:
    """Return the ITA asked of this image, degrees: uniform in the band and fixed by the key; None without a band."""
    if band_deg is None:
        return None
    # Not the key's own leading digits: those seed the noise, and tone must not go with the noise.
    share = int(hashlib.sha256(f"ita:{key}".encode("ascii")).hexdigest()[:13], 16) / 16**13
    low, high = band_deg
    return low + share * (high - low)
