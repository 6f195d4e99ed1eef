"""Salted hashes that stand for people and things: what the catalog and the withdrawal list hold in place of an id."""

from __future__ import annotations

import hashlib


def pseudonym(salt: str, dataset: str, kind: str, publisher_id: str | None) -> str | None:
    """Return 20 hex digits that stand for a publisher's patient or lesion, equal for equal ids of one dataset.

    The dataset, not the source's name, goes in: two excerpts of one dataset must agree on who a patient is, or a
    patient could lie in training and test at once. The salt keeps two workspaces from being joined on it.
    """
    return None if publisher_id is None else salted(salt, dataset, kind, publisher_id)


def salted(salt: str, dataset: str, kind: str, name: str) -> str:
    """Return 20 hex digits for a name: of a patient, a row, or an image (whose dataset is empty: pixels have none)."""
    return hashlib.sha256("\0".join((salt, dataset, kind, name)).encode()).hexdigest()[:20]


def salt_name(salt: str) -> str:
    """Return 8 hex digits that tell one salt from another, so that a list made under another one is noticed."""
    return hashlib.sha256(f"equiderm salt\0{salt}".encode()).hexdigest()[:8]
