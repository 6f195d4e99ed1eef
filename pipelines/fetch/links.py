"""A source's table of addresses as targets: what each image is called, and where it is."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from urllib.parse import urlsplit

from pipelines.fetch.crowd import in_turn
from pipelines.fetch.mirror import Target, refused, unsafe
from pipelines.sources.table import read_csv
from schemas.errors import SourceError
from schemas.fetch import FetchedRow
from schemas.location_params import UrlList


def read_links(name: str, table: Path, urls: UrlList) -> tuple[list[Target], list[FetchedRow]]:
    """Return the images to fetch, no host's before another's, and a row for each that will not be asked for.

    A name on several lines is one image, from the first line's address; ingest tells the repeats.

    Raises:
        SourceError: the table is missing or damaged, or a column is missing.
    """
    targets: dict[str, Target] = {}
    not_asked: dict[str, FetchedRow] = {}
    for row in read_csv(table, (urls.name, urls.url), name).rows:
        said, url = row.values.get(urls.name, "").strip(), row.values.get(urls.url, "").strip()
        target = Target(f"{urls.folder}/{said}{urls.ending}", url)
        if row.fault or not said or target.name in targets or target.name in not_asked:
            continue
        if why := _why_not(said, target):
            not_asked[target.name] = refused(target, why)
        else:
            targets[target.name] = target
    if not targets:
        raise SourceError(
            f"sources.use.{name}: {table.name}: no row has both {urls.name} and an http address in {urls.url}; "
            "needs one or more; correct urls in params.yaml"
        )
    by_host = defaultdict(list)
    for target in targets.values():
        by_host[urlsplit(target.url).netloc.lower()].append(target)
    return in_turn(by_host.values()), list(not_asked.values())


def _why_not(said: str, target: Target) -> str | None:
    if "/" in said or (why := unsafe(target.name)):
        return "its name leads out of the folder or is no path" if "/" in said else why
    if not target.url:
        return "the table names no address for it"
    try:
        parts = urlsplit(target.url)
    except ValueError:
        return "its address cannot be read"
    if parts.scheme.lower() not in ("http", "https") or not parts.hostname:
        return f"its address is {parts.scheme or 'no scheme'}:; only http and https are asked"
    return None
