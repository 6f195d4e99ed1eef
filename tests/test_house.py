"""Rules about the code itself: layers, names, sizes, and nothing that only one machine knows."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("flows", "tasks", "pipelines", "schemas")
MOST_LINES_OF_FILE = 300
MOST_LINES_OF_FUNCTION = 40
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
MACHINE_PATHS = re.compile(r"(?<![\w.])/(?:work|home|root|Users|opt|mnt|srv)/\w")


def tracked(*suffixes: str) -> list[Path]:
    listed = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, text=True)
    return [ROOT / n for n in filter(None, listed.split("\0")) if n.endswith(suffixes) and (ROOT / n).is_file()]


def sources() -> list[Path]:
    return [path for path in tracked(".py") if path.relative_to(ROOT).parts[0] in LAYERS]


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of code, the docstring not counted: saying more must not cost doing less."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def test_layers_import_downwards_only() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([str(linter)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert " 0 broken" in done.stdout


def test_stage_flow_task_params_and_folder_have_one_name() -> None:
    stages = list(yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"])
    from schemas.params import Params

    sections = [field.alias or name for name, field in Params.model_fields.items()]
    assert sections == stages
    for stage in stages:
        assert (ROOT / f"flows/{stage}.py").is_file(), stage
        assert (ROOT / f"tasks/{stage}.py").is_file(), stage
        assert (ROOT / f"pipelines/{stage}/__init__.py").is_file(), stage


def test_every_generator_of_the_graph_has_parameters_and_a_builder() -> None:
    from typing import get_args

    from pipelines.generators.registry import GENERATORS
    from schemas.train_params import GeneratorName, TrainParams

    train = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]["train"]
    assert train["foreach"] == "${train.use}"
    assert set(get_args(GeneratorName)) == set(GENERATORS)
    assert set(GENERATORS) <= set(TrainParams.model_fields)
    assert set(yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["train"]["use"]) <= set(GENERATORS)


def test_files_are_short() -> None:
    long = {
        str(p.relative_to(ROOT)): n for p in sources() if (n := len(p.read_text().splitlines())) > MOST_LINES_OF_FILE
    }
    assert not long


def test_functions_are_short() -> None:
    long = {
        f"{path.relative_to(ROOT)}:{node.name}": length(node)
        for path in sources()
        for node in functions(path)
        if length(node) > MOST_LINES_OF_FUNCTION
    }
    assert not long


def test_no_name_says_nothing() -> None:
    named = {str(p.relative_to(ROOT)) for p in sources() if {p.stem, *p.relative_to(ROOT).parts[:-1]} & EMPTY_NAMES}
    assert not named


def test_nothing_in_flows_is_named_like_a_layer() -> None:
    assert not [layer for layer in LAYERS if (ROOT / f"flows/{layer}.py").exists()]


def test_no_path_of_one_machine() -> None:
    texts = tracked(
        ".py", ".md", ".yaml", ".yml", ".toml", ".lock", ".sql", "Makefile", "run", ".json", ".jinja", ".html"
    )
    found = {str(p.relative_to(ROOT)): m.group() for p in texts if (m := MACHINE_PATHS.search(p.read_text("utf-8")))}
    assert not found


def test_every_module_and_public_function_says_what_it_is() -> None:
    silent = []
    for path in sources():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if not ast.get_docstring(tree):
            silent.append(str(path.relative_to(ROOT)))
        for node in tree.body:
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if public and not ast.get_docstring(node):
                silent.append(f"{path.relative_to(ROOT)}:{node.name}")
    assert not silent
