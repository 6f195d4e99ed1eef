"""Work that hangs is told, and ended."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tasks.deadline import HUNG, deadline

ROOT = Path(__file__).resolve().parents[2]


def test_a_worker_process_that_hangs_ends_itself() -> None:
    code = "import time\nfrom tasks.deadline import deadline\nwith deadline(0.5, 'block x', process=True):\n  time.sleep(60)"
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == HUNG
    assert done.stderr == "block x: not done after 0.5 s; this worker ends itself\n"
    assert time.monotonic() - begun < 50


def test_a_thread_that_hangs_gets_an_error() -> None:
    caught: list[BaseException] = []

    def work() -> None:
        try:
            with deadline(0.3, "block x", process=False):
                while True:
                    time.sleep(0.01)
        except TimeoutError as error:
            caught.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(20)
    assert str(caught[0]).startswith("block x: not done after 0.3 s; find out")


@pytest.mark.parametrize("process", [False, True])
def test_work_in_time_is_left_alone(process: bool) -> None:
    for seconds in (None, 0.2):
        with deadline(seconds, "block x", process=process):
            pass
    time.sleep(0.4)
