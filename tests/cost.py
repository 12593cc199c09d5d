"""What a run of tests cost, by folder: the wall that its tests took, and the CPU time of all their processes.

`--cost FILE` writes the same as JSON, from which `python -m tests.cost FILE` renews the table of
`docs/contribute/testing.md`.
"""

from __future__ import annotations

import json
import re
import resource
import sys
import time
from collections.abc import Generator
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from tests import folders
from tests.ending import ORPHANS

PAGE = Path(__file__).parents[1] / "docs" / "contribute" / "testing.md"

# What ended after its test, and was started without the environment of one: the servers of stacks.
UNKNOWN = "(unknown)"

# Files that are shown after the folders.
_DEAREST = 20

_PROPERTY = "cpu_seconds"
_ROW = re.compile(
    r"^(?P<start>\| (?P<folder>tests/\S+|\(unknown\)|the run) \| [^|]*\|) [\d,]+ \| [\d,]+ \| [\d,]+ \|$",
    re.MULTILINE,
)


@dataclass
class Cost:
    """Seconds; those of tests that run side by side add up to more than the run took."""

    tests: int = 0
    wall: float = 0.0
    cpu: float = 0.0


class Meter:
    """Adds up what tests report."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.files: dict[str, Cost] = {}

    def add(self, report: pytest.TestReport) -> None:
        """Take in one phase of one test."""
        file = report.nodeid.partition("::")[0]
        cost = self.files.setdefault(file, Cost())
        cost.tests += report.when == "call" or (report.when == "setup" and not report.passed)
        cost.wall += report.duration
        cost.cpu += float(str(dict(report.user_properties).get(_PROPERTY, 0.0)))

    def all(self) -> dict[str, Cost]:
        """By folder, the dearest first; servers that tests left to the first process belong to their folder."""
        costs: dict[str, Cost] = {}
        for file, one in self.files.items():
            cost = costs.setdefault(folders.of(file), Cost())
            cost.tests += one.tests
            cost.wall += one.wall
            cost.cpu += one.cpu
        for folder, seconds in ORPHANS.cpu.items():
            costs.setdefault(folder or UNKNOWN, Cost()).cpu += seconds
        return dict(sorted(costs.items(), key=lambda entry: -entry[1].cpu))


METER = Meter()
_spent = 0.0


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--cost FILE`."""
    parser.addoption(
        "--cost", type=Path, metavar="FILE", help="write what each folder of tests cost, as JSON"
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to a report what this process and its children have used since the last one."""
    global _spent  # of the process, as the clock is
    report = yield
    spent = sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )
    report.user_properties = [*report.user_properties, (_PROPERTY, spent - _spent)]
    _spent = spent
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Take in what a test reports, whichever process ran it."""
    METER.add(report)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table."""
    costs, wall = METER.all(), time.monotonic() - METER.began
    total = Cost(sum(one.tests for one in costs.values()), wall, sum(one.cpu for one in costs.values()))
    dear = sorted(METER.files.items(), key=lambda entry: -entry[1].cpu)[:_DEAREST]
    width = max(map(len, (*costs, *(file for file, _ in dear))), default=0)

    def show(name: str, cost: Cost) -> None:
        terminalreporter.write_line(f"{name:{width}}  {cost.tests:5}  {cost.wall:6.0f}  {cost.cpu:6.0f}")

    terminalreporter.section("wall and CPU seconds by folder")
    terminalreporter.write_line(f"{'':{width}}  tests    wall     CPU")
    for name, cost in (*costs.items(), ("the run", total)):
        show(name, cost)
    if len(METER.files) > _DEAREST:
        terminalreporter.section("the dearest files")
        for name, cost in dear:
            show(name, cost)
    if file := config.getoption("--cost"):
        file.write_text(
            json.dumps({name: asdict(cost) for name, cost in {**costs, "the run": total}.items()}, indent=2)
            + "\n",
            encoding="utf-8",
        )


def renewed(page: str, costs: dict[str, Cost]) -> str:
    """The page with the figures of a run in the table of folders.

    Raises:
        ValueError: when the table and the run have different folders.
    """
    rows = {match["folder"] for match in _ROW.finditer(page)}
    if rows != set(costs):
        raise ValueError(f"in the table or in the run alone: {', '.join(sorted(rows ^ set(costs)))}")

    def row(match: re.Match[str]) -> str:
        cost = costs[match["folder"]]
        return f"{match['start']} {cost.tests:,} | {cost.cpu:,.0f} | {cost.wall:,.0f} |"

    return _ROW.sub(row, page)


if __name__ == "__main__":
    document = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    PAGE.write_text(
        renewed(PAGE.read_text(encoding="utf-8"), {name: Cost(**cost) for name, cost in document.items()}),
        encoding="utf-8",
    )
