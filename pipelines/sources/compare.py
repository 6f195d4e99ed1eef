"""The differences between two profiles of a source, each with its size and its limit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from schemas.drift import Change, Profile
from schemas.params import DriftParams

_ALWAYS = "always stops a build"
_REPORTED = "reported, stops nothing"
_ROUNDING = 1e-9
"""0.61 - 0.60 is a little over 0.01; a change of exactly the limit is allowed."""


def compare(was: Profile, now: Profile, limits: DriftParams) -> list[Change]:
    """Return every difference, those that stop a build first; [] if there is none.

    Counts may move by a share of what was; a class by so much of all rows, and by a share of its own rows. Words
    (labels, columns, licence, modality) may not change at all. Bytes and digests alone stop nothing: they say that
    something was touched.
    """
    found = [*_words(was, now), *_counts(was, now, limits)]
    found += _shares("label", was.labels, now.labels, limits)
    found += _shares("FST", was.fst, now.fst, limits)
    found += _touched(was, now)
    return sorted(found, key=lambda change: not change.stops)


def _words(was: Profile, now: Profile) -> Iterator[Change]:
    for name in ("adapter", "modality", "licence", "citation"):
        before, after = getattr(was, name), getattr(now, name)
        if before != after:
            yield Change(what=name, was=before or "none", now=after or "none", by="changed", limit=_ALWAYS, stops=True)
    if set(was.licence_allows) != set(now.licence_allows):
        yield _set("what the licence allows", was.licence_allows, now.licence_allows)
    if was.licence_files != now.licence_files:
        names = sorted(was.licence_files.keys() | now.licence_files.keys())
        for name in (n for n in names if was.licence_files.get(n) != now.licence_files.get(n)):
            yield _digest(f"licence text {name}", was.licence_files.get(name), now.licence_files.get(name), stops=True)
    if set(was.columns) != set(now.columns):
        yield _set("columns", was.columns, now.columns)
    elif was.columns != now.columns:
        order = "another order"
        yield Change(
            what="columns", was=", ".join(was.columns), now=", ".join(now.columns), by=order, limit=_REPORTED,
            stops=False,
        )  # fmt: skip


def _set(what: str, was: list[str], now: list[str]) -> Change:
    lost, new = [x for x in was if x not in now], [x for x in now if x not in was]
    by = "; ".join(f"{word} {', '.join(part)}" for word, part in (("lost", lost), ("new", new)) if part)
    texts = [f"{len(names)} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" for names in (was, now)]
    return Change(what=what, was=texts[0], now=texts[1], by=by, limit=_ALWAYS, stops=True)


def _counts(was: Profile, now: Profile, limits: DriftParams) -> Iterator[Change]:
    for name, limit in (
        ("rows", limits.rows),
        ("files_without_row", limits.files),
        ("image_files", limits.files),
        ("mask_files", limits.files),
    ):
        before, after = getattr(was, name), getattr(now, name)
        if before == after:
            continue
        # Files without a row are few; what matters is how many they are of all images.
        whole = max(before, was.image_files) if name == "files_without_row" else before
        moved = abs(after - before) / whole if whole else 1.0
        percent = f", {(after - before) / whole:+.1%}" if whole else ""
        yield Change(
            what=name.replace("_", " "), was=f"{before:,}", now=f"{after:,}", by=f"{after - before:+,}{percent}",
            limit=f"{limit:.1%} allowed", stops=moved > limit + _ROUNDING,
        )  # fmt: skip


def _shares(what: str, was: Mapping[str, int], now: Mapping[str, int], limits: DriftParams) -> Iterator[Change]:
    before_all, after_all = sum(was.values()) or 1, sum(now.values()) or 1
    for name in sorted(was.keys() | now.keys()):
        before, after = was.get(name, 0), now.get(name, 0)
        shown = f"{what} {name or '(empty)'}"
        texts = f"{before:,} rows ({before / before_all:.1%})", f"{after:,} rows ({after / after_all:.1%})"
        moved = after / after_all - before / before_all
        if not before or not after:
            by = "new" if not before else "lost"
            yield Change(what=shown, was=texts[0], now=texts[1], by=by, limit=_ALWAYS, stops=True)
        elif before != after:
            own = (after - before) / before
            yield Change(
                what=shown, was=texts[0], now=texts[1], by=f"{moved * 100:+.1f} points, {own:+.1%} of its rows",
                limit=f"{limits.shares * 100:.1f} and {limits.classes:.1%} allowed",
                stops=abs(moved) > limits.shares + _ROUNDING or abs(own) > limits.classes + _ROUNDING,
            )  # fmt: skip


def _touched(was: Profile, now: Profile) -> Iterator[Change]:
    for name in sorted(was.tables.keys() | now.tables.keys()):
        if was.tables.get(name) != now.tables.get(name):
            # A table that came or went changes what is read; new contents show in rows, labels and shares.
            gone = name not in was.tables or name not in now.tables
            yield _digest(f"table {name}", was.tables.get(name), now.tables.get(name), stops=gone)
    if was.image_bytes != now.image_bytes:
        by = f"{now.image_bytes - was.image_bytes:+,}"
        yield Change(
            what="bytes of images", was=f"{was.image_bytes:,}", now=f"{now.image_bytes:,}", by=by, limit=_REPORTED,
            stops=False,
        )  # fmt: skip


def _digest(what: str, was: str | None, now: str | None, *, stops: bool) -> Change:
    texts = [f"sha256 {digest[:12]}" if digest else "not there" for digest in (was, now)]
    by = "other contents" if was and now else ("gone" if was else "new")
    return Change(what=what, was=texts[0], now=texts[1], by=by, limit=_ALWAYS if stops else _REPORTED, stops=stops)
