"""What is known of the jobs of a running pipeline, kept where the local GitLab shows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mlops.local import gitlab_ci_local as engine
from mlops.local.gitlab import pipelines
from mlops.local.gitlab.users import JOB_TOKEN

State = Literal["success", "failed", "warning", "manual", "skipped", "canceled"]

_STATUSES: dict[State, pipelines.Status] = {
    "success": "success",
    "failed": "failed",
    "warning": "failed",
    "manual": "manual",
    "skipped": "skipped",
    "canceled": "canceled",
}


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """How a job ended. A warning is a failure that the template allows."""

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
        pipeline: pipelines.Pipeline,
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
        self._show()

    def overlay(self, server: str, id_token: Callable[[str], str] | None = None) -> dict[str, dict[str, Any]]:
        """What differs for each job: its own variables; caches and services are the machine's.

        Args:
            server: GitLab's URL.
            id_token: The token of a job, by the job's id; gitlab-ci-local knows no `id_tokens`.
        """
        return {
            job.name: {
                "services": [],
                "cache": [],
                "variables": {
                    "CI_JOB_ID": str(self._id(position)),
                    "CI_JOB_TOKEN": f"{JOB_TOKEN}-{self._id(position)}",
                    "CI_JOB_URL": f"{server}/{self._pipeline.project_path}/-/jobs/{self._id(position)}",
                    "CI_PROJECT_DIR": engine.literal(str(self._checkout.build(job.name))),
                    "CI_BUILDS_DIR": engine.literal(str(self._checkout.build(job.name).parent)),
                    **({"MLOPS_ID_TOKEN": id_token(str(self._id(position)))} if id_token else {}),
                },
            }
            for position, job in enumerate(self._planned)
        }

    def note(self, event: engine.Event) -> None:
        """Take in that a job started or ended."""
        if event.exit_code is None:
            self._running.add(event.job)
        else:
            self._running.discard(event.job)
            self._codes[event.job] = event.exit_code
            self._seconds[event.job] = event.seconds
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
        """A job behind a manual one that may run now; empty when there is none."""
        for job in self._planned:
            if (
                job.name in engine.behind_manual(self._planned)
                and self._states.get(job.name, "skipped") == "skipped"
                and all(
                    self._states.get(name, "success") in ("success", "warning") for name in job.needs or ()
                )
            ):
                return job.name
        return ""

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
            if self._states.get(job.name, "manual") in ("manual", "skipped"):
                held_back = broken.intersection(job.needs or ())
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

    def _show(self) -> None:
        jobs = []
        for position, job in enumerate(self._planned):
            state = self._states.get(job.name)
            status: pipelines.Status = _STATUSES[state] if state else "created"
            jobs.append(
                pipelines.Job(
                    id=self._id(position),
                    name=job.name,
                    stage=job.stage,
                    status="running" if job.name in self._running else status,
                    # GitLab answers for `exit_codes` what the code made of it.
                    allow_failure=job.may_fail or state == "warning",
                    exit_code=self._codes.get(job.name),
                    seconds=self._seconds.get(job.name),
                    log=str(self._checkout.log(job.name)),
                )
            )
        pipelines.save_jobs(self._home, self._pipeline, jobs)


def _dotenv(artifacts: Path) -> dict[str, str]:
    """The variables a job reported; gitlab-ci-local keeps the file apart from the other artifacts."""
    variables = {}
    for file in sorted((artifacts / ".gitlab-ci-reports" / "dotenv").rglob("*")):
        if file.is_file():
            for line in file.read_text(encoding="utf-8").splitlines():
                name, _, value = line.partition("=")
                variables[name] = value
    return variables
