"""dvc.yaml's code deps against what the stages really import."""

from __future__ import annotations

from pathlib import Path

import grimp
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("flows", "tasks", "pipelines", "schemas", cache_dir=None)


def folder(module: str) -> str | None:
    """The folder that computes: flows/ and tasks/ do not, so they are no deps."""
    parts = module.split(".")
    if parts[0] == "schemas":
        return "schemas"
    return "/".join(parts[:2]) if parts[0] == "pipelines" and len(parts) > 1 else None


def imports_by_name(module: str) -> bool:
    """Whether the module chooses what to import at run time, so that any neighbour may be meant."""
    path = ROOT / module.replace(".", "/")
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return "import_module(" in source.read_text(encoding="utf-8")


def reached(imports: grimp.ImportGraph, start: str) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        module = waiting.pop()
        if module in found:
            continue
        found.add(module)
        waiting += imports.find_modules_directly_imported_by(module)
        if imports_by_name(module):
            waiting += [m for m in imports.modules if m.rpartition(".")[0] == module.rpartition(".")[0]]
    return found


def code_deps(stage: str) -> set[str]:
    deps = (STAGES[stage].get("do") or STAGES[stage])["deps"]
    return {dep for dep in deps if dep == "schemas" or dep.split("/")[0] == "pipelines"}


@pytest.mark.parametrize("stage", STAGES)
def test_code_deps_are_what_the_stage_imports(imports: grimp.ImportGraph, stage: str) -> None:
    needed = {f for module in reached(imports, f"flows.{stage}") if (f := folder(module))}
    if stage == "release":  # states the digest of all code
        assert code_deps(stage) == {"pipelines", "schemas"}
        return
    assert needed - code_deps(stage) == set(), "a change there would not rerun the stage"
    assert code_deps(stage) - needed == set(), "a change there would rerun the stage for nothing"


def test_a_code_dep_that_is_left_out_is_noticed(imports: grimp.ImportGraph) -> None:
    assert {folder(m) for m in reached(imports, "flows.sources")} >= {
        "pipelines/sources",
        "pipelines/phantoms",
        "schemas",
    }
