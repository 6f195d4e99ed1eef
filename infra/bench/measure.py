"""Run `make bench`: what the project claims of speed and memory, both sides in one run, medians, as ratios.

    python infra/bench/measure.py                  everything (about 100 minutes on 2 quiet cores, 40 of them fairness)
    python infra/bench/measure.py ingest sampling  some of the parts below

Prints one JSON object a part and writes bench/out/<part>.json. Absolute figures depend on the machine; the ratios less.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from importlib import import_module
from pathlib import Path

PARTS = (
    "phantoms",
    "ingest",
    "dedupe",
    "strata",
    "tone",
    "constancy",
    "tone_on_pad",
    "gates",
    "training",
    "sampling",
    "quality",
    "shortcuts",
    "produce",
    "fairness",
    "photos",
    "plan",
    "status",
    "build",
)


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="default: all")
    parser.add_argument(
        "--repeats", type=int, default=3, help="runs of each side; the median counts (default %(default)s)"
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="real datasets (default %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("bench/out"), help="folder of the results (default %(default)s)"
    )
    args = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))
    args.out.mkdir(parents=True, exist_ok=True)
    for part in args.parts or PARTS:
        result = {"part": part, "python": platform.python_version(), **import_module(f"of_{part}").measure(args)}
        text = json.dumps(result, indent=2)
        (args.out / f"{part}.json").write_text(text + "\n", encoding="utf-8")
        print(text, flush=True)


if __name__ == "__main__":
    main()
