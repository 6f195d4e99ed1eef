"""`equiderm plan` with other numbers: what cannot be asked is one line, before anything is read."""

from __future__ import annotations

import pytest

from flows.engine import ENGINES
from flows.planning import show_plan
from schemas.errors import UserError, WorkspaceError


def ask(**changes: object) -> None:
    show_plan(
        **{"what_if": True, "images": 0, "workers": 0, "cores": 0, "engine": "threads", "as_json": True, **changes}
    )  # type: ignore[arg-type]


def test_an_engine_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match=r"^plan: --engine: got 'processes'; use one of threads, dask, ray$"):
        ask(engine="processes")


@pytest.mark.parametrize("changes", [{"images": 5}, {"workers": 2}, {"engine": "dask"}])
def test_other_numbers_need_what_if(changes: dict[str, object]) -> None:
    with pytest.raises(UserError, match=r"^plan: --\w+ asks what would be; add --what-if$"):
        ask(what_if=False, **changes)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_can_be_asked_for(engine: str, tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(str(tmp_path))
    with pytest.raises(WorkspaceError, match=r"no params\.yaml and dvc\.yaml here"):
        ask(engine=engine)
