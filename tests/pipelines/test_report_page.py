"""report.html: one file that needs nothing else, says what the tables say, and lets nobody's text become markup."""

from __future__ import annotations

import base64
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from release_workspace import THREE, make_params, make_workspace

from pipelines.release.build import write_release
from pipelines.release.report import contrast, percent, shade
from pipelines.release.scores import number
from pipelines.release.tally import wilson
from schemas.metrics import load_metrics

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """A parsed page: its tags in order, its text, and whether every tag was closed in turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    space = make_workspace(tmp_path_factory.mktemp("page"))
    return (write_release(space, make_params()).folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(source: str) -> Page:
    return Page(source)


def test_every_tag_is_closed(page: Page) -> None:
    assert page.open == []


def test_it_refers_to_nothing_outside_itself(source: str, page: Page) -> None:
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base", "form"}
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "srcset", "poster", "data", "action"):
            assert (attributes.get(name) or "data:").startswith("data:image/png;base64,") or name not in attributes
    for outside in ("http:", "https:", "//cdn", "url(", "@import"):
        assert outside not in source


def test_inlined_pictures_are_pngs_with_a_description(page: Page) -> None:
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == 4  # real of three strata, synthetic of one
    for attributes in pictures:
        data = base64.b64decode((attributes["src"] or "").split(",")[1])
        with Image.open(BytesIO(data), formats=("PNG",)) as picture:
            assert picture.height == 24
        assert " images of " in (attributes["alt"] or "")


@pytest.mark.parametrize(
    "said",
    [
        "tiny 1.2.3",
        "37 images of skin lesions: 32 phantoms from the sources and 5 synthetic ones",
        "11 images are still missing",
        "real images: 20 train, 6 validation, 6 test",
        "40% of 10 attempts refused by a gate",
        "3 source rows that did not enter",
        "These are drawings, not patients.",
        "5 of 6 passed in 10 attempts; most often refused by the tone gate (3)",
        "2 real training images, 4 needed to learn from",
        "Features by efficientnet-lite0",
        "0.0213 0.018 to 0.026, n 60",
        "not measured 5 images, 50 needed",
        "melanomas missed (FNR) FST IV-VI 0.5 0.4 to 0.6, n 60 0.42",
        "17% to 69%",
        "phantom image missing 2",
        'load_dataset("parquet"',
        "dvc get REPOSITORY releases/tiny --rev tiny@v1.2.3",
    ],
)
def test_it_says_what_the_tables_say(page: Page, said: str) -> None:
    assert said in page.text


def test_text_from_files_never_becomes_markup(tmp_path: Path) -> None:
    evil = '<script>alert("x")</script>&'
    plans = (*THREE[:2], replace(THREE[2], reason=evil))
    space = make_workspace(tmp_path, plans, source=evil)
    metrics = load_metrics(space.evaluation).model_copy(update={"extractor": evil})
    (space.evaluation / "metrics.json").write_text(metrics.model_dump_json())
    page = Page((write_release(space, make_params()).folder / "report.html").read_text())
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.text.count(evil) >= 3


def test_photographs_carry_no_phantom_banner(tmp_path: Path) -> None:
    from schemas.catalog import CatalogRow
    from schemas.ledger import AttemptRow
    from schemas.strata import QuotaRow, StratumRow
    from schemas.table import read_rows, write_rows
    from schemas.words import Modality

    space = make_workspace(tmp_path, source="pad", licence="CC-BY-4.0")
    tables = [(space.splits, CatalogRow), (space.strata, StratumRow), (space.quotas, QuotaRow)]
    tables += [(path, AttemptRow) for path in space.ledger.glob("*.parquet")]
    for path, kind in tables:
        write_rows([r.model_copy(update={"modality": Modality.CLINICAL}) for r in read_rows(path, kind)], kind, path)
    metrics = (space.evaluation / "metrics.json").read_text().replace('"phantom"', '"clinical"')
    (space.evaluation / "metrics.json").write_text(metrics)
    page = Page((write_release(space, make_params()).folder / "report.html").read_text())
    assert "drawings" not in page.text
    assert "32 real and 5 synthetic" in page.text


@given(most=st.integers(0, 10**7), share=st.floats(0, 1))
def test_every_heat_map_number_is_readable_on_its_ground(most: int, share: float) -> None:
    colours = shade(round(most * share), most)
    ink, ground = ([int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in (colours.ink, colours.ground))
    assert contrast(ink, ground) >= 4.5


def test_contrast_is_the_published_ratio() -> None:
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((119, 119, 119), (255, 255, 255)) == pytest.approx(4.48, abs=0.01)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_rate_lies_in_its_interval(pair: tuple[int, int]) -> None:
    hits, n = pair
    low, high = wilson(hits, n)
    assert 0 <= low <= hits / n + 1e-12
    assert hits / n - 1e-12 <= high <= 1


def test_wilson_agrees_with_the_published_example() -> None:
    low, high = wilson(15, 148)  # Newcombe 1998, table I
    assert (round(low, 4), round(high, 4)) == (0.0624, 0.1605)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.02134, "0.0213"), (-0.0004, "−0.0004"), (12345.6, "12,346"), (0.00001234, "1.2e−05"), (99.96, "100")],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(("share", "text"), [(0, "0%"), (0.004, "0.4%"), (0.0996, "10%"), (0.5, "50%"), (1, "100%")])
def test_percentages_are_short(share: float, text: str) -> None:
    assert percent(share) == text
