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
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from mlops.base.errors import LocalStackError
from mlops_local.base import paths, processes
from mlops_local.pipelines import ci_file as ci_files
from mlops_local.pipelines import evaluator, include_inputs, job_environment
from mlops_local.pipelines.trigger_jobs import TriggerJob, matrix_of, of_job

STATE = ".gitlab-ci-local"

_ALWAYS = (
    "--force-shell-executor",
    "--shell-isolation",
    "--no-color",
    "--no-artifacts-to-source",
    "--max-job-name-padding=0",
)
# What the overlay sets for each job, over the program's own values.
_OF_A_JOB = ("CI_JOB_ID", "CI_JOB_TOKEN", "CI_JOB_URL", "CI_PROJECT_DIR", "CI_BUILDS_DIR")
# Not handed from the caller's shell to jobs: another pipeline's facts, other accounts, other interpreters,
# and where the caller's own settings and keys are.
_WITHHELD = re.compile(
    r"(AWS|CI|GCL|GIT|GITLAB|MLOPS|PYTEST|PYTHON|VIRTUAL_ENV|CONDA|COVERAGE|SSH)(_.*)?|PYTHON.*|CI_.*"
    r"|XDG_.*_HOME"
)
# Jobs of our own that stand for rules of something else.
_WORKFLOW, _INCLUDE = "mlops-workflow-rules", "mlops-include-rules"
_DEPLOYS = re.compile(r"^\s*(\w+=\S*\s+)*mlops\s+deploy\s", re.MULTILINE)
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
    base: str = ""
    """Its name in the CI file, where it is one of several parallels."""
    order: int = 0
    """Of its stage."""
    environment: str = ""
    expire_in: str = ""
    """How long its artifacts are kept, as the CI file says it."""
    trigger: TriggerJob | None = None
    deploys: bool = False
    """Whether it puts a model into production, as the job of our deploy template does, whatever its name."""

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
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """Those of the pipeline."""
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Those of all jobs."""

    def artifacts(self, job: str) -> Path:
        """The folder with what a job left for later ones."""
        return self.folder / STATE / "artifacts" / safe_name(job)

    def log(self, job: str) -> Path:
        """The file with a job's output."""
        return self.folder / STATE / "output" / f"{safe_name(job)}.log"

    def includes(self, host: str, project: str, ref: str) -> Path:
        """Where files included from a project are looked for before they are fetched."""
        return self.folder / STATE / "includes" / host / project / ref

    def build(self, job: str) -> Path:
        """The folder a job runs in."""
        return self.folder / STATE / "builds" / safe_name(job)

    def environment(self, job: str) -> dict[str, str]:
        """The variables by which a job finds what stands for its image; parallels of a job share it."""
        found = job_environment.prepare(self.folder.parent / "jobs" / safe_name(job), self.tools)
        return {name: literal(value) for name, value in found.items()}


def plan(checkout: Checkout) -> list[PlannedJob]:
    """The jobs that the rules leave in this pipeline; includes are fetched on the way.

    gitlab-ci-local evaluates the rules of jobs only, so those of `workflow` are given to it as a job's.

    Raises:
        NoPipelineError: when the rules of `workflow` let no pipeline be.
        LocalStackError: when GitLab refuses the CI file, or the local GitLab does not play it.
        PrerequisiteError: when a program is missing.
    """
    ci_file = preview(checkout)
    _check_includes(checkout)
    ci_files.check(ci_file)
    workflow = ci_files.workflow_rules(ci_file)
    probes = {_WORKFLOW: workflow} if workflow else {}
    documents = _listed(checkout, probes, ci_file.get("variables") or {})
    if workflow and not any(one["name"] == _WORKFLOW for one in documents):
        raise ci_files.NoPipelineError(ci_files.FILTERED)
    documents = [one for one in documents if one["name"] != _WORKFLOW]
    jobs = [_completed(_planned(document), ci_file) for document in documents]
    ci_files.check_needs(
        {
            one["name"]: [need["job"] for need in one.get("needs") or () if not need.get("optional")]
            for one in documents
        },
        [name for job in jobs for name in (job.name, job.base)],
    )
    ci_files.check_children({job.name: ci_file.get(job.base or job.name, {}) for job in jobs})
    return jobs


def _listed(
    checkout: Checkout, probes: Mapping[str, Any], variables: Mapping[str, Any], *, alone: bool = False
) -> list[dict[str, Any]]:
    """The jobs that rules leave in the pipeline, those of `probes` by name among them, or `alone`."""
    overlay: dict[str, Any] = {
        name: {"stage": ".pre", "script": ["true"], "rules": rules, "variables": variables}
        for name, rules in probes.items()
    }
    if alone:
        overlay["include"] = []
    # The whole file was validated before; keys that only `workflow` knows are none of a job's.
    done = _ask(checkout, "--list-json", "--no-json-schema-validation", overlay=overlay)
    # A warning may stand before the list, which begins on a line of its own.
    begin = re.search(r"^\[\]?$", done.stdout, re.MULTILINE)
    documents = json.loads(done.stdout[begin.start() :]) if begin else []
    return [document for document in documents if document["when"] != "never"]


def _check_includes(checkout: Checkout) -> None:
    """Refuse inputs that an included file does not declare, where the include's own rules let it in.

    Raises:
        LocalStackError: in GitLab's words.
    """
    found = include_inputs.problems(
        checkout.folder, checkout.folder / STATE / "includes", checkout.inputs, checkout.variables
    )
    rules = {f"{_INCLUDE}-{number}": one for number, one in enumerate(include_inputs.all_rules(found))}
    # Rules of an include know no variables of the CI file.
    let_in = {one["name"] for one in _listed(checkout, rules, {}, alone=True)} if rules else set()
    passed = [one for name, one in rules.items() if name in let_in]
    texts = [problem.text for problem in found if all(one in passed for one in problem.rules)]
    if texts:
        raise ci_files.invalid("\n".join(dict.fromkeys(texts)))


def waiting(jobs: Sequence[PlannedJob]) -> frozenset[str]:
    """The jobs that a first run leaves out: trigger jobs, what comes after, what needs a manual job."""
    found = {job.name for job in jobs if job.trigger and job.when != "manual"}
    while True:
        more = {
            job.name
            for job in jobs
            if job.name not in found
            and job.when != "manual"
            and any(one.name in found for one in predecessors(job, jobs))
        }
        if not more:
            return frozenset(found) | behind_manual(jobs)
        found |= more


def predecessors(job: PlannedJob, jobs: Sequence[PlannedJob]) -> list[PlannedJob]:
    """What a job waits for: what it needs, or else all of the stages before its own."""
    if job.needs is None:
        return [one for one in jobs if one.order < job.order]
    return [one for one in jobs if one.name in job.needs or one.base in job.needs]


def behind_manual(jobs: Sequence[PlannedJob]) -> frozenset[str]:
    """The jobs that need a manual one, if only through others; gitlab-ci-local refuses a pipeline with such.

    GitLab skips them until a person has started the manual job:
    https://docs.gitlab.com/ci/jobs/job_control/#types-of-manual-jobs
    """
    behind: set[str] = set()
    manual = {job.name for job in jobs if job.when == "manual"}
    while True:
        more = {
            job.name
            for job in jobs
            if job.when != "manual"
            and job.name not in behind
            and (manual | behind).intersection(job.needs or ())
        }
        if not more:
            return frozenset(behind)
        behind |= more


@dataclass(frozen=True, kw_only=True)
class CiRun:
    """A run of the pipeline, or of `only` one job of it.

    `overlay` holds what to change in jobs, by the job's name; lists are replaced.
    """

    checkout: Checkout
    jobs: Sequence[PlannedJob]
    overlay: Mapping[str, Any]
    only: str = ""

    def events(self, echo: Callable[[str], None], limit_seconds: float) -> Iterator[Event]:
        """Run it, and yield what happens while it happens; `echo` gets every line of output.

        Raises:
            LocalStackError: when gitlab-ci-local itself failed, or the time was up.
        """
        last: deque[str] = deque(maxlen=20)
        started: dict[str, float] = {}
        expired = threading.Event()
        with self._start() as process:

            def stop() -> None:
                expired.set()
                processes.stop_group(process.pid)  # which closes the pipe, and ends the loop below

            timer = threading.Timer(limit_seconds, stop)
            timer.start()
            try:
                for line in process.stdout or ():
                    text = line.rstrip("\n")
                    echo(text)
                    last.append(text)
                    event = _event(text, self.jobs, started)
                    # A job that a signal ended is reported with exit code 0.
                    if event and not expired.is_set():
                        yield event
            except BaseException:
                processes.stop_group(process.pid)  # interrupted: no job outlives its pipeline
                raise
            finally:
                timer.cancel()
                timer.join()  # gitlab-ci-local ends before its jobs have tidied up
        if expired.is_set():
            raise LocalStackError(f"The pipeline did not end within {limit_seconds:.0f} s, and was stopped")
        if process.returncode not in (0, 1) or (process.returncode == 1 and not started):
            raise LocalStackError("gitlab-ci-local failed", cause="\n".join(last))

    def _start(self) -> subprocess.Popen[str]:
        name = f"{STATE}/pipeline.json"
        _write(self.checkout, name, self.overlay)
        # The plan was validated already.
        arguments = ("--no-json-schema-validation", *([self.only] if self.only else []))
        return subprocess.Popen(
            [*evaluator.program(), *_arguments(self.checkout, *arguments, file=name)],
            cwd=self.checkout.folder,
            env=_environment(self.checkout),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )


def check_out(
    folder: Path,
    variables: Mapping[str, str],
    tools: tuple[Path, ...],
    inputs: Mapping[str, Any] | None = None,
) -> Checkout:
    """The clone in `folder`/source, and its variables where only this user reads them."""
    file = folder / "variables.json"
    document = {
        name: {"type": "variable", "values": {"*": literal(value)}} for name, value in variables.items()
    }
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as sink:
        json.dump(document, sink)
    return Checkout(
        folder=folder / "source",
        variables_file=file,
        tools=tools,
        ignored=(*variables, *_OF_A_JOB),
        unset=tuple(name for name, value in variables.items() if not value),
        inputs=inputs or {},
        variables=variables,
    )


def literal(value: str) -> str:
    """A value that the expansion of variables leaves as it is."""
    return value.replace("$", "$$")


def safe_name(job: str) -> str:
    """The name of a job in paths: other characters than letters, digits, _ and - in base64."""

    def encode(match: re.Match[str]) -> str:
        return base64.urlsafe_b64encode(match[0].encode()).decode().rstrip("=")

    return re.sub(r"[^A-Za-z0-9_-]+", encode, job)


def _ask(checkout: Checkout, *question: str, overlay: Mapping[str, Any] | None = None) -> evaluator.Answer:
    """What gitlab-ci-local says of the CI file.

    Raises:
        LocalStackError: when the file is not valid, with the reason.
    """
    file = ".gitlab-ci.yml"
    if checkout.inputs or overlay:
        file = f"{STATE}/plan.json"
        _write(checkout, file, overlay or {})
    done = evaluator.evaluate(
        checkout.folder, _environment(checkout), _arguments(checkout, *question, file=file)
    )
    if done.code:
        raise ci_files.invalid(done.stderr.strip())
    return done


def preview(checkout: Checkout) -> dict[str, Any]:
    """The whole CI file, with what it includes.

    Raises:
        LocalStackError: when the CI file is not valid.
    """
    text = _ask(checkout, "--preview").stdout
    begin = re.search(r"^---$", text, re.MULTILINE)
    return (yaml.load(text[begin.end() :], yaml.CSafeLoader) if begin else None) or {}


def _write(checkout: Checkout, name: str, overlay: Mapping[str, Any]) -> None:
    """A CI file that is the repository's own, with its inputs and what is changed in jobs; JSON is YAML."""
    include = {"local": "/.gitlab-ci.yml", **({"inputs": dict(checkout.inputs)} if checkout.inputs else {})}
    file = checkout.folder / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"include": [include], **overlay}), encoding="utf-8")


def _completed(job: PlannedJob, ci_file: Mapping[str, Any]) -> PlannedJob:
    """A job with what only the whole CI file says of it."""
    base, matrix = job.name, {}
    if job.name not in ci_file:
        for name, document in ci_file.items():
            found = (
                matrix_of(job.name, name, document.get("parallel")) if isinstance(document, dict) else None
            )
            if found is not None:
                base, matrix = name, found
    document = ci_file.get(base, {})
    environment = document.get("environment") or ""
    trigger = of_job(document, ci_file.get("variables") or {}, matrix)
    return replace(
        job,
        # GitLab's name, where gitlab-ci-local will not speak of the job.
        name=f"{base}: [{', '.join(matrix.values())}]" if trigger and matrix else job.name,
        base="" if base == job.name else base,
        may_fail=job.may_fail and document.get("allow_failure") is not False,
        order=(ci_file.get("stages") or [job.stage]).index(job.stage),
        environment=environment.get("name", "") if isinstance(environment, dict) else str(environment),
        expire_in=str((document.get("artifacts") or {}).get("expire_in") or ""),
        trigger=trigger,
        deploys=any(_DEPLOYS.search(str(line)) for line in document.get("script") or ()),
    )


def _planned(document: Mapping[str, Any]) -> PlannedJob:
    tolerated = document["allow_failure"]
    codes = tolerated["exit_codes"] if isinstance(tolerated, dict) else []
    needs = document.get("needs")
    # https://docs.gitlab.com/ci/yaml/#allow_failure: true if a job is manual, and not by its rules.
    optional = document["when"] == "manual" and "rules" not in document
    return PlannedJob(
        name=document["name"],
        stage=document["stage"],
        when=document["when"],
        may_fail=tolerated is True or optional,
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


def _arguments(checkout: Checkout, *arguments: str, file: str) -> list[str]:
    return [
        *_ALWAYS,
        f"--file={file}",
        f"--home={checkout.variables_file.parent}",
        f"--variables-file={checkout.variables_file}",
        f"--ignore-predefined-vars={','.join(checkout.ignored)}",
        *(f"--unset-variable={name}" for name in checkout.unset),
        *arguments,
    ]


def _environment(checkout: Checkout) -> dict[str, str]:
    """What jobs inherit from the caller: enough to find programs and package indexes."""
    variables = {name: value for name, value in os.environ.items() if not _WITHHELD.fullmatch(name)}
    variables["PATH"] = job_environment.search_path(checkout.tools)
    for name in ("NO_PROXY", "no_proxy"):
        variables[name] = ",".join(filter(None, ("127.0.0.1", "localhost", variables.get(name, ""))))
    # Saves a quarter of the start: https://nodejs.org/api/module.html#module-compile-cache
    variables["NODE_COMPILE_CACHE"] = str(paths.cache() / "node")
    return variables
