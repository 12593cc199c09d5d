"""What GitLab says of the project whose pipeline started this one.

With `MLOPS_UPSTREAM_TOKEN`, which reads the project, GitLab returns everything about the job that made the
artifact. The job's own token may fetch artifacts by their job's number (Premium), and read branches and merge
requests, but no jobs: https://docs.gitlab.com/ci/jobs/ci_job_token/#job-token-access
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mlops.base.errors import ArtifactError, GitLabError, UpstreamError
from mlops.contracts.upstream import TOKEN

if TYPE_CHECKING:
    from gitlab import Gitlab

_TIMEOUT = 60
_MERGE_REQUEST = re.compile(r"refs/merge-requests/([0-9]+)/(?:head|merge|train)")


@dataclass(frozen=True, kw_only=True)
class UpstreamDetails:
    """The upstream; `member` says whether the token's user was let in, and not just everybody."""

    path: str
    default_branch: str
    member: bool


@dataclass(frozen=True, kw_only=True)
class UpstreamJob:
    """A job that ended. `merge_request` is zero if its pipeline has none."""

    id: int
    name: str
    status: str
    commit: str
    ref: str
    tag: bool
    merge_request: int
    pipeline_id: int
    source: str
    expired: str
    """When GitLab deleted the artifact; empty while it is there."""


class UpstreamProject:
    """Questions to GitLab about one project. No token is in any error."""

    def __init__(self, api: Gitlab, project_id: int, token: str = TOKEN) -> None:
        self._api = api
        self._id = project_id
        self._project = api.projects.get(project_id, lazy=True)
        self._token = token

    def project(self) -> UpstreamDetails:
        """The project itself.

        Raises:
            GitLabError, UpstreamError: when GitLab refuses, or there is none.
        """
        with self._errors("read the project"):
            found = self._api.projects.get(self._id)
        access = getattr(found, "permissions", None) or {}
        return UpstreamDetails(
            path=str(found.path_with_namespace),
            default_branch=str(found.default_branch),
            member=bool(access.get("project_access") or access.get("group_access")),
        )

    def newest_pipeline(self, commit: str, source_is_merge_request: bool) -> int:
        """The newest pipeline of a commit, zero when there is none: GitLab before 18.9 does not say it."""
        with self._errors(f"list the pipelines of {commit[:8]}"):
            for one in self._project.pipelines.list(sha=commit, per_page=20, get_all=False):
                if (getattr(one, "source", "") == "merge_request_event") is source_is_merge_request:
                    return int(one.id)
        return 0

    def find_job(self, pipeline_id: int, name: str) -> int:
        """The job of that name in a pipeline, the last one where it ran again; zero when there is none."""
        with self._errors(f"list the jobs of pipeline {pipeline_id}"):
            pipeline = self._project.pipelines.get(pipeline_id, lazy=True)
            found = [int(one.id) for one in pipeline.jobs.list(iterator=True) if one.name == name]
        return max(found, default=0)

    def job(self, job_id: int) -> UpstreamJob:
        """A job of this project, and its pipeline."""
        with self._errors(f"read the job {job_id}"):
            record = self._project.jobs.get(job_id)
            pipeline = self._project.pipelines.get(int(record.pipeline["id"]))
        ref = str(pipeline.ref)
        match = _MERGE_REQUEST.fullmatch(ref)
        return UpstreamJob(
            id=int(record.id),
            name=str(record.name),
            status=str(record.status),
            commit=str(pipeline.sha),
            ref=ref,
            tag=bool(record.tag),
            merge_request=int(match[1]) if match else 0,
            pipeline_id=int(pipeline.id),
            source=str(pipeline.source),
            expired=_expired(record),
        )

    def download(self, job_id: int, target: Path, limit: int) -> None:
        """Write the archive of a job's artifacts into a file, as far as it has no more bytes than allowed.

        Raises:
            ArtifactError: when it is gone, or too large.
            GitLabError: when GitLab refuses.
        """
        written = 0
        with target.open("xb") as file:

            def keep(chunk: bytes) -> None:
                nonlocal written
                written += len(chunk)
                if written > limit:
                    raise ArtifactError(
                        "The upstream's artifact is too large",
                        cause=f"it has more than {limit} bytes",
                        next_step="Make the repository smaller: it travels with its whole history.",
                    )
                file.write(chunk)

            with self._errors(f"send the artifacts of job {job_id}", missing=gone(job_id)):
                self._project.jobs.get(job_id, lazy=True).artifacts(streamed=True, action=keep)

    def branch(self, name: str) -> tuple[str, bool] | None:
        """The commit of a branch, and whether it is the default one; a job token may ask this."""
        with self._errors(f"read the branch {name}"):
            for one in self._project.branches.list(search=f"^{name}$", per_page=20, get_all=False):
                if one.name == name:
                    return str(one.commit["id"]), bool(one.default)
        return None

    def merge_request_commit(self, number: int) -> str:
        """The newest commit of a merge request; a job token may ask this."""
        with self._errors(f"read the merge request !{number}"):
            return str(self._project.mergerequests.get(number).sha)

    def path_of(self, commit: str) -> str:
        """The project's path, which a job token learns from a commit alone."""
        with self._errors(f"read the commit {commit[:8]}"):
            page = urlsplit(str(self._project.commits.get(commit).web_url)).path
        return page.removeprefix(urlsplit(self._api.url).path).partition("/-/")[0].strip("/")

    @contextmanager
    def _errors(self, what: str, missing: ArtifactError | None = None) -> Iterator[None]:
        from gitlab.exceptions import GitlabError
        from requests.exceptions import RequestException

        try:
            yield
        except GitlabError as error:
            if error.response_code == 404 and missing is not None:
                raise missing from error
            if error.response_code == 404:
                raise UpstreamError(
                    f"GitLab knows nothing of it: {what} of project {self._id}",
                    cause=f"404: {error.error_message}"[:500],
                    next_step=f"Look whether the upstream has it, and whether {self._token} may read it.",
                ) from error
            raise GitLabError(
                f"GitLab did not {what} of project {self._id}",
                cause=f"{error.response_code or 'no HTTP status'}: {error.error_message}"[:500],
                next_step=f"Let {self._token} read that project, as docs/guides/downstream.md says.",
            ) from error
        except RequestException as error:
            raise GitLabError(
                f"GitLab did not {what} of project {self._id}",
                cause=str(error),
                next_step="Check that the job reaches GitLab.",
            ) from error


def gone(job_id: int, when: str = "") -> ArtifactError:
    """The error of an artifact that GitLab does not have any more."""
    return ArtifactError(
        "The upstream's artifact is gone",
        cause=f"job {job_id} has none" + (f": it expired {when}" if when else ", or it expired"),
        next_step="Run the upstream's job code again, and then its trigger job.",
    )


def connect(server_url: str, project_id: int, token: str, job_token: str) -> UpstreamProject:
    """The project, as the token of the platform's own project reads it, or as the job's does."""
    from gitlab import Gitlab

    if token:
        api = Gitlab(server_url, private_token=token, timeout=_TIMEOUT, user_agent="ml-ops")
        return UpstreamProject(api, project_id)
    api = Gitlab(server_url, job_token=job_token, timeout=_TIMEOUT, user_agent="ml-ops")
    return UpstreamProject(api, project_id, "CI_JOB_TOKEN")


def _expired(record: Any) -> str:
    # By its name as an attribute it would be python-gitlab's method.
    facts = record.attributes
    kept = [one for one in facts.get("artifacts") or [] if one.get("file_type") == "archive"]
    when = str(facts.get("artifacts_expire_at") or "")
    if kept and not (when and _moment(when) <= datetime.now(UTC)):
        return ""
    return when or "long ago"


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
