"""GitLab's API, with a project token: https://docs.gitlab.com/user/project/settings/project_access_tokens/

The job token may neither write merge request notes nor list a pipeline's jobs. Everything here is an extra
where `MLOPS_GITLAB_TOKEN` is set; no stage needs it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops.base.errors import GitLabError
from mlops.contracts.upstream import PREFIX
from mlops.contracts.upstream import TOKEN as UPSTREAM_TOKEN

if TYPE_CHECKING:
    from gitlab import Gitlab

TOKEN = "MLOPS_GITLAB_TOKEN"  # noqa: S105  # the variable's name
JOB_TOKEN = "CI_JOB_TOKEN"  # noqa: S105  # the variable's name
_JOB_TOKEN_STEP = (
    "Check the project's settings against docs/contribute/release.md; the job acts as who started it."  # noqa: S105
)
_TIMEOUT = 15
# https://docs.gitlab.com/administration/instance_limits/: a note or a description has at most a million.
_TEXT_LIMIT = 1_000_000
# Of the end of a job's log; a log has up to 100 MB.
_LOG_BYTES = 16 * 1024
_LOG_LINES = 20
# Colours, and the marks of sections that fold: https://docs.gitlab.com/ci/jobs/job_logs/
_MARKUP = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|section_(start|end):\d+:[^\r\s]*\r?")
_FAREWELL = re.compile(r"Cleaning up project directory|ERROR: Job failed|Uploading artifacts")


@dataclass(frozen=True, kw_only=True)
class FailedJob:
    """A failed job; `reason` is GitLab's word, such as `script_failure`."""

    name: str
    stage: str
    url: str
    reason: str
    allowed: bool
    """Whether the pipeline is green all the same."""
    id: int = 0


class GitLabProject:
    """What we ask of one project. Every failure is a GitLabError; the token is in none of them.

    Args:
        api: Who is asked.
        project_id: The project's number.
        token: The variable that the token came from, for the person who has to mend it.
    """

    def __init__(self, api: Gitlab, project_id: str, token: str = TOKEN) -> None:
        self._project = api.projects.get(project_id, lazy=True)
        self._token = token

    def create_release(self, tag: str, ref: str, description: str) -> bool:
        """Tag `ref` and make a release of it; False when there is a release of that tag.

        Raises:
            GitLabError: when GitLab refuses.
        """
        from gitlab.exceptions import GitlabCreateError

        with _errors(f"make the release {tag}", self._token):
            try:
                self._project.releases.create(
                    {"tag_name": tag, "ref": ref, "name": tag, "description": description[:_TEXT_LIMIT]}
                )
            except GitlabCreateError as error:
                if error.response_code == 409:
                    return False
                raise
        return True

    def put_note(self, merge_request: int, marker: str, text: str) -> None:
        """Write the note that begins with `marker`, an HTML comment, or replace its text.

        Raises:
            GitLabError: when GitLab refuses.
        """
        from gitlab.exceptions import GitlabUpdateError

        body = f"{marker}\n{text}"[:_TEXT_LIMIT]
        with _errors(f"write to merge request !{merge_request}", self._token):
            notes = self._project.mergerequests.get(merge_request, lazy=True).notes
            for note in notes.list(iterator=True):
                if str(note.body).startswith(marker):
                    note.body = body
                    try:
                        note.save()
                    except GitlabUpdateError as error:
                        if error.response_code not in {403, 404}:  # somebody else's, or deleted meanwhile
                            raise
                        continue
                    return
            notes.create({"body": body})

    def set_status(self, commit: str, status: Mapping[str, str]) -> None:
        """Say of a commit how something went: https://docs.gitlab.com/api/commits/#set-commit-pipeline-status

        Raises:
            GitLabError: when GitLab refuses.
        """
        with _errors(f"set the status of {commit[:8]}", self._token):
            self._project.commits.get(commit, lazy=True).statuses.create(dict(status))

    def failed_jobs(self, pipeline_id: str) -> list[FailedJob]:
        """The pipeline's failed jobs, in the order they were made.

        Raises:
            GitLabError: when GitLab refuses.
        """
        with _errors(f"list the jobs of pipeline {pipeline_id}", self._token):
            pipeline = self._project.pipelines.get(int(pipeline_id), lazy=True)
            jobs = [
                FailedJob(
                    name=str(job.name),
                    stage=str(job.stage),
                    url=str(job.web_url),
                    reason=str(getattr(job, "failure_reason", "") or ""),
                    allowed=bool(getattr(job, "allow_failure", False)),
                    id=int(job.id),
                )
                for job in pipeline.jobs.list(iterator=True, scope=["failed"])
            ]
        return jobs[::-1]

    def end_of_log(self, job_id: int) -> str:
        """The last lines of a job's log, without colours, folds and the runner's own farewell.

        Raises:
            GitLabError: when GitLab refuses.
        """
        end = b""

        def keep(chunk: bytes) -> None:
            nonlocal end
            end = (end + chunk)[-_LOG_BYTES:]

        with _errors(f"show the log of job {job_id}", self._token):
            self._project.jobs.get(job_id, lazy=True).trace(streamed=True, action=keep)
        lines = [_MARKUP.sub("", line).rstrip() for line in end.decode(errors="replace").splitlines()]
        told = [line for line in lines if line.strip() and not _FAREWELL.match(line)]
        return "\n".join(told[-_LOG_LINES:])


def connect(variables: Mapping[str, str] = os.environ) -> GitLabProject | None:
    """The project of this pipeline; None outside GitLab, or where there is no token."""
    token, url = variables.get(TOKEN, ""), variables.get("CI_SERVER_URL", "")
    project_id = variables.get("CI_PROJECT_ID", "")
    if not (token and url and project_id):
        return None
    from gitlab import Gitlab

    return GitLabProject(Gitlab(url, private_token=token, timeout=_TIMEOUT, user_agent="ml-ops"), project_id)


def connect_upstream(variables: Mapping[str, str] = os.environ) -> GitLabProject | None:
    """The project that started this pipeline; None without a token for it, or where it is not known."""
    token, url = variables.get(UPSTREAM_TOKEN, ""), variables.get("CI_SERVER_URL", "")
    project_id = variables.get(f"{PREFIX}PROJECT_ID", "")
    if not (token and url and project_id):
        return None
    from gitlab import Gitlab

    api = Gitlab(url, private_token=token, timeout=_TIMEOUT, user_agent="ml-ops")
    return GitLabProject(api, project_id, UPSTREAM_TOKEN)


def connect_job(server_url: str, project_id: str, token: str) -> GitLabProject:
    """The project of this pipeline, with the job's own token: it makes releases, and little else.

    https://docs.gitlab.com/ci/jobs/ci_job_token/#job-token-access
    """
    from gitlab import Gitlab

    api = Gitlab(server_url, job_token=token, timeout=_TIMEOUT, user_agent="ml-ops")
    return GitLabProject(api, project_id, JOB_TOKEN)


@contextmanager
def _errors(what: str, token: str) -> Iterator[None]:
    from gitlab.exceptions import GitlabAuthenticationError, GitlabError
    from requests.exceptions import RequestException

    try:
        yield
    except GitlabAuthenticationError as error:
        raise GitLabError(
            f"GitLab does not let us {what}",
            cause=f"{error.response_code}: {error.error_message}",
            next_step=_JOB_TOKEN_STEP
            if token == JOB_TOKEN
            else f"Renew the project access token in {token}; it needs the scope api.",
        ) from error
    except GitlabError as error:
        step = "Try again; if it stays, look at GitLab's status."
        if error.response_code in {403, 404}:
            step = f"Give the token in {token} the scope api and the role Developer."
            step = _JOB_TOKEN_STEP if token == JOB_TOKEN else step
        raise GitLabError(
            f"GitLab did not {what}",
            cause=f"{error.response_code or 'no HTTP status'}: {error.error_message}"[:500],
            next_step=step,
        ) from error
    except RequestException as error:
        raise GitLabError(
            f"GitLab did not {what}", cause=str(error), next_step="Check that the job reaches GitLab."
        ) from error
