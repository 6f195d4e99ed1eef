"""What a parent starts ends with it, also when it is killed outright."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PARENT = """
import subprocess, sys, time
from flows.lifeline import held
with held():
    child = subprocess.Popen([sys.executable, "-c", '''
import time
from flows.lifeline import follow_build
follow_build()
print("following", flush=True)
time.sleep(60)
'''])
    print(child.pid, flush=True)
    time.sleep(60)
"""


def gone(pid: int) -> bool:
    """No such process, or one that has ended and that nobody has asked about yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_until_gone(pid: int, seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if gone(pid):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks processes up in /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_child_ends_with_its_parent(how: signal.Signals) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    said = {parent.stdout.readline().strip(), parent.stdout.readline().strip()}
    child = int(next(word for word in said if word.isdigit()))
    assert "following" in said
    assert not gone(child)
    parent.send_signal(how)
    parent.wait()
    assert wait_until_gone(child)


def test_without_a_build_nothing_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    from flows import lifeline

    monkeypatch.delenv(lifeline.VARIABLE, raising=False)
    lifeline.follow_build()


def test_environment_is_as_before_when_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    from flows import lifeline

    monkeypatch.setenv(lifeline.VARIABLE, "outer")
    with lifeline.held():
        pipe = Path(os.environ[lifeline.VARIABLE])
        assert pipe.is_fifo()
    assert os.environ[lifeline.VARIABLE] == "outer"
    assert not pipe.exists()
