"""The pipelines of the local GitLab. The process that runs one writes them; the server shows them.

Statuses are GitLab's own words: https://docs.gitlab.com/api/jobs/
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from mlops.base.strict_json import decode, encode
from mlops_local.gitlab import records
from mlops_local.gitlab.projects import LocalProject

Status = Literal["created", "running", "success", "failed", "canceled", "skipped", "manual"]

_ALL_OF: tuple[tuple[set[Status], Status], ...] = (
    ({"success", "skipped"}, "success"),
    ({"created"}, "created"),
    ({"canceled", "success", "skipped"}, "canceled"),
)
_ANY_OF: tuple[tuple[Status, Status], ...] = (
    ("running", "running"),
    ("manual", "manual"),
    ("created", "running"),
)

_FILE = "pipelines.json"
# Job ids of a pipeline are its own id and a running number: unique, and they count up as GitLab's do.
_JOBS_OF_A_PIPELINE = 1000


@dataclass(frozen=True, kw_only=True)
class PipelineJob:
    """A job; `seconds`, `exit_code` and `finished_at` are known once it ended."""

    id: int
    name: str
    stage: str
    status: Status = "created"
    allow_failure: bool = False
    exit_code: int | None = None
    seconds: float | None = None
    finished_at: str = ""
    log: str = ""
    """The file its output goes to."""
    artifacts: str = ""
    """The folder with the files it left."""
    artifacts_expire_at: str = ""
    """When GitLab deletes them; empty for never."""
    trigger: bool = False
    """Whether it is a trigger job, which GitLab calls a bridge."""
    downstream: int = 0
    """The pipeline that a trigger job started."""


@dataclass(frozen=True, kw_only=True)
class StoredPipeline:
    """A pipeline; `id` counts over all projects, `iid` in its own."""

    id: int
    iid: int
    project_id: int
    project_path: str
    ref: str
    sha: str
    source: str
    tag: bool = False
    created_at: str
    user: str = "local"
    upstream: int = 0
    """The trigger job that started it."""
    jobs: tuple[PipelineJob, ...] = ()
    yaml_errors: str = ""
    """Why GitLab could make no jobs of the CI file; such a pipeline has failed."""
    filtered: bool = False
    """Whether rules let no pipeline be; the record only says that there was a push."""

    @property
    def status(self) -> Status:
        """What GitLab makes of its jobs: a job that may fail counts for nothing where it failed or waits.

        The order is that of `lib/gitlab/ci/status/composite.rb`: a manual job that must run holds it.
        """
        states: set[Status] = {
            job.status
            for job in self.jobs
            if not (job.allow_failure and job.status in ("failed", "canceled", "manual"))
        }
        warned = any(job.allow_failure and job.status in ("failed", "canceled") for job in self.jobs)
        if not self.jobs:
            return "failed" if self.yaml_errors else "created"
        if states <= {"skipped"}:
            return "success" if warned else "skipped"
        for only, status in _ALL_OF:
            if states <= only:
                return status
        return next((status for one, status in _ANY_OF if one in states), "failed")


def create(  # pylint: disable=too-many-arguments  # a pipeline has as many facts
    home: Path,
    project: LocalProject,
    *,
    ref: str,
    sha: str,
    source: str,
    tag: bool,
    created_at: str,
    user: str = "local",
    upstream: int = 0,
) -> StoredPipeline:
    """A new pipeline without jobs, with the next numbers."""
    with records.edit(home / _FILE) as documents:
        pipeline = StoredPipeline(
            id=1 + max((int(number) for number in documents), default=0),
            iid=1 + sum(one["project_id"] == project.id for one in documents.values()),
            project_id=project.id,
            project_path=project.path,
            ref=ref,
            sha=sha,
            source=source,
            tag=tag,
            created_at=created_at,
            user=user,
            upstream=upstream,
        )
        documents[str(pipeline.id)] = encode(pipeline)
    return pipeline


def job_id(pipeline_id: int, position: int) -> int:
    """The number of the job at this position of its pipeline, from 0."""
    return pipeline_id * _JOBS_OF_A_PIPELINE + position + 1


def save_jobs(home: Path, pipeline: StoredPipeline, jobs: Sequence[PipelineJob]) -> StoredPipeline:
    """Write how the jobs are doing."""
    changed = replace(pipeline, jobs=tuple(jobs))
    with records.edit(home / _FILE) as documents:
        documents[str(pipeline.id)] = encode(changed)
    return changed


def close(home: Path, pipeline: StoredPipeline, yaml_errors: str = "") -> None:
    """Write that a pipeline has no jobs: for errors in the CI file, or because rules let no pipeline be.

    GitLab keeps the first with its errors, and makes none of the second:
    `lib/gitlab/ci/pipeline/chain/helpers.rb`, `drop_pipeline!`.
    """
    with records.edit(home / _FILE) as documents:
        documents[str(pipeline.id)] = encode(
            replace(pipeline, yaml_errors=yaml_errors, filtered=not yaml_errors)
        )


def find(home: Path, pipeline_id: int) -> StoredPipeline | None:
    """The pipeline of that number."""
    document = records.read(home / _FILE).get(str(pipeline_id))
    if document is None or document.get("filtered"):
        return None
    return decode(StoredPipeline, document, f"pipeline {pipeline_id}")


def of_project(home: Path, project: LocalProject) -> list[StoredPipeline]:
    """The pipelines of a project, the newest first."""
    found = [
        decode(StoredPipeline, document, f"pipeline {number}")
        for number, document in records.read(home / _FILE).items()
        if document["project_id"] == project.id and not document.get("filtered")
    ]
    return sorted(found, key=lambda pipeline: pipeline.id, reverse=True)


def of_commit(home: Path, project: LocalProject, sha: str) -> list[StoredPipeline]:
    """The pipelines of a commit in a project, the newest first."""
    return [pipeline for pipeline in of_project(home, project) if pipeline.sha == sha]


def pushed_before(home: Path, pipeline: StoredPipeline) -> str:
    """The commit of the push before to the same branch, which may have had no pipeline; empty without one."""
    facts = {"project_id": pipeline.project_id, "ref": pipeline.ref, "source": "push", "tag": False}
    older = {
        int(number): str(document["sha"])
        for number, document in records.read(home / _FILE).items()
        if int(number) < pipeline.id and facts.items() <= document.items()
    }
    return older[max(older)] if older else ""


def find_by_job(home: Path, wanted: int) -> tuple[StoredPipeline, PipelineJob] | None:
    """The job of that number, and its pipeline."""
    pipeline = find(home, wanted // _JOBS_OF_A_PIPELINE)
    job = next((job for job in pipeline.jobs if job.id == wanted), None) if pipeline else None
    return (pipeline, job) if pipeline and job else None
