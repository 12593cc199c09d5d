"""What is known of the jobs of a running pipeline, kept where the local GitLab shows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from mlops_local.gitlab import pipelines
from mlops_local.gitlab.durations import DEFAULT, duration
from mlops_local.gitlab.users import JOB_TOKEN
from mlops_local.pipelines import ci_file
from mlops_local.pipelines import gitlab_ci_local as engine
from mlops_local.pipelines.trigger_jobs import State
from mlops_local.pipelines.variables import of_environment

# Makes the token of a job, by its name and its id.
IdToken = Callable[[str, str], str]

_STATUSES: dict[State, pipelines.Status] = {
    "success": "success",
    "failed": "failed",
    "warning": "failed",
    "manual": "manual",
    "skipped": "skipped",
    "canceled": "canceled",
    "running": "running",
}
_ENDED: tuple[State, ...] = ("success", "failed", "warning", "canceled")


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """How a job ended. A warning is a failure that the template allows.

    A trigger job still runs when it depends on a pipeline that waits for a person.
    """

    name: str
    stage: str
    state: State
    exit_code: int | None
    seconds: float
    artifacts: Path
    log: Path
    variables: dict[str, str]
    """Its dotenv report."""


class JobBoard:
    """The jobs of one pipeline."""

    def __init__(
        self,
        home: Path,
        pipeline: pipelines.StoredPipeline,
        planned: Sequence[engine.PlannedJob],
        checkout: engine.Checkout,
        before: Sequence[JobResult] = (),
    ) -> None:
        self._home = home
        self._pipeline = pipeline
        self._planned = planned
        self._checkout = checkout
        self._states: dict[str, State] = {job.name: job.state for job in before}
        self._codes: dict[str, int | None] = {job.name: job.exit_code for job in before}
        self._seconds: dict[str, float] = {job.name: job.seconds for job in before}
        self._running: set[str] = set()
        self._finished: dict[str, str] = {job.name: job.finished_at for job in pipeline.jobs}
        self._downstream: dict[str, int] = {job.name: job.downstream for job in pipeline.jobs}
        self._waiting = engine.waiting(planned)
        # What was skipped because it waited is open again, once what it waited for has run.
        for name in self._waiting:
            if self._states.get(name) == "skipped":
                del self._states[name]
        self._show()

    def overlay(self, server: str, id_token: IdToken | None = None) -> dict[str, dict[str, Any]]:
        """What differs for each job: its own variables; caches and services are the machine's.

        Args:
            server: GitLab's URL.
            id_token: The token of a job, by its name in the CI file and its id, empty for a job that asks for
                none; gitlab-ci-local knows no `id_tokens`.
        """
        overlay: dict[str, dict[str, Any]] = {}
        for position, job in enumerate(self._planned):
            if job.trigger:
                overlay.setdefault(job.base or job.name, {})
                continue
            changed: dict[str, Any] = {"services": [], "cache": []}
            number = self._id(position)
            changed["variables"] = self._checkout.environment(job.base or job.name)
            token = id_token(job.name, str(number)) if id_token else ""
            if not job.base:  # the parallels of a job share their variables here
                changed["variables"] |= {
                    "CI_JOB_ID": str(number),
                    "CI_JOB_TOKEN": f"{JOB_TOKEN}-{number}",
                    "CI_JOB_URL": f"{server}/{self._pipeline.project_path}/-/jobs/{number}",
                    "CI_PROJECT_DIR": engine.literal(str(self._checkout.build(job.name))),
                    "CI_BUILDS_DIR": engine.literal(str(self._checkout.build(job.name).parent)),
                    **of_environment(self._pipeline.project_path, job.environment),
                    **({ci_file.ID_TOKEN: token} if token else {}),
                }
            overlay[job.base or job.name] = changed
        return overlay

    def note(self, event: engine.Event) -> None:
        """Take in that a job started or ended."""
        if event.exit_code is None:
            self._running.add(event.job)
        else:
            self._running.discard(event.job)
            self._codes[event.job] = event.exit_code
            self._seconds[event.job] = event.seconds
            self._finished[event.job] = _now()
            planned = next(job for job in self._planned if job.name == event.job)
            if event.exit_code == 0:
                self._states[event.job] = "success"
            else:
                self._states[event.job] = "warning" if planned.tolerates(event.exit_code) else "failed"
        self._show()

    def forgotten(self) -> list[str]:
        """The jobs for a failure that did not run although there was one.

        gitlab-ci-local takes any failure of a job with `allow_failure: exit_codes` for an allowed one.
        """
        if "failed" not in self._states.values():
            return []
        return [
            job.name for job in self._planned if job.when == "on_failure" and job.name not in self._states
        ]

    def released(self) -> str:
        """A job that waited and may run now; empty when there is none."""
        for job in self._planned:
            if job.name not in self._waiting or job.name in self._states:
                continue
            verdict = self._verdict(job)
            if verdict == "run":
                return job.name
            if verdict == "skip":
                self._states[job.name] = "skipped"
        return ""

    def triggers(self, name: str) -> None:
        """A trigger job starts its pipeline."""
        self._running.add(name)
        self._show()

    def triggered(self, name: str, state: State, seconds: float, downstream: int, text: str) -> None:
        """Take in how it goes with the pipeline that a trigger job started; 0 when it could not.

        Args:
            text: What GitLab shows of it, where other jobs have their output.
        """
        self._running.discard(name)
        job = self.planned(name)
        self._states[name] = "warning" if state == "failed" and job.may_fail else state
        self._seconds[name] = seconds
        self._finished[name] = _now() if state in _ENDED else ""
        self._downstream[name] = downstream
        log = self._checkout.log(name)
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(text, encoding="utf-8")
        self._show()

    def planned(self, name: str) -> engine.PlannedJob:
        """The job of that name."""
        return next(job for job in self._planned if job.name == name)

    def number(self, name: str) -> int:
        """The id of a job."""
        return next(self._id(position) for position, job in enumerate(self._planned) if job.name == name)

    def dotenv(self, name: str) -> dict[str, str]:
        """The variables that the jobs before one of them reported; of those it needs, where it says so."""
        before = engine.predecessors(self.planned(name), self._planned)
        return {
            key: value for job in before for key, value in _dotenv(self._checkout.artifacts(job.name)).items()
        }

    def _verdict(self, job: engine.PlannedJob) -> Literal["run", "skip", "wait"]:
        states: list[State | None] = []
        for one in engine.predecessors(job, self._planned):
            state = self._states.get(one.name, None if one.name in self._waiting else "skipped")
            if one.when == "manual" and one.name not in self._states:
                state = "manual"
            if state == "manual" and one.may_fail and job.needs is None:
                continue  # nobody has to click it
            states.append(state)
        if {None, "manual", "running"} & set(states):
            return "wait"
        failed = {"failed", "canceled"} & set(states)
        fits = not failed if job.needs is None else set(states) <= {"success", "warning"}
        return "run" if {"always": True, "on_failure": bool(failed)}.get(job.when, fits) else "skip"

    def cancel(self) -> None:
        """The pipeline was stopped: what ran, and what would have, is canceled."""
        for job in self._planned:
            if job.name in self._running or job.name not in self._states:
                self._states[job.name] = "canceled"
        self._running.clear()
        self._show()

    def finish(self) -> tuple[JobResult, ...]:
        """The results; whatever did not run was skipped, or waits for a person."""
        broken: set[str] = set()
        for job in self._planned:
            needed = {one.name for one in engine.predecessors(job, self._planned)} if job.needs else set()
            waits = self._states.get(job.name, "manual") in ("manual", "skipped")
            if waits and not self._downstream.get(job.name):
                held_back = broken & needed
                self._states[job.name] = "manual" if job.when == "manual" and not held_back else "skipped"
            if self._states[job.name] in ("failed", "skipped"):
                broken.add(job.name)
        self._show()
        return tuple(
            JobResult(
                name=job.name,
                stage=job.stage,
                state=self._states[job.name],
                exit_code=self._codes.get(job.name),
                seconds=round(self._seconds.get(job.name, 0.0), 2),
                artifacts=self._checkout.artifacts(job.name),
                log=self._checkout.log(job.name),
                variables=_dotenv(self._checkout.artifacts(job.name)),
            )
            for job in self._planned
        )

    def _id(self, position: int) -> int:
        return pipelines.job_id(self._pipeline.id, position)

    def _expires(self, job: engine.PlannedJob) -> str:
        finished, kept = self._finished.get(job.name, ""), duration(job.expire_in or DEFAULT)
        if not finished or kept is None:
            return ""
        return (datetime.fromisoformat(finished) + kept).isoformat(timespec="milliseconds")

    def _show(self) -> None:
        jobs = []
        for position, job in enumerate(self._planned):
            state = self._states.get(job.name)
            status: pipelines.Status = _STATUSES[state] if state else "created"
            jobs.append(
                pipelines.PipelineJob(
                    id=self._id(position),
                    name=job.name,
                    stage=job.stage,
                    status="running" if job.name in self._running else status,
                    # GitLab answers for `exit_codes` what the code made of it.
                    allow_failure=job.may_fail or state == "warning",
                    exit_code=self._codes.get(job.name),
                    seconds=self._seconds.get(job.name),
                    finished_at=self._finished.get(job.name, ""),
                    log=str(self._checkout.log(job.name)),
                    artifacts="" if job.trigger else str(self._checkout.artifacts(job.name)),
                    artifacts_expire_at=self._expires(job),
                    trigger=job.trigger is not None,
                    downstream=self._downstream.get(job.name, 0),
                )
            )
        pipelines.save_jobs(self._home, self._pipeline, jobs)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _dotenv(artifacts: Path) -> dict[str, str]:
    """The variables a job reported; gitlab-ci-local keeps the file apart from the other artifacts."""
    variables = {}
    for file in sorted((artifacts / ".gitlab-ci-reports" / "dotenv").rglob("*")):
        if file.is_file():
            for line in file.read_text(encoding="utf-8").splitlines():
                name, _, value = line.partition("=")
                variables[name] = value
    return variables
