"""Speed beside the alternatives, as medians and ratios of one run.

    python -m bench                all of it
    python -m bench next_version   one of it

Needs what `make bench` sets up.
"""

from __future__ import annotations

import importlib
import os
import platform
import sys
import tempfile
from pathlib import Path

from bench.measure import show

BENCHMARKS = ("help", "next_version", "nothing_to_do", "retrain", "push")


def main(wanted: list[str]) -> int:
    """1 when a limit was not kept."""
    unknown = set(wanted) - set(BENCHMARKS)
    if unknown:
        sys.exit(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    print(f"Python {platform.python_version()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    failures: list[str] = []
    for name in wanted or BENCHMARKS:
        with tempfile.TemporaryDirectory(prefix="mlops-bench-") as folder:
            table = importlib.import_module(f"bench.{name}").measure(Path(folder))
        show(table)
        failures += table.failures
    for failure in failures:
        print(f"\n✗ {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
