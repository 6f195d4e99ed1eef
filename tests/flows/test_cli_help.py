"""The command line before any work: quick help, one line for each mistake, the right exit code, nothing written."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import typer.main

from flows.cli import app

Run = Callable[..., subprocess.CompletedProcess[str]]
VERBS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def test_the_verbs() -> None:
    named = "build sources ingest validate dedupe stratify train produce evaluate release"
    assert sorted(f"{named} plan status releases verify trace replay phantom accept withdraw impact".split()) == VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_prints_json_if_asked_and_says_what_it_does(verb: str) -> None:
    command = typer.main.get_command(app).commands[verb]  # type: ignore[attr-defined]
    assert any("--json" in option.opts for option in command.params)
    assert command.help


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; sys.argv = ['equiderm', '--help']\nfrom flows.cli import main\ntry: main()\nexcept SystemExit: pass\n"
    code += "print(sorted({'prefect', 'dvc', 'torch', 'duckdb', 'pyarrow', 'great_expectations'} & set(sys.modules)))"
    said = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert "Usage: equiderm" in said
    assert said.splitlines()[-1] == "[]"


def one_line(done: subprocess.CompletedProcess[str], code: int) -> str:
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


def test_outside_a_workspace(equiderm: Run, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from flows.cli import main; main()", "build"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "no params.yaml and dvc.yaml here or above" in one_line(done, 2)


def written(workspace: Path) -> list[str]:
    return [
        name
        for name in ("data", "models", "production", "evaluation", "releases", "dvc.lock")
        if (workspace / name).exists()
    ]


def edit(workspace: Path, old: str, new: str) -> None:
    params = workspace / "params.yaml"
    text = params.read_text(encoding="utf-8")
    assert old in text
    params.write_text(text.replace(old, new), encoding="utf-8")


def test_unknown_key(equiderm: Run, workspace: Path) -> None:
    edit(workspace, "ingest: {", "ingest: {shard_row: 3, ")
    line = one_line(equiderm(workspace, "build"), 2)
    assert line == "equiderm: params.yaml: unknown key ingest.shard_row = 3; remove it or check its spelling"
    assert not written(workspace)


def test_unknown_generator(equiderm: Run, workspace: Path) -> None:
    edit(workspace, "generator: diffusion", "generator: flow")
    line = one_line(equiderm(workspace, "build"), 2)
    assert (
        line == "equiderm: params.yaml: produce.generator: got 'flow'; use one of diffusion, gan, dcgan, stylegan2, "
        "stable_diffusion, a list, or auto"
    )
    assert not written(workspace)


def test_section_left_out(equiderm: Run, workspace: Path) -> None:
    edit(workspace, "evaluate: {bootstrap: 10}\n", "")
    line = one_line(equiderm(workspace, "build"), 2)
    assert line.startswith("equiderm: params.yaml: no evaluate; dvc.yaml tracks it; add it")
    assert not written(workspace)


def test_missing_source_folder(equiderm: Run, workspace: Path) -> None:
    edit(workspace, "  use:\n", "  use:\n    ham: {adapter: ham10000, path: nowhere/ham}\n")
    line = one_line(equiderm(workspace, "build"), 2)
    assert "nowhere/ham" in line
    assert not written(workspace)


def test_stage_whose_inputs_are_not_there(equiderm: Run, workspace: Path) -> None:
    done = equiderm(workspace, "stratify", "--json")
    assert done.returncode == 2
    assert "run `equiderm build`, or the stages before it" in done.stderr.splitlines()[-1]
    (stage,) = json.loads(done.stdout)["stages"]
    assert (stage["stage"], stage["state"], stage["exit_code"]) == ("stratify", "Failed", 2)


def test_no_such_stage(equiderm: Run, workspace: Path) -> None:
    assert "train@flow: no such stage; stages are sources, ingest" in one_line(equiderm(workspace, "train", "flow"), 2)


def test_generators_are_those_the_params_use(equiderm: Run, workspace: Path) -> None:
    line = one_line(equiderm(workspace, "train", "dcgan"), 2)
    assert line == (
        "equiderm: train dcgan: not in train.use (diffusion, gan), so no stage trains it; add it there, "
        "and `dcgan: {}` under train, in params.yaml"
    )
    edit(workspace, "use: [diffusion, gan]", "use: [gan]")
    line = one_line(equiderm(workspace, "build"), 2)
    assert line == (
        "equiderm: params.yaml: produce.generator: got 'diffusion', train.use is gan; nothing would train it; add it to train.use"
    )
    edit(workspace, "  use: [gan]\n", "")
    line = one_line(equiderm(workspace, "build"), 2)
    assert line == "equiderm: params.yaml: no train.use; dvc.yaml names stages and files by it; add it"
    assert not written(workspace)


def test_a_generator_in_use_is_a_stage_with_its_own_parameters(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace)
    from flows.checks import check_watched
    from flows.graph import Graph
    from schemas.errors import ParamsError
    from schemas.paths import Workspace

    edit(workspace, "use: [diffusion, gan]", "use: [diffusion, gan, stylegan2]")
    with pytest.raises(ParamsError, match=r"params\.yaml: no train\.stylegan2; dvc\.yaml tracks it"):
        check_watched(Graph(Workspace(workspace)))
    edit(workspace, "  gan: {", "  stylegan2: {}\n  gan: {")
    graph = Graph(Workspace(workspace))
    check_watched(graph)
    assert graph.order(["train"]) == ["train@diffusion", "train@gan", "train@stylegan2"]


def test_server_that_does_not_answer(workspace: Path) -> None:
    from flows.server import Server
    from schemas.errors import UserError

    started = time.monotonic()
    with pytest.raises(
        UserError, match=r"PREFECT_API_URL is http://127.0.0.1:9/api: no answer in 0 s; start that server"
    ):
        Server("http://127.0.0.1:9/api", None, workspace).wait(patience=0.2)
    assert time.monotonic() - started < 5


def test_phantoms_are_drawn_without_a_workspace(tmp_path: Path) -> None:
    def draw(name: str) -> dict[str, bytes]:
        arguments = ["phantom", "--count", "6", "--seed", "3", "--out", str(tmp_path / name), "--json"]
        code = "from flows.cli import main; main()"
        said = subprocess.check_output([sys.executable, "-c", code, *arguments], cwd=tmp_path, text=True)
        assert json.loads(said)["count"] == 6
        return {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}

    first = draw("a")
    assert len(first) == 8
    assert first == draw("b")
