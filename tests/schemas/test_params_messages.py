"""params.yaml: everything wrong is one line that names the key, what it holds and what it needs.

golden/params_errors.txt holds pairs: a line of YAML (`>`) and the message it gives. After a wanted change:
`python tests/schemas/test_params_messages.py` writes the messages anew; read the difference.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ParamsError
from schemas.params import Params, load_params, parse_params

GOLDEN = Path(__file__).parent / "golden" / "params_errors.txt"
ROOT = Path(__file__).parents[2]
SOURCES = {"sources": {"use": {"p": {"adapter": "phantom"}}}}


def cases() -> list[tuple[str, str]]:
    """Return (YAML, message) pairs of the golden file."""
    pairs = GOLDEN.read_text(encoding="utf-8").strip().split("\n\n")
    return [(pair.split("\n")[0].removeprefix("> "), pair.split("\n")[1]) for pair in pairs]


def message(text: str) -> str:
    data = yaml.safe_load(text)
    if isinstance(data, dict) and "sources" not in data and data:
        data = {**SOURCES, **data}
    with pytest.raises(ParamsError) as caught:
        parse_params(data, "params.yaml")
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.mark.parametrize(("text", "expected"), cases())
def test_message(text: str, expected: str) -> None:
    assert message(text) == expected


def test_defaults_are_complete() -> None:
    params = parse_params(SOURCES, "params.yaml")
    assert params.validate_.min_rows == 100
    assert params.model_dump(by_alias=True).keys() >= {"ingest", "validate", "stratify", "train", "produce", "release"}
    assert parse_params(params.model_dump(by_alias=True, mode="json"), "params.yaml") == params


def test_the_shipped_params_are_read() -> None:
    assert "phantom" in load_params(ROOT / "params.yaml").sources.use


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ParamsError) as caught:
        load_params(tmp_path / "params.yaml")
    assert str(caught.value) == "params.yaml: no such file; a workspace needs one; copy the project's params.yaml"


@pytest.mark.parametrize(
    ("content", "start"),
    [
        (b"", "params.yaml: the whole file: got None; needs keys with values"),
        (b"sources: {use: [", "params.yaml: not readable as YAML ("),
        (b"\xff\xfe\x00", "params.yaml: not readable as YAML ("),
        (b"a: 1\n\ta: 2\n", "params.yaml: not readable as YAML ("),
    ],
)
def test_a_damaged_file(tmp_path: Path, content: bytes, start: str) -> None:
    (tmp_path / "params.yaml").write_bytes(content)
    with pytest.raises(ParamsError) as caught:
        load_params(tmp_path / "params.yaml")
    assert str(caught.value).startswith(start)
    assert "\n" not in str(caught.value)


def sections(model: type, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], type]]:
    """Return the path and type of every section that can be left out."""
    found: list[tuple[tuple[str, ...], type]] = [(path, model)]
    for name, info in model.model_fields.items():  # type: ignore[attr-defined]
        if isinstance(info.annotation, type) and hasattr(info.annotation, "model_fields"):
            found += sections(info.annotation, (*path, info.alias or name))
    return found


@given(where=st.sampled_from(sections(Params)), key=st.from_regex(r"[a-z]{1,8}", fullmatch=True))
def test_an_unknown_key_is_named_wherever_it_is(where: tuple[tuple[str, ...], type], key: str) -> None:
    path, model = where
    known = {info.alias or name for name, info in model.model_fields.items()}  # type: ignore[attr-defined]
    if key in known:
        return
    data: dict[str, object] = {key: 1} if path else {**SOURCES, key: 1}
    for depth in range(len(path), 0, -1):
        needed = {"use": SOURCES["sources"]["use"]} if path[:depth] == ("sources",) else {}
        data = {path[depth - 1]: {**needed, **data}}
    with pytest.raises(ParamsError) as caught:
        parse_params({**SOURCES, **data}, "params.yaml")
    named = ".".join((*path, key))
    assert str(caught.value) == f"params.yaml: unknown key {named} = 1; remove it or check its spelling"


if __name__ == "__main__":
    GOLDEN.write_text("\n\n".join(f"> {text}\n{message(text)}" for text, _ in cases()) + "\n", encoding="utf-8")
