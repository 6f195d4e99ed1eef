"""One build at a time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flows.lock import hold
from schemas.errors import WorkspaceError
from schemas.paths import Workspace


def test_second_holder_is_told_who_holds_it(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with hold(workspace), pytest.raises(WorkspaceError) as caught, hold(workspace):
        pass
    said = rf"another build \(pid {os.getpid()}, since \d\d:\d\d\) is at work in this workspace; wait for it or stop it"
    assert re.fullmatch(said, str(caught.value))


def test_free_again_afterwards(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    for _ in range(2):
        with hold(workspace):
            pass


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from flows.lock import hold; from schemas.paths import Workspace\n"
        "with hold(Workspace(Path(sys.argv[1]))): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert "pid" in (tmp_path / ".equiderm/build.lock").read_text()
    with hold(Workspace(tmp_path)):
        pass
