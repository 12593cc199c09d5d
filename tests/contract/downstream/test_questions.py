"""What GitLab is asked of the upstream, through python-gitlab and HTTP."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from mlops.base.errors import ArtifactError, GitLabError, UpstreamError
from mlops.clients.gitlab.upstream_project import UpstreamProject, connect
from mlops.contracts.upstream import Claim
from mlops.downstream.fetch import ask
from mlops_local.gitlab import pipelines, projects
from mlops_local.gitlab.pipelines import PipelineJob, StoredPipeline
from mlops_local.gitlab.projects import LocalProject, create_project
from mlops_local.gitlab.users import JOB_TOKEN, PROJECT_TOKEN

from .conftest import UPSTREAM, Lab


@dataclass
class Desk:
    """A pipeline of the model repository, whose job `code` left its files."""

    lab: Lab
    commit: str
    pipeline: StoredPipeline
    job: PipelineJob

    @property
    def home(self) -> Path:
        return self.lab.stack.folder / "gitlab"

    def keep(self, job: PipelineJob) -> None:
        pipelines.save_jobs(self.home, self.pipeline, [job])

    def upstream(self, token: str = PROJECT_TOKEN, job_token: str = "", project: int = 0) -> UpstreamProject:
        return connect(self.lab.stack.gitlab_url, project or self.lab.project.id, token, job_token)

    def claim(self, **facts: object) -> Claim:
        said = Claim(
            project_id=self.lab.project.id,
            project_path=UPSTREAM,
            commit=self.commit,
            ref="main",
            change="default_branch",
            pipeline_id=self.pipeline.id,
        )
        return replace(said, **facts)  # type: ignore[arg-type]


def start(lab: Lab, project: LocalProject, commit: str) -> StoredPipeline:
    return pipelines.create(
        lab.stack.folder / "gitlab",
        project,
        ref="main",
        sha=commit,
        source="push",
        tag=False,
        created_at="2026-11-21T09:00:00Z",
    )


@pytest.fixture
def desk(lab: Lab, tmp_path: Path) -> Desk:
    commit = lab.git(lab.folder, "rev-parse", "HEAD")
    pipeline = start(lab, lab.project, commit)
    files = tmp_path / "left"
    files.mkdir()
    (files / "code.bundle").write_bytes(b"bundle" * 1000)
    (files / "code.sha256").write_bytes(b"sum")
    job = PipelineJob(
        id=pipelines.job_id(pipeline.id, 0),
        name="code",
        stage="build",
        status="success",
        finished_at="2026-11-21T09:01:00Z",
        artifacts=str(files),
    )
    made = Desk(lab, commit, pipeline, job)
    made.keep(job)
    return made


def test_a_job_is_what_its_record_says(desk: Desk) -> None:
    upstream = desk.upstream()

    assert upstream.find_job(desk.pipeline.id, "code") == desk.job.id
    assert upstream.find_job(desk.pipeline.id, "test") == 0
    found = upstream.job(desk.job.id)
    assert (found.name, found.status, found.commit) == ("code", "success", desk.commit)
    assert (found.ref, found.source, found.pipeline_id) == ("main", "push", desk.pipeline.id)
    assert (found.tag, found.merge_request, found.expired) == (False, 0, "")
    assert ask(desk.claim(), upstream, "").artifact_job_id == desk.job.id


def test_exactly_that_jobs_archive_comes(desk: Desk, tmp_path: Path) -> None:
    desk.upstream().download(desk.job.id, tmp_path / "artifacts.zip", 1 << 20)

    with zipfile.ZipFile(tmp_path / "artifacts.zip") as archive:
        assert sorted(archive.namelist()) == ["code.bundle", "code.sha256"]


def test_a_download_stops_where_it_is_too_large(desk: Desk, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="too large"):
        desk.upstream().download(desk.job.id, tmp_path / "artifacts.zip", 10)
    assert (tmp_path / "artifacts.zip").stat().st_size <= 10


def test_an_expired_artifact_is_gone(desk: Desk, tmp_path: Path) -> None:
    desk.keep(replace(desk.job, artifacts_expire_at="2026-01-01T00:00:00Z"))

    with pytest.raises(ArtifactError, match="is gone") as caught:
        ask(desk.claim(), desk.upstream(), "")
    assert "it expired 2026-01-01" in caught.value.cause
    # As it is told to a job token, which may not read the record.
    with pytest.raises(ArtifactError, match="is gone"):
        desk.upstream().download(desk.job.id, tmp_path / "artifacts.zip", 1 << 20)


@pytest.fixture
def other(desk: Desk) -> tuple[LocalProject, StoredPipeline]:
    """Another project with the same commit, and a pipeline whose job `code` left the same."""
    project = create_project(desk.home, "models/other")
    desk.lab.git(desk.lab.folder, "push", "--quiet", f"{desk.lab.stack.gitlab_url}/models/other.git", "main")
    pipeline = start(desk.lab, project, desk.commit)
    pipelines.save_jobs(desk.home, pipeline, [replace(desk.job, id=pipelines.job_id(pipeline.id, 0))])
    return project, pipeline


def test_the_job_of_another_project_is_refused(
    desk: Desk, other: tuple[LocalProject, StoredPipeline]
) -> None:
    number = pipelines.job_id(other[1].id, 0)

    with pytest.raises(UpstreamError, match=f"read the job {number} of project {desk.lab.project.id}"):
        ask(desk.claim(artifact_job_id=number), desk.upstream(), "")


def test_another_projects_number_with_this_ones_path_is_refused(
    desk: Desk, other: tuple[LocalProject, StoredPipeline]
) -> None:
    project, theirs = other

    with pytest.raises(UpstreamError, match="not about what its trigger says") as caught:
        ask(desk.claim(pipeline_id=theirs.id), desk.upstream(project=project.id), "")
    assert "project: the trigger says models/phishing-url, GitLab says models/other" in caught.value.cause


def test_a_project_that_is_not_there(desk: Desk) -> None:
    with pytest.raises(UpstreamError, match="knows nothing of it") as caught:
        desk.upstream(project=99).project()
    assert "MLOPS_UPSTREAM_TOKEN" in caught.value.next_step


def test_a_job_token_fetches_where_the_upstream_lets_it_in(desk: Desk, tmp_path: Path) -> None:
    platform = projects.find_project(desk.home, "platform/ml-ops")
    assert platform is not None
    ours = start(desk.lab, platform, "a" * 40)
    number = pipelines.job_id(ours.id, 0)
    pipelines.save_jobs(desk.home, ours, [replace(desk.job, id=number, name="fetch", artifacts="")])
    upstream = desk.upstream(token="", job_token=f"{JOB_TOKEN}-{number}")

    with pytest.raises(GitLabError, match="send the artifacts") as caught:
        upstream.download(desk.job.id, tmp_path / "refused.zip", 1 << 20)
    assert "CI_JOB_TOKEN" in caught.value.next_step
    assert "platform/ml-ops" in caught.value.cause

    projects.admit_jobs_of(desk.lab.project, "platform/ml-ops")
    upstream.download(desk.job.id, tmp_path / "artifacts.zip", 1 << 20)

    assert zipfile.is_zipfile(tmp_path / "artifacts.zip")


def test_a_gitlab_that_is_not_there() -> None:
    with pytest.raises(GitLabError) as caught:
        connect("http://127.0.0.1:9", 7, "glpat-secret", "").project()
    assert "reaches GitLab" in caught.value.next_step
    assert "secret" not in str(caught.value)
