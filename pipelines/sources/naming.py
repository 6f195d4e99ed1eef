"""Which names a table may give a file: nothing in a table can point outside the source's folder."""

from __future__ import annotations

from pathlib import PurePosixPath


def is_plain_name(text: str) -> bool:
    """Return whether the text names a file and nothing else: no path, no parent, no control characters."""
    return (
        text not in (".", "..")
        and not any(c in "/\\" or ord(c) < 32 for c in text)
        and len(text.encode(errors="replace")) <= 200
    )


def is_plain_path(text: str) -> bool:
    """Return whether the text is a path of plain names, downwards only."""
    return (
        not text.startswith("/") and len(text) <= 1000 and all(part and is_plain_name(part) for part in text.split("/"))
    )


def endings(stem: str) -> tuple[str, ...]:
    """Return the file names of an image that a table names without an ending; copies circulate as JPEG and as PNG."""
    return tuple(f"{stem}{ending}" for ending in (".jpg", ".png", ".jpeg"))


def last_part(text: str) -> str:
    """Return the file's name of a path as a publisher wrote it, or the text itself where that is no downward path."""
    return PurePosixPath(text).name if is_plain_path(text) else text
