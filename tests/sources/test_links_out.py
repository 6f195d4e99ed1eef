"""Tables and folders that are links out of a source's folder: named, and read only where params.yaml allows it."""

from __future__ import annotations

from pathlib import Path

import pytest
from publishers import MINE, WRITERS, codes, opened, read_all, write_csv

from schemas.errors import SourceError


def test_a_table_named_outside_the_folder_is_refused(tmp_path: Path) -> None:
    WRITERS["generic"](tmp_path / "generic")
    write_csv(tmp_path / "secret.csv", ("file", "dx"), [("1", "mm")])
    columns = {"image": "file", "label": "dx"}
    with pytest.raises(SourceError, match=r"\.\./secret\.csv leads out of generic"):
        opened(tmp_path, "generic", **MINE, table="../secret.csv", columns=columns)
    (tmp_path / "generic/link.csv").symlink_to(tmp_path / "secret.csv")
    with pytest.raises(SourceError, match=r"link\.csv leads out of generic"):
        opened(tmp_path, "generic", **MINE, table="link.csv", columns=columns)
    with pytest.raises(SourceError, match="leads out of generic"):
        opened(tmp_path, "generic", **MINE, table=str(tmp_path / "secret.csv"), columns=columns)


def test_a_table_in_a_folder_that_is_a_link_out_is_not_read(tmp_path: Path) -> None:
    WRITERS["ham10000"](tmp_path / "ham10000")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "ham10000/HAM10000_metadata.csv").rename(tmp_path / "elsewhere/HAM10000_metadata.csv")
    (tmp_path / "ham10000/HAM10000_metadata").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SourceError) as caught:
        opened(tmp_path, "ham10000")
    assert str(caught.value) == (
        "sources.use.s: HAM10000_metadata/HAM10000_metadata.csv leads out of ham10000; needs a file within it; "
        "copy it there, or set links: anywhere"
    )
    assert codes(read_all(tmp_path, "ham10000", links="anywhere")) == [None]


def test_links_out_of_the_folder_are_named(tmp_path: Path) -> None:
    WRITERS["pad_ufes_20"](tmp_path / "pad_ufes_20")
    (tmp_path / "pad_ufes_20/images").rename(tmp_path / "elsewhere")
    (tmp_path / "pad_ufes_20/images").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SourceError, match="folder images is a link out of pad_ufes_20"):
        opened(tmp_path, "pad_ufes_20")
    assert codes(read_all(tmp_path, "pad_ufes_20", links="anywhere")) == [None]
    (tmp_path / "pad_ufes_20/imgs_part_1").symlink_to("imgs_part_1")  # a circle
    assert codes(read_all(tmp_path, "pad_ufes_20", links="anywhere")) == [None]
