"""The API: requests as python-gitlab makes them, answers as GitLab documents them.

The facts of `CALLS` are GitLab's (https://docs.gitlab.com/api/tags/, /releases/, /notes/, /jobs/, /projects/): the
path, the attributes a request must have, the status of success and the attributes of the answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gitlab
import pytest
import requests
from gitlab.exceptions import (
    GitlabAuthenticationError,
    GitlabCreateError,
    GitlabGetError,
    GitlabHttpError,
    GitlabUpdateError,
)

from mlops.clients.gitlab.project import connect
from mlops_local.gitlab import pipelines
from mlops_local.gitlab.pipelines import PipelineJob
from mlops_local.gitlab.projects import LocalProject, create_project
from mlops_local.gitlab.users import PROJECT_TOKEN
from mlops_local.stack.stack import Stack

PATH = "models/phishing-url"
TAG = "phishing-url/v1.0.0"

COMMIT = {
    "id", "short_id", "title", "message", "created_at", "parent_ids", "author_name", "author_email",
    "authored_date", "committer_name", "committer_email", "committed_date",
}  # fmt: skip
TAG_KEYS = {"name", "message", "target", "commit", "release", "protected", "created_at"}
RELEASE_KEYS = {"tag_name", "name", "description", "created_at", "released_at", "commit", "assets"}
NOTE_KEYS = {"id", "body", "author", "created_at", "updated_at", "system", "noteable_type", "noteable_iid"}
JOB_KEYS = {
    "id", "name", "stage", "status", "allow_failure", "created_at", "duration", "ref", "tag", "pipeline",
    "web_url", "failure_reason", "commit", "project", "user", "artifacts", "artifacts_expire_at", "runner",
    "started_at", "finished_at", "queued_duration", "coverage", "tag_list",
}  # fmt: skip
PIPELINE_KEYS = {"id", "iid", "project_id", "ref", "sha", "source", "status", "web_url", "created_at"}
PROJECT_KEYS = {
    "id", "path", "name", "path_with_namespace", "default_branch", "web_url", "http_url_to_repo", "permissions",
}  # fmt: skip
BRANCH_KEYS = {
    "name", "commit", "merged", "default", "protected", "developers_can_push", "developers_can_merge", "can_push",
    "web_url",
}  # fmt: skip
MERGE_REQUEST_KEYS = {
    "id", "iid", "project_id", "title", "state", "sha", "target_branch", "author", "head_pipeline", "web_url",
}  # fmt: skip


@dataclass(frozen=True)
class Call:
    """One call. `required` are the attributes without which GitLab answers 400."""

    method: str
    path: str
    status: int
    keys: set[str]
    required: dict[str, str] = field(default_factory=dict)


CALLS = [
    Call("GET", "", 200, PROJECT_KEYS),
    Call("GET", "/repository/tags", 200, TAG_KEYS),
    Call("GET", "/repository/tags/phishing-url%2Fv1.0.0", 200, TAG_KEYS),
    Call("POST", "/repository/tags", 201, TAG_KEYS, {"tag_name": "phishing-url/v1.1.0", "ref": "main"}),
    Call("GET", "/releases", 200, RELEASE_KEYS),
    Call("GET", "/releases/phishing-url%2Fv1.0.0", 200, RELEASE_KEYS),
    Call("GET", "/merge_requests/42/notes", 200, NOTE_KEYS),
    Call("POST", "/merge_requests/42/notes", 201, NOTE_KEYS, {"body": "text"}),
    Call("PUT", "/merge_requests/42/notes/1", 200, NOTE_KEYS, {"body": "text"}),
    Call("GET", "/pipelines/1", 200, PIPELINE_KEYS),
    Call("GET", "/pipelines/1/jobs", 200, JOB_KEYS),
    Call("GET", "/jobs/1001", 200, JOB_KEYS),
    Call("GET", "/repository/commits/main", 200, {*COMMIT, "web_url"}),
    Call("GET", "/repository/branches", 200, BRANCH_KEYS),
    Call("GET", "/repository/branches/main", 200, BRANCH_KEYS),
    Call("GET", "/pipelines", 200, PIPELINE_KEYS),
    Call("GET", "/merge_requests/42", 200, MERGE_REQUEST_KEYS),
]


@pytest.fixture
def project(stack: Stack, repository: Path, git: Any) -> LocalProject:
    """A project with a commit, a release, a note and a pipeline."""
    home = stack.folder / "gitlab"
    made = create_project(home, PATH)
    git(repository, "push", "--quiet", f"{stack.gitlab_url}/{PATH}.git", "main")
    remote = _api(stack).projects.get(PATH)
    remote.releases.create({"tag_name": TAG, "ref": "main", "description": "The first."})
    remote.mergerequests.get(42, lazy=True).notes.create({"body": "A note."})
    sha = git(repository, "rev-parse", "HEAD")
    pipeline = pipelines.create(
        home, made, ref="main", sha=sha, source="push", tag=False, created_at="2026-01-01T00:00:00Z"
    )
    states: list[pipelines.Status] = ["success", "failed", "manual"]
    jobs = [
        PipelineJob(id=pipelines.job_id(1, number), name=f"job-{number}", stage="test", status=status)
        for number, status in enumerate(states)
    ]
    pipelines.save_jobs(home, pipeline, jobs)
    pipelines.create(
        home,
        made,
        ref="refs/merge-requests/42/head",
        sha=sha,
        source="merge_request_event",
        tag=False,
        created_at="2026-01-01T00:00:00Z",
    )
    return made


def _api(stack: Stack) -> gitlab.Gitlab:
    return gitlab.Gitlab(stack.gitlab_url, private_token=PROJECT_TOKEN)


def _request(
    stack: Stack, call: Call, body: dict[str, str], key: str = "models%2Fphishing-url"
) -> requests.Response:
    url = f"{stack.gitlab_url}/api/v4/projects/{key}{call.path}"
    return requests.request(call.method, url, json=body, headers={"PRIVATE-TOKEN": "x"}, timeout=10)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.method} {call.path}")
def test_a_call_answers_what_gitlab_documents(stack: Stack, project: LocalProject, call: Call) -> None:
    answer = _request(stack, call, call.required)

    assert answer.status_code == call.status, answer.text
    document = answer.json()
    for one in document if isinstance(document, list) else [document]:
        assert call.keys <= set(one)
        if "commit" in one:
            assert set(one["commit"]) == COMMIT
    assert document
    if call.method == "GET":
        assert _request(stack, call, {}, key=str(project.id)).json() == document


@pytest.mark.parametrize(
    ("call", "name"),
    [(call, name) for call in CALLS for name in call.required],
    ids=lambda value: value if isinstance(value, str) else f"{value.method} {value.path}",
)
def test_a_required_attribute_is_missed(stack: Stack, project: LocalProject, call: Call, name: str) -> None:
    assert project
    body = {key: value for key, value in call.required.items() if key != name}

    answer = _request(stack, call, body)

    assert (answer.status_code, answer.json()["message"]) == (400, f"{name} is missing")


def test_a_tag_is_a_real_one(stack: Stack, project: LocalProject, repository: Path, git: Any) -> None:
    tags = _api(stack).projects.get(project.id).tags

    light = tags.create({"tag_name": "light", "ref": "main"})
    annotated = tags.create({"tag_name": "annotated", "ref": "main", "message": "Why."})

    head = git(repository, "rev-parse", "HEAD")
    assert (light.target, light.message, light.created_at) == (head, None, None)
    assert annotated.target != head
    assert annotated.commit["id"] == head
    assert annotated.message == "Why."
    listed = git(repository, "ls-remote", "--tags", f"{stack.gitlab_url}/{PATH}.git")
    assert f"{head}\trefs/tags/annotated^{{}}" in listed
    assert {tag.name for tag in tags.list(search="^phishing-url/")} == {TAG}
    assert {tag.name for tag in tags.list(search="light$")} == {"light"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"tag_name": TAG, "ref": "main"}, f"Tag {TAG} already exists"),
        ({"tag_name": "new", "ref": "nowhere"}, "Target nowhere is invalid"),
        ({"tag_name": "new", "ref": "--all"}, "Target --all is invalid"),
        ({"tag_name": "--delete", "ref": "main"}, "Tag name invalid"),
        ({"tag_name": "a..b", "ref": "main"}, "Tag name invalid"),
        ({"tag_name": "a b", "ref": "main"}, "Tag name invalid"),
    ],
)
def test_a_tag_that_cannot_be(
    stack: Stack, project: LocalProject, body: dict[str, str], message: str
) -> None:
    with pytest.raises(GitlabCreateError) as caught:
        _api(stack).projects.get(project.id).tags.create(body)

    assert (caught.value.response_code, caught.value.error_message) == (400, message)


def test_a_release_makes_its_tag_and_is_made_once(stack: Stack, project: LocalProject) -> None:
    remote = _api(stack).projects.get(PATH)
    release = remote.releases.create({"tag_name": "v2.0.0", "ref": "main", "name": "Two"})

    assert remote.tags.get("v2.0.0").commit == release.commit
    assert (release.name, [one.tag_name for one in remote.releases.list()]) == ("Two", ["v2.0.0", TAG])
    with pytest.raises(GitlabCreateError) as again:
        remote.releases.create({"tag_name": "v2.0.0"})
    with pytest.raises(GitlabCreateError) as unknown:
        remote.releases.create({"tag_name": "v3.0.0"})
    assert (again.value.response_code, unknown.value.response_code) == (409, 422)
    assert project.path == PATH


def test_notes_are_kept_a_merge_request_each(stack: Stack, project: LocalProject) -> None:
    remote = _api(stack).projects.get(project.id)
    notes = remote.mergerequests.get(43, lazy=True).notes
    note = notes.create({"body": "before"})
    note.body = "after"
    note.save()

    assert [one.body for one in notes.list()] == ["after"]
    assert [one.body for one in remote.mergerequests.get(42, lazy=True).notes.list()] == ["A note."]
    with pytest.raises(GitlabUpdateError) as caught:
        notes.update(1, {"body": "of another merge request"})
    assert caught.value.response_code == 404


def test_lists_come_in_pages(stack: Stack, project: LocalProject) -> None:
    notes = _api(stack).projects.get(PATH).mergerequests.get(44, lazy=True).notes
    for number in range(45):
        notes.create({"body": str(number)})

    page = notes.list(page=3, per_page=20, get_all=False)
    everything = notes.list(iterator=True)

    assert [note.body for note in page] == ["4", "3", "2", "1", "0"]
    assert [note.body for note in everything] == [str(number) for number in reversed(range(45))]
    assert project.path == PATH


def test_jobs_of_a_pipeline_by_status(stack: Stack, project: LocalProject) -> None:
    pipeline = _api(stack).projects.get(project.id).pipelines.get(1)

    assert [job.name for job in pipeline.jobs.list()] == ["job-2", "job-1", "job-0"]
    assert [job.status for job in pipeline.jobs.list(scope=["failed", "manual"])] == ["manual", "failed"]


@pytest.mark.parametrize(
    "path",
    [
        "/pipelines/9",
        "/pipelines/9/jobs",
        "/releases/no",
        "/repository/branches/no",
        "/repository/commits/no",
        "/repository/tags/no",
    ],
)
def test_what_is_not_there(stack: Stack, project: LocalProject, path: str) -> None:
    with pytest.raises(GitlabHttpError) as caught:
        _api(stack).http_get(f"/projects/{project.id}{path}")

    assert caught.value.response_code == 404


def test_an_unknown_project(stack: Stack) -> None:
    with pytest.raises(GitlabGetError, match="404 Project Not Found"):
        _api(stack).projects.get("models/unknown")


def test_a_pipeline_belongs_to_its_project(stack: Stack, project: LocalProject) -> None:
    other = create_project(stack.folder / "gitlab", "models/spam")

    with pytest.raises(GitlabGetError) as caught:
        _api(stack).projects.get(other.id).pipelines.get(1)

    assert caught.value.response_code == 404
    assert project.id != other.id


def test_pipelines_and_branches_are_found(
    stack: Stack, project: LocalProject, repository: Path, git: Any
) -> None:
    remote = _api(stack).projects.get(project.id)
    sha = git(repository, "rev-parse", "HEAD")
    git(repository, "push", "--quiet", f"{stack.gitlab_url}/{PATH}.git", "main:refs/heads/main-2")

    assert [one.source for one in remote.pipelines.list(sha=sha)] == ["merge_request_event", "push"]
    assert [one.id for one in remote.pipelines.list(sha=sha, source="push")] == [1]
    assert remote.pipelines.list(sha="0" * 40) == []
    assert [one.name for one in remote.branches.list(search="^main$")] == ["main"]
    assert [one.name for one in remote.branches.list(search="main")] == ["main", "main-2"]
    assert (remote.branches.get("main").default, remote.branches.get("main-2").default) == (True, False)
    assert (remote.mergerequests.get(42).sha, remote.mergerequests.get(42).iid) == (sha, 42)
    with pytest.raises(GitlabGetError):
        remote.mergerequests.get(43)


def test_a_job_token_reads_notes_and_does_not_write_them(stack: Stack, project: LocalProject) -> None:
    remote = gitlab.Gitlab(stack.gitlab_url, job_token="x").projects.get(project.id, lazy=True)
    notes = remote.mergerequests.get(42, lazy=True).notes

    assert [note.body for note in notes.list()] == ["A note."]
    assert remote.mergerequests.get(42).sha == remote.branches.list()[0].commit["id"]
    assert remote.commits.get("main").web_url.startswith(f"{stack.gitlab_url}/{PATH}/-/commit/")
    assert remote.releases.create({"tag_name": "v9", "ref": "main"}).tag_name == "v9"
    for refused in (
        lambda: notes.create({"body": "x"}),
        lambda: remote.tags.create({"tag_name": "x", "ref": "main"}),
        lambda: remote.pipelines.get(1, lazy=True).jobs.list(),
    ):
        with pytest.raises(GitlabAuthenticationError):
            refused()


def test_nobody_is_refused(stack: Stack, project: LocalProject) -> None:
    answer = requests.get(f"{stack.gitlab_url}/api/v4/projects/{project.id}", timeout=10)

    assert (answer.status_code, answer.json()) == (401, {"message": "401 Unauthorized"})


def test_our_own_client_is_understood(stack: Stack, project: LocalProject) -> None:
    variables = {
        "MLOPS_GITLAB_TOKEN": PROJECT_TOKEN,
        "CI_SERVER_URL": stack.gitlab_url,
        "CI_PROJECT_ID": str(project.id),
    }
    ours = connect(variables)
    assert ours is not None

    assert ours.create_release("v4.0.0", "main", "Four.") is True
    assert ours.create_release("v4.0.0", "main", "Four.") is False
    ours.put_note(7, "<!-- ours -->", "first")
    ours.put_note(7, "<!-- ours -->", "second")

    notes = _api(stack).projects.get(project.id).mergerequests.get(7, lazy=True).notes.list()
    assert [note.body for note in notes] == ["<!-- ours -->\nsecond"]
    assert [(job.name, job.reason) for job in ours.failed_jobs("1")] == [("job-1", "script_failure")]


def test_pages_for_people(stack: Stack, project: LocalProject, tmp_path: Path) -> None:
    home = stack.folder / "gitlab"
    pipeline = pipelines.find(home, 1)
    assert pipeline is not None
    log = tmp_path / "lint.log"
    log.write_text("all is well\n")
    pipelines.save_jobs(home, pipeline, [PipelineJob(id=1001, name="lint", stage="lint", log=str(log))])

    page = requests.get(f"{stack.gitlab_url}/{PATH}/-/pipelines/1", timeout=10).text
    (link,) = [word for word in page.split() if word.startswith("http")]

    assert requests.get(link, timeout=10).text == "all is well\n"
    assert requests.get(link.replace(PATH, "models/spam"), timeout=10).status_code == 404
    assert requests.get(link + "9", timeout=10).status_code == 404
    assert project.path == PATH


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}],
    ids=str,
)
def test_a_page_of_another_site_changes_and_reads_nothing(
    stack: Stack, project: LocalProject, headers: dict[str, str]
) -> None:
    url = f"{stack.gitlab_url}/api/v4/projects/{project.id}/repository/tags"
    asked = {"PRIVATE-TOKEN": "x", **headers}
    form = {"tag_name": "of-a-page", "ref": "main"}

    assert requests.post(url, data=form, headers=asked, timeout=10).status_code == 403
    refs = f"{stack.gitlab_url}/{PATH}.git/info/refs?service=git-receive-pack"
    assert requests.get(refs, headers=asked, timeout=10).status_code == 403
    assert "of-a-page" not in requests.get(url, headers={"PRIVATE-TOKEN": "x"}, timeout=10).text
