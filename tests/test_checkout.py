"""The four packages under test are this checkout's: another distribution may ship a `tasks` or a `schemas`."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", ["flows", "tasks", "pipelines", "schemas"])
def test_package_comes_from_here(name: str) -> None:
    package = importlib.import_module(name)
    assert package.__file__ is not None
    assert Path(package.__file__).resolve() == ROOT / name / "__init__.py"


def test_the_program_comes_from_here_wherever_it_is_called(tmp_path: Path) -> None:
    asked = "import flows.cli; print(flows.cli.__file__)"
    found = subprocess.check_output([sys.executable, "-c", asked], cwd=tmp_path, text=True).strip()
    assert Path(found).resolve() == ROOT / "flows/cli.py"
