"""Pipelines, their jobs and trigger jobs, and the artifacts that jobs left.

https://docs.gitlab.com/api/pipelines/, /api/jobs/, /api/job_artifacts/
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from mlops_local.gitlab import api, pipelines, projects, users
from mlops_local.gitlab.api import Document, RefusedError
from mlops_local.gitlab.pipelines import PipelineJob, StoredPipeline
from mlops_local.gitlab.projects import LocalProject

REPORTS = ".gitlab-ci-reports"
"""The folder among a job's artifacts that its archive does not hold."""


def get_pipeline(home: Path, project: LocalProject, number: int, url: str) -> Document:
    """GET /projects/:id/pipelines/:pipeline_id"""
    return pipeline_document(_pipeline(home, project, number), url)


def list_pipelines(home: Path, project: LocalProject, query: Mapping[str, str], url: str) -> list[Document]:
    """GET /projects/:id/pipelines, newest first, by `sha`, `ref`, `source` and `status`"""
    found = [pipeline_document(one, url) for one in pipelines.of_project(home, project)]
    wanted = {name: query[name] for name in ("sha", "ref", "source", "status") if query.get(name)}
    return [one for one in found if wanted.items() <= one.items()]


def get_merge_request(home: Path, project: LocalProject, number: int, url: str) -> Document:
    """GET /projects/:id/merge_requests/:iid; there is one once a pipeline ran for it"""
    ref = f"refs/merge-requests/{number}/head"
    found = [one for one in pipelines.of_project(home, project) if one.ref == ref]
    if not found:
        raise RefusedError(404, "404 Not found")
    author = users.find(home, found[-1].user)
    return {
        "id": number,
        "iid": number,
        "project_id": project.id,
        "source_project_id": project.id,
        "target_project_id": project.id,
        "title": f"Merge request {number}",
        "state": "opened",
        "sha": found[0].sha,
        "target_branch": projects.DEFAULT_BRANCH,
        "author": users.basic(author, url) if author else None,
        "head_pipeline": pipeline_document(found[0], url),
        "web_url": f"{url}/{project.path}/-/merge_requests/{number}",
    }


def list_jobs(home: Path, project: LocalProject, number: int, scope: list[str], url: str) -> list[Document]:
    """GET /projects/:id/pipelines/:pipeline_id/jobs, newest first; trigger jobs are not jobs here"""
    pipeline = _pipeline(home, project, number)
    return [
        job_document(home, pipeline, job, url)
        for job in reversed(pipeline.jobs)
        if not job.trigger and (not scope or job.status in scope)
    ]


def list_bridges(
    home: Path, project: LocalProject, number: int, scope: list[str], url: str
) -> list[Document]:
    """GET /projects/:id/pipelines/:pipeline_id/bridges, newest first"""
    pipeline = _pipeline(home, project, number)
    answer = []
    for job in reversed(pipeline.jobs):
        if job.trigger and (not scope or job.status in scope):
            started = pipelines.find(home, job.downstream) if job.downstream else None
            downstream = pipeline_document(started, url) if started else None
            answer.append({**_basic(home, pipeline, job, url), "downstream_pipeline": downstream})
    return answer


def get_job(home: Path, project: LocalProject, number: int, url: str) -> Document:
    """GET /projects/:id/jobs/:job_id"""
    pipeline, job = _job(home, project, number)
    return job_document(home, pipeline, job, url)


def read_trace(home: Path, project: LocalProject, number: int) -> bytes:
    """GET /projects/:id/jobs/:job_id/trace: the job's log; empty before it begins."""
    _, job = _job(home, project, number)
    log = Path(job.log)
    return log.read_bytes() if job.log and log.is_file() else b""


def open_artifacts(home: Path, project: LocalProject, number: int) -> BytesIO:
    """GET /projects/:id/jobs/:job_id/artifacts: the archive as a runner makes it, at its beginning."""
    _, job = _job(home, project, number)
    if not _files(job) or _expired(job):
        raise RefusedError(404, "404 Not Found")
    archive = BytesIO()
    folder = Path(job.artifacts)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        for file in _files(job):
            target.write(file, file.relative_to(folder).as_posix())
    archive.seek(0)
    return archive


def pipeline_document(pipeline: StoredPipeline, url: str) -> Document:
    """A pipeline as every answer has it."""
    return {
        "id": pipeline.id,
        "iid": pipeline.iid,
        "project_id": pipeline.project_id,
        "ref": pipeline.ref,
        "sha": pipeline.sha,
        "source": pipeline.source,
        "status": pipeline.status,
        "tag": pipeline.tag,
        **({"yaml_errors": pipeline.yaml_errors} if pipeline.yaml_errors else {}),
        "created_at": pipeline.created_at,
        "updated_at": max((job.finished_at for job in pipeline.jobs), default="") or pipeline.created_at,
        "web_url": f"{url}/{pipeline.project_path}/-/pipelines/{pipeline.id}",
    }


def job_document(home: Path, pipeline: StoredPipeline, job: PipelineJob, url: str) -> Document:
    """A job with what it left; expired artifacts are not listed."""
    archive = [] if _expired(job) or not _files(job) else [_archive(job)]
    log = Path(job.log)
    size = log.stat().st_size if job.log and log.is_file() else 0
    trace = [{"file_type": "trace", "size": size, "filename": "job.log", "file_format": None}] if size else []
    return {
        **_basic(home, pipeline, job, url),
        **({"artifacts_file": {"filename": "artifacts.zip", "size": archive[0]["size"]}} if archive else {}),
        "artifacts": [*archive, *trace],
        "artifacts_expire_at": job.artifacts_expire_at or None,
        "runner": None,
        "tag_list": [],
        "archived": False,
    }


def _basic(home: Path, pipeline: StoredPipeline, job: PipelineJob, url: str) -> Document:
    project = projects.find_project(home, str(pipeline.project_id))
    user = users.find(home, pipeline.user)
    return {
        "id": job.id,
        "name": job.name,
        "stage": job.stage,
        "status": job.status,
        "allow_failure": job.allow_failure,
        "coverage": None,
        "duration": job.seconds,
        "queued_duration": 0.0,
        "failure_reason": "script_failure" if job.status == "failed" else None,
        "ref": pipeline.ref,
        "tag": pipeline.tag,
        "created_at": pipeline.created_at,
        "started_at": pipeline.created_at if job.finished_at else None,
        "finished_at": job.finished_at or None,
        "erased_at": None,
        "commit": api.commit_document(project, pipeline.sha) if project else None,
        "pipeline": pipeline_document(pipeline, url),
        "project": {"ci_job_token_scope_enabled": False},
        "user": users.document(user, url) if user else None,
        "web_url": f"{url}/{pipeline.project_path}/-/jobs/{job.id}",
    }


def _archive(job: PipelineJob) -> Document:
    size = sum(file.stat().st_size for file in _files(job))
    return {"file_type": "archive", "size": size, "filename": "artifacts.zip", "file_format": "zip"}


def _files(job: PipelineJob) -> list[Path]:
    folder = Path(job.artifacts)
    if not job.artifacts or not folder.is_dir():
        return []
    found = sorted(file for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    return [file for file in found if REPORTS not in file.relative_to(folder).parts]


def _expired(job: PipelineJob) -> bool:
    if not job.artifacts_expire_at:
        return False
    return datetime.fromisoformat(job.artifacts_expire_at) <= datetime.now(UTC)


def _pipeline(home: Path, project: LocalProject, number: int) -> StoredPipeline:
    pipeline = pipelines.find(home, number)
    if pipeline is None or pipeline.project_id != project.id:
        raise RefusedError(404, "404 Not found")
    return pipeline


def _job(home: Path, project: LocalProject, number: int) -> tuple[StoredPipeline, PipelineJob]:
    found = pipelines.find_by_job(home, number)
    if found is None or found[0].project_id != project.id or found[1].trigger:
        raise RefusedError(404, "404 Not found")
    return found
