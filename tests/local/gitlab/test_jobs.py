"""Job records, artifacts, trigger jobs and commit statuses, as python-gitlab reads and writes them.

https://docs.gitlab.com/api/jobs/, /api/job_artifacts/, /api/commits/
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import gitlab
import pytest
from gitlab.exceptions import GitlabAuthenticationError, GitlabCreateError, GitlabGetError, GitlabHttpError

from mlops.clients.gitlab.project import GitLabProject
from mlops_local.gitlab import pipelines, projects
from mlops_local.gitlab.pipelines import PipelineJob, StoredPipeline
from mlops_local.gitlab.projects import LocalProject, create_project
from mlops_local.gitlab.users import JOB_TOKEN, PROJECT_TOKEN
from mlops_local.stack.stack import Stack

UPSTREAM, DOWNSTREAM = "models/wine", "platform/ml-ops"
STATUS_KEYS = {
    "id", "sha", "ref", "status", "name", "target_url", "description", "created_at", "started_at",
    "finished_at", "allow_failure", "coverage", "author", "pipeline_id",
}  # fmt: skip


@dataclass
class Desk:
    """An upstream pipeline whose job `code` left an artifact, and the project downstream."""

    stack: Stack
    project: LocalProject
    downstream: LocalProject
    pipeline: StoredPipeline
    folder: Path

    @property
    def home(self) -> Path:
        return self.stack.folder / "gitlab"

    def api(self, job_token: str = "") -> Any:
        if job_token:
            return gitlab.Gitlab(self.stack.gitlab_url, job_token=job_token)
        return gitlab.Gitlab(self.stack.gitlab_url, private_token=PROJECT_TOKEN)

    def remote(self, job_token: str = "") -> Any:
        return self.api(job_token).projects.get(UPSTREAM, lazy=True)

    def code(self, expires: str = "") -> int:
        number = pipelines.job_id(self.pipeline.id, 0)
        job = PipelineJob(
            id=number,
            name="code",
            stage="code",
            status="success",
            seconds=1.5,
            finished_at="2026-01-01T00:01:00Z",
            artifacts=str(self.folder),
            artifacts_expire_at=expires,
        )
        bridge = PipelineJob(
            id=number + 1, name="go: [wine]", stage="trigger", status="running", trigger=True, downstream=99
        )
        pipelines.save_jobs(self.home, self.pipeline, [job, bridge])
        return number


@pytest.fixture
def desk(stack: Stack, repository: Path, git: Any, tmp_path: Path) -> Desk:
    home = stack.folder / "gitlab"
    project, downstream = create_project(home, UPSTREAM), create_project(home, DOWNSTREAM)
    git(repository, "push", "--quiet", f"{stack.gitlab_url}/{UPSTREAM}.git", "main")
    pipeline = pipelines.create(
        home,
        project,
        ref="main",
        sha=git(repository, "rev-parse", "HEAD"),
        source="push",
        tag=False,
        created_at="2026-01-01T00:00:00Z",
    )
    folder = tmp_path / "artifacts"
    (folder / "out").mkdir(parents=True)
    (folder / "out" / "source.bundle").write_bytes(b"bundle")
    (folder / ".gitlab-ci-reports" / "dotenv").mkdir(parents=True)
    (folder / ".gitlab-ci-reports" / "dotenv" / "code.env").write_text("A=b\n")
    return Desk(stack, project, downstream, pipeline, folder)


def downloaded(remote: Any, number: int) -> dict[str, bytes]:
    archive = zipfile.ZipFile(io.BytesIO(remote.jobs.get(number, lazy=True).artifacts()))
    return {name: archive.read(name) for name in archive.namelist()}


def test_a_job_says_what_it_is_and_what_it_left(desk: Desk) -> None:
    expires = (datetime.now(UTC) + timedelta(days=3)).isoformat()
    job = desk.remote().jobs.get(desk.code(expires))

    assert (job.name, job.status, job.ref, job.commit["id"]) == ("code", "success", "main", desk.pipeline.sha)
    assert (job.pipeline["project_id"], job.pipeline["source"]) == (desk.project.id, "push")
    assert job.artifacts_file["filename"] == "artifacts.zip"
    assert job.artifacts_expire_at == expires
    assert downloaded(desk.remote(), job.id) == {"out/source.bundle": b"bundle"}


def test_a_log_is_told_as_mlops_notify_asks_for_it(desk: Desk) -> None:
    number = desk.code()
    assert desk.remote().jobs.get(number, lazy=True).trace() == b""
    log = desk.folder / "job.log"
    log.write_text("\x1b[32mmlops train\x1b[0m\n✗ IMAGE_URI is missing\n")
    found = pipelines.find(desk.home, desk.pipeline.id)
    assert found is not None
    (job,) = [one for one in found.jobs if one.id == number]
    pipelines.save_jobs(desk.home, desk.pipeline, [replace(job, log=str(log))])
    asked = GitLabProject(desk.api(), str(desk.project.id))
    assert asked.end_of_log(number) == "mlops train\n✗ IMAGE_URI is missing"


def test_expired_artifacts_are_gone(desk: Desk) -> None:
    number = desk.code("2026-01-02T00:00:00+00:00")
    job = desk.remote().jobs.get(number)

    assert job.attributes["artifacts"] == []
    assert not hasattr(job, "artifacts_file")
    with pytest.raises(GitlabGetError) as caught:
        downloaded(desk.remote(), number)
    assert caught.value.response_code == 404


def test_a_job_belongs_to_its_project(desk: Desk) -> None:
    number = desk.code()
    other = desk.api().projects.get(DOWNSTREAM, lazy=True)
    for ask in (other.jobs.get, lambda one: downloaded(other, one)):
        with pytest.raises(GitlabGetError) as caught:
            ask(number)
        assert caught.value.response_code == 404


def test_a_job_token_fetches_artifacts_where_the_project_admits_it(desk: Desk) -> None:
    number = desk.code()
    run = pipelines.create(
        desk.home,
        desk.downstream,
        ref="main",
        sha="a" * 40,
        source="pipeline",
        tag=False,
        created_at="2026-01-01T00:00:00Z",
        upstream=number + 1,
    )
    pipelines.save_jobs(
        desk.home, run, [PipelineJob(id=pipelines.job_id(run.id, 0), name="fetch", stage="fetch")]
    )
    ours, theirs = f"{JOB_TOKEN}-{number}", f"{JOB_TOKEN}-{pipelines.job_id(run.id, 0)}"

    assert downloaded(desk.remote(ours), number)
    with pytest.raises(GitlabGetError, match="not allowed from platform/ml-ops to models/wine") as caught:
        downloaded(desk.remote(theirs), number)
    assert caught.value.response_code == 403
    projects.admit_jobs_of(desk.project, DOWNSTREAM)
    assert downloaded(desk.remote(theirs), number)
    # but no job token reads the record of a job, its own excepted
    with pytest.raises(GitlabAuthenticationError):
        desk.remote(ours).jobs.get(number)
    assert desk.api(ours).http_get("/job")["name"] == "code"


def test_trigger_jobs_are_bridges(desk: Desk) -> None:
    desk.code()
    pipeline = desk.remote().pipelines.get(desk.pipeline.id)

    assert [job.name for job in pipeline.jobs.list()] == ["code"]
    (bridge,) = pipeline.bridges.list()
    assert (bridge.name, bridge.status, bridge.downstream_pipeline) == ("go: [wine]", "running", None)
    run = pipelines.create(
        desk.home,
        desk.downstream,
        ref="main",
        sha="a" * 40,
        source="pipeline",
        tag=False,
        created_at="2026-01-01T00:00:00Z",
        upstream=bridge.id,
    )
    found = pipelines.find(desk.home, desk.pipeline.id)
    assert found is not None
    job = PipelineJob(
        id=bridge.id, name="go", stage="trigger", status="success", trigger=True, downstream=run.id
    )
    pipelines.save_jobs(desk.home, found, [job])
    (bridge,) = pipeline.bridges.list()
    assert bridge.downstream_pipeline["project_id"] == desk.downstream.id
    assert bridge.downstream_pipeline["source"] == "pipeline"


def test_a_status_is_set_changed_and_ended(desk: Desk) -> None:
    statuses = desk.remote().commits.get(desk.pipeline.sha).statuses
    target = "http://127.0.0.1/platform/ml-ops/-/pipelines/9"
    first = statuses.create({"state": "running", "name": "mlops/wine", "target_url": target})
    last = statuses.create({"state": "success", "name": "mlops/wine", "description": "gate passed"})

    assert set(first.attributes) - {"project_id", "commit_id"} == STATUS_KEYS
    assert (last.id, last.status, last.target_url) == (first.id, "success", target)
    assert last.pipeline_id == desk.pipeline.id
    again = statuses.create({"state": "failed", "name": "mlops/wine"})
    assert again.id != last.id
    assert [one.status for one in statuses.list(name="mlops/wine")] == ["failed"]
    both = {"name": "mlops/wine", "all": "true"}
    assert [one.status for one in statuses.list(query_parameters=both)] == ["success", "failed"]


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({}, 400, "state is missing"),
        ({"state": "done"}, 400, "state does not have a valid value"),
        ({"state": "success", "description": "x" * 256}, 400, "too long"),
        ({"state": "success", "target_url": "javascript:x"}, 400, "Only allowed schemes"),
        ({"state": "success", "pipeline_id": 12345}, 404, "pipeline_id"),
    ],
)
def test_a_status_that_cannot_be(desk: Desk, body: dict[str, Any], status: int, message: str) -> None:
    with pytest.raises(GitlabHttpError, match=message) as caught:
        desk.api().http_post(f"/projects/{desk.project.id}/statuses/{desk.pipeline.sha}", post_data=body)
    assert caught.value.response_code == status


def test_a_status_twice_the_same_is_no_transition(desk: Desk) -> None:
    statuses = desk.remote().commits.get(desk.pipeline.sha).statuses
    statuses.create({"state": "running", "name": "mlops"})
    with pytest.raises(GitlabCreateError, match="Cannot transition status via :run from :running"):
        statuses.create({"state": "running", "name": "mlops"})
    with pytest.raises(GitlabAuthenticationError):
        desk.remote("x").commits.get(desk.pipeline.sha, lazy=True).statuses.create({"state": "failed"})
