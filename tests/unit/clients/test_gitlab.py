"""python-gitlab against a real, small HTTP server that answers as GitLab does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from mlops.base.errors import GitLabError
from mlops.clients.gitlab.project import FailedJob, GitLabProject, connect, connect_job

TOKEN = "glpat-very-secret"
MARKER = "<!-- ml-ops:evaluation:phishing-url -->"


@dataclass
class FakeGitLab:
    """Project 7 with one merge request and one pipeline; `refusals` maps a method and path to a status."""

    notes: dict[int, str] = field(default_factory=dict)
    releases: dict[str, Any] = field(default_factory=dict)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    trace: bytes = b""
    refusals: dict[str, int] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, method: str, url: str, body: Any) -> tuple[int, object]:
        path = urlsplit(url).path.removeprefix("/api/v4/projects/7/")
        call = f"{method} {path}"
        self.calls.append(call)
        if call in self.refusals:
            return self.refusals[call], {"message": f"{self.refusals[call]} refused"}
        if path == "releases":
            if body["tag_name"] in self.releases:
                return 409, {"message": "Release already exists"}
            self.releases[body["tag_name"]] = body
            return 201, body
        if path == "jobs/1/trace":
            return 200, self.trace
        if path == "pipelines/12/jobs":
            assert parse_qs(urlsplit(url).query)["scope[]"] == ["failed"]
            return 200, self.jobs
        note = re.fullmatch(r"merge_requests/3/notes(?:/(\d+))?", path)
        assert note, call
        if method == "GET":
            return 200, [{"id": number, "body": text} for number, text in self.notes.items()]
        number = int(note[1]) if note[1] else len(self.notes) + 1
        self.notes[number] = body["body"]
        return 200, {"id": number, "body": body["body"]}


@pytest.fixture
def gitlab() -> Iterator[FakeGitLab]:
    state = FakeGitLab()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            if TOKEN in (self.headers["PRIVATE-TOKEN"], self.headers["JOB-TOKEN"]):
                status, document = state.answer(self.command, self.path, body)
            else:
                status, document = 401, {"message": "401 Unauthorized"}
            content = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = handle_any  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    state.url = f"http://127.0.0.1:{http.server_port}"
    yield state
    http.shutdown()
    http.server_close()


def project(gitlab: FakeGitLab, token: str = TOKEN) -> GitLabProject:
    connected = connect({"MLOPS_GITLAB_TOKEN": token, "CI_SERVER_URL": gitlab.url, "CI_PROJECT_ID": "7"})
    assert connected is not None
    return connected


@pytest.mark.parametrize("missing", ["MLOPS_GITLAB_TOKEN", "CI_SERVER_URL", "CI_PROJECT_ID"])
def test_without_a_token_or_a_pipeline_there_is_no_project(missing: str) -> None:
    variables = {"MLOPS_GITLAB_TOKEN": "t", "CI_SERVER_URL": "https://gitlab.example", "CI_PROJECT_ID": "7"}
    assert connect(variables | {missing: ""}) is None


def test_the_note_is_written_once_and_then_kept_current(gitlab: FakeGitLab) -> None:
    gitlab.notes[1] = "Looks good to me"
    project(gitlab).put_note(3, MARKER, "first")
    project(gitlab).put_note(3, MARKER, "second")
    assert gitlab.notes == {1: "Looks good to me", 2: f"{MARKER}\nsecond"}


def test_a_note_of_somebody_else_with_our_marker_is_left_alone(gitlab: FakeGitLab) -> None:
    gitlab.notes[1] = f"{MARKER}\nstolen"
    gitlab.refusals["PUT merge_requests/3/notes/1"] = 403
    project(gitlab).put_note(3, MARKER, "ours")
    assert gitlab.notes == {1: f"{MARKER}\nstolen", 2: f"{MARKER}\nours"}


def test_a_release_is_made_once(gitlab: FakeGitLab) -> None:
    assert project(gitlab).create_release("phishing-url/v1.3.0", "abc123", "Better.")
    assert not project(gitlab).create_release("phishing-url/v1.3.0", "abc123", "Better.")
    assert gitlab.releases["phishing-url/v1.3.0"]["ref"] == "abc123"


def test_failed_jobs_come_in_the_order_they_were_made(gitlab: FakeGitLab) -> None:
    gitlab.jobs = [
        {"id": 2, "name": "deploy", "stage": "deploy", "web_url": "https://j/2", "allow_failure": True},
        {
            "id": 1,
            "name": "test",
            "stage": "test",
            "web_url": "https://j/1",
            "failure_reason": "script_failure",
        },
    ]
    assert project(gitlab).failed_jobs("12") == [
        FailedJob(name="test", stage="test", url="https://j/1", reason="script_failure", allowed=False, id=1),
        FailedJob(name="deploy", stage="deploy", url="https://j/2", reason="", allowed=True, id=2),
    ]


def test_of_a_long_log_its_last_lines_are_told_as_a_person_reads_them(gitlab: FakeGitLab) -> None:
    gitlab.trace = (
        b"noise\n" * 100_000
        + b"\x1b[0Ksection_start:1735689600:step_script\r\x1b[0K\x1b[36;1mmlops train\x1b[0;m\n"
        + "✗ IMAGE_URI is missing\r\n  next: Have this job need containerize.\n\n".encode()
        + b"\x1b[0Ksection_end:1735689601:step_script\r\x1b[0K\n"
        + b"Cleaning up project directory and file based variables\n\x1b[31;1mERROR: Job failed: exit code 13\x1b[0;m\n"
    )
    lines = project(gitlab).end_of_log(1).splitlines()
    assert lines[-3:] == ["mlops train", "✗ IMAGE_URI is missing", "  next: Have this job need containerize."]
    assert len(lines) == 20


def test_a_log_that_may_not_be_read_is_an_error_that_says_what_the_token_needs(gitlab: FakeGitLab) -> None:
    gitlab.refusals["GET jobs/1/trace"] = 403
    with pytest.raises(GitLabError, match="show the log of job 1") as caught:
        project(gitlab).end_of_log(1)
    assert "Developer" in caught.value.next_step


def test_a_token_that_is_no_longer_valid_is_not_shown(gitlab: FakeGitLab) -> None:
    with pytest.raises(GitLabError, match="does not let us") as caught:
        project(gitlab, "glpat-old-secret").put_note(3, MARKER, "text")
    assert "MLOPS_GITLAB_TOKEN" in caught.value.next_step
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("status", "step"), [(403, "Developer"), (500, "status")])
def test_a_refusal_says_what_was_tried(gitlab: FakeGitLab, status: int, step: str) -> None:
    gitlab.refusals["POST releases"] = status
    with pytest.raises(GitLabError, match=re.escape("make the release a/v1.0.0")) as caught:
        project(gitlab).create_release("a/v1.0.0", "abc123", "")
    assert f"{status} refused" in caught.value.cause
    assert step in caught.value.next_step


def test_a_gitlab_that_is_not_there() -> None:
    unreachable = FakeGitLab(url="http://127.0.0.1:9")
    with pytest.raises(GitLabError, match="list the jobs") as caught:
        project(unreachable).failed_jobs("12")
    assert "reaches GitLab" in caught.value.next_step


def test_a_job_makes_a_release_with_its_own_token(gitlab: FakeGitLab) -> None:
    assert connect_job(gitlab.url, "7", TOKEN).create_release("v1.0.0", "abc123", "Better.")
    assert not connect_job(gitlab.url, "7", TOKEN).create_release("v1.0.0", "abc123", "Better.")


@pytest.mark.parametrize(("token", "status"), [(TOKEN, 403), (TOKEN, 404), ("expired-token", 401)])
def test_a_refused_job_is_told_of_the_projects_settings(gitlab: FakeGitLab, token: str, status: int) -> None:
    gitlab.refusals["POST releases"] = status
    with pytest.raises(GitLabError) as caught:
        connect_job(gitlab.url, "7", token).create_release("v1.0.0", "abc123", "")
    assert str(status) in caught.value.cause
    assert "docs/contribute/release.md" in caught.value.next_step
    assert "MLOPS_GITLAB_TOKEN" not in str(caught.value)
    assert token not in str(caught.value)
