"""Who calls the API, and what a job token may not: https://docs.gitlab.com/ci/jobs/ci_job_token/"""

from __future__ import annotations

from pathlib import Path

from flask import request

from mlops_local.gitlab import pipelines, projects, users
from mlops_local.gitlab.api import RefusedError
from mlops_local.gitlab.projects import LocalProject
from mlops_local.gitlab.users import JOB_TOKEN, User

# As app.py routes them.
_JOBS_READ = (
    "/jobs/<int:job>/artifacts",
    "/merge_requests/<int:iid>",
    "/merge_requests/<int:iid>/notes",
    "/repository/branches",
    "/repository/commits/<path:ref>",
    "/repository/tags",
)


def authorize(home: Path, path: str) -> None:
    """Refuse who is nobody or blocked, and a job token where it is nobody too.

    It makes releases, and reads what `_JOBS_READ` lists; GitLab does not know it elsewhere:
    https://docs.gitlab.com/ci/jobs/ci_job_token/#job-token-access
    """
    if request.headers.get("PRIVATE-TOKEN") or request.headers.get("Authorization"):
        if user_of(home).state == "blocked":
            raise RefusedError(403, "403 Forbidden - Your account has been blocked.")
        return
    reads = request.method == "GET" and path in _JOBS_READ
    if not request.headers.get("JOB-TOKEN") or not (path.startswith("/releases") or reads):
        raise RefusedError(401, "401 Unauthorized")


def admit_job(home: Path, project: LocalProject) -> None:
    """Refuse the token of another project's job, unless the project lets that one in.

    https://docs.gitlab.com/ci/jobs/ci_job_token/#add-a-group-or-project-to-the-job-token-allowlist
    """
    found = pipelines.find_by_job(home, job_of_token() or 0)
    if found is None or found[0].project_id == project.id:
        return
    path = found[0].project_path
    if not projects.admits_jobs_of(project, path):
        cause = f"Authentication by CI/CD job token not allowed from {path} to {project.path}."
        raise RefusedError(403, f"403 Forbidden - {cause}")


def job_of_token() -> int | None:
    """The number of the job that the caller's job token belongs to; any other token names none."""
    token = request.headers.get("JOB-TOKEN", "")
    number = token.removeprefix(f"{JOB_TOKEN}-")
    return int(number) if number != token and number.isdecimal() else None


def user_of(home: Path) -> User:
    """Who calls."""
    bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
    return users.of_token(home, request.headers.get("PRIVATE-TOKEN") or bearer)
