"""verify: each kind of damage is found and named, and a sound release is called sound."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from release_workspace import make_params, make_workspace

from pipelines.release.build import write_release
from pipelines.release.seal import read_sums, seal
from pipelines.release.shards import image_schema
from pipelines.release.verify import verify_release
from schemas.errors import NotFoundError
from schemas.ledger import AttemptRow
from schemas.release import BalanceRow, Finding, IndexRow, ReleaseImageRow
from schemas.table import Row, from_table, read_rows, write_rows


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    space = make_workspace(tmp_path_factory.mktemp("sound"))
    return write_release(space, make_params()).folder


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(sound, tmp_path / "tiny"))


def findings(folder: Path) -> list[Finding]:
    return verify_release(folder).findings


def read_shard(path: Path) -> list[ReleaseImageRow]:
    return from_table(pq.read_table(path), ReleaseImageRow)


def write_shard(rows: list[ReleaseImageRow], path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([r.model_dump() for r in rows], schema=image_schema()), path)


def change(path: Path, kind: type[Row], **values: object) -> None:
    """Change fields of a table's first row."""
    rows = read_rows(path, kind)
    write_rows([rows[0].model_copy(update=values), *rows[1:]], kind, path)


def test_a_sound_release_is_sound(sound: Path) -> None:
    result = verify_release(sound)
    assert result.passed
    assert (result.files, result.images, result.decoded) == (15, 37, 37)
    assert result.text().startswith("tiny: sound; 15 files hashed, 37 images checked, 37 decoded; digest ")
    assert verify_release(sound, decode_every=10).decoded == 3


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_flipped_byte_is_found_and_named(sound: Path, data: st.DataObject) -> None:
    names = sorted(read_sums((sound / "SHA256SUMS").read_text()))
    name = data.draw(st.sampled_from(names))
    original = (sound / name).read_bytes()
    at = data.draw(st.integers(0, len(original) - 1))
    try:
        (sound / name).write_bytes(
            original[:at] + bytes([original[at] ^ data.draw(st.integers(1, 255))]) + original[at + 1 :]
        )
        found = findings(sound)
        assert [(f.code, f.file) for f in found] == [("changed", name)]
    finally:
        (sound / name).write_bytes(original)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "data/train-synthetic-00000.parquet").unlink()
    assert [(f.code, f.file) for f in findings(folder)] == [("missing", "data/train-synthetic-00000.parquet")]


def test_an_extra_file_is_named(folder: Path) -> None:
    (folder / "data/.hidden").write_text("more")
    assert [(f.code, f.file) for f in findings(folder)] == [("extra", "data/.hidden")]


def test_missing_sums_are_a_finding(folder: Path) -> None:
    (folder / "SHA256SUMS").unlink()
    assert [(f.code, f.file) for f in findings(folder)] == [("missing", "SHA256SUMS")]
    assert verify_release(folder).digest is None


@pytest.mark.parametrize("line", ["xyz  release.json", f"{'0' * 64}  ../outside", f"{'0' * 64}  /etc/passwd", "no"])
def test_sums_that_make_no_sense_are_a_finding(folder: Path, line: str) -> None:
    (folder / "SHA256SUMS").write_text((folder / "SHA256SUMS").read_text() + line + "\n")
    (found,) = findings(folder)
    assert (found.code, found.file) == ("unreadable", "SHA256SUMS")
    assert "line 16" in found.message


def recount_release_json(folder: Path) -> None:
    facts = json.loads((folder / "release.json").read_text())
    facts["counts"]["synthetic"] = 6
    (folder / "release.json").write_text(json.dumps(facts))


def forge_a_picture(folder: Path) -> None:
    path = folder / "data/train-synthetic-00000.parquet"
    rows = read_shard(path)
    write_shard([rows[0].model_copy(update={"image": rows[1].image}), *rows[1:]], path)


def relabel_a_picture(folder: Path) -> None:
    path = folder / "data/train-synthetic-00000.parquet"
    rows = read_shard(path)
    write_shard([rows[0].model_copy(update={"fst": 1}), *rows[1:]], path)


def forget_the_features(folder: Path) -> None:
    path = folder / "data/train-synthetic-00000.parquet"
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)


def drop_a_picture(folder: Path) -> None:
    path = folder / "data/test-real-00000.parquet"
    write_shard(read_shard(path)[1:], path)


def truncate_a_table(folder: Path) -> None:
    (folder / "strata.parquet").write_bytes((folder / "strata.parquet").read_bytes()[:-30])


def other_columns(folder: Path) -> None:
    pq.write_table(pa.table({"image_id": ["a"]}), folder / "gates.parquet")


def drop_a_row(folder: Path) -> None:
    write_rows(read_rows(folder / "index.parquet", IndexRow)[:-1], IndexRow, folder / "index.parquet")


RESEALED = {
    "a changed count": (recount_release_json, "release.json", "counts.synthetic is 6, the tables hold 5"),
    "a forged picture": (forge_a_picture, "data/train-synthetic-00000.parquet",
                         "1 image of other bytes than the sha256 in the index"),
    "a dropped picture": (drop_a_picture, "data/test-real-00000.parquet",
                          "1 image listed in the index for this shard, not in it"),
    "another label": (relabel_a_picture,
                      "data/train-synthetic-00000.parquet", "1 image labelled otherwise than in the index"),
    "lost feature metadata": (forget_the_features, "data/train-synthetic-00000.parquet", "not readable as a shard"),
    "a dropped index row": (drop_a_row, "index.parquet",
                            "1 synthetic images accepted in gates.parquet, not in the index"),
    "an attempt made accepted": (lambda f: [change(f / "gates.parquet", AttemptRow, image_id="e" * 24, accepted=True)],
                                 "index.parquet", "accepted in gates.parquet, not in the index"),
    "a changed stratum": (lambda f: change(f / "strata.parquet", BalanceRow, n_synthetic=4), "strata.parquet",
                          "stratum phantom/II/nevus: n_synthetic is 4, the index holds 0"),
    "a truncated table": (truncate_a_table, "strata.parquet", "not readable as Parquet"),
    "a table of other columns": (other_columns, "gates.parquet", "its columns are not those of AttemptRow"),
    "a lost shard": (lambda f: (f / "data/test-real-00000.parquet").unlink(), "data/test-real-00000.parquet",
                     "the index places 6 images in it"),
}  # fmt: skip


@pytest.mark.parametrize("name", RESEALED)
def test_damage_is_found_even_when_the_sums_were_made_anew(folder: Path, name: str) -> None:
    damage, file, message = RESEALED[name]
    before = verify_release(folder).digest
    damage(folder)
    seal(folder)
    result = verify_release(folder)
    assert any(f.file == file and message in f.message for f in result.findings), result.text()
    assert result.digest != before


def test_a_picture_that_does_not_decode_is_found(folder: Path) -> None:
    import hashlib

    path = folder / "data/test-real-00000.parquet"
    rows = read_shard(path)
    broken = rows[0].image.bytes[:60]
    picture = rows[0].image.model_copy(update={"bytes": broken})
    write_shard([rows[0].model_copy(update={"image": picture}), *rows[1:]], path)
    index = read_rows(folder / "index.parquet", IndexRow)
    digest = hashlib.sha256(broken).hexdigest()
    write_rows([r.model_copy(update={"sha256": digest}) if r.image_id == rows[0].image_id else r for r in index],
               IndexRow, folder / "index.parquet")  # fmt: skip
    seal(folder)
    (found,) = findings(folder)
    assert "1 image not decodable to square RGB pixels, the first is " + rows[0].image_id in found.message


def test_no_such_release_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="release none: no such folder; `equiderm releases` lists"):
        verify_release(tmp_path / "none")


def test_decode_every_zero_is_refused(sound: Path) -> None:
    with pytest.raises(ValueError, match="decode_every is 0"):
        verify_release(sound, decode_every=0)
