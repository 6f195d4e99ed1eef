"""The bench of planted defects, small: every copy in every pose is refused, and good images mostly are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.ledger import GATES
from schemas.paths import Workspace

ROOT = Path(__file__).resolve().parents[2]


def test_planted_defects_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "infra/bench"))
    import of_gates
    import planted

    monkeypatch.setattr(planted, "MOST", 12)
    source = {**of_gates.SOURCES["phantom"], "count": 180}
    found = of_gates.measure_source(Workspace(tmp_path), "phantom", source)
    gates = found["gates"]
    assert list(gates) == list(GATES)
    assert all(gates[gate]["recall"] == 1 for gate in ("decodable", "blank", "copy", "duplicate"))
    assert gates["tone"]["recall"] >= 0.95
    assert gates["tone_probe"]["recall"] >= 0.9
    assert gates["lesion"]["recall"] >= 0.85
    copies = {name: row["recall"] for name, row in found["copies"].items()}
    assert {f"copy, pose {pose}" for pose in range(8)} <= set(copies)
    assert min(copies[name] for name in copies if "swapped" not in name and "inverted" not in name) >= 0.95
    assert found["strangers"]["noise 60"]["any_gate"] >= 0.8
    for gate in ("decodable", "blank", "tone", "tone_probe", "outlier", "copy", "duplicate"):
        refused, good = gates[gate].get("good_refused", 0), gates[gate]["good"]
        assert refused <= 0.15 * good, gate
