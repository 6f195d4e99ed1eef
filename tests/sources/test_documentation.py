"""docs/adding-a-source.md: its example runs, and what it quotes stands in the files."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from publishers import codes, write_picture

from pipelines.sources.registry import open_source
from schemas.params import parse_params
from schemas.paths import Workspace
from schemas.words import FstSource, Lesion

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/adding-a-source.md").read_text(encoding="utf-8")


def blocks(opening: str) -> list[str]:
    return re.findall(rf"^```{opening}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_example_of_your_own_data_does_what_the_page_says(tmp_path: Path) -> None:
    (given,), (table,) = blocks("yaml"), blocks("csv")
    for number, name in enumerate("abcd"):
        write_picture(tmp_path / f"clinic/photos/{name}.png", number)
    (tmp_path / "clinic/visits.csv").write_text(table, encoding="utf-8")
    params = parse_params(yaml.safe_load(given), "the page")
    rows = list(open_source("clinic", params.sources.use["clinic"], Workspace(tmp_path)).rows(0, 9))
    assert codes(rows) == [None, None, "label_unknown", "label_unmapped"]
    assert rows[0].diagnosis is not None
    assert rows[0].facts is not None
    assert rows[1].diagnosis is not None
    assert rows[1].facts is not None
    assert (rows[0].diagnosis.lesion, rows[0].facts.fst, rows[0].facts.fst_source) == (
        Lesion.NEVUS,
        5,
        FstSource.EXPERT,
    )
    assert (rows[1].diagnosis.lesion, rows[1].facts.fst) == (Lesion.MELANOMA, None)


def test_what_the_page_quotes_is_in_the_files() -> None:
    quoted = re.findall(r"^```\w+ title=(\S+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(quoted) >= 5
    for name, text in quoted:
        assert text in (ROOT / name).read_text(encoding="utf-8"), name
