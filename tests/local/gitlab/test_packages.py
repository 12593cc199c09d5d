"""The PyPI registry of a project, with twine on the other end, and what a job token may push."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import requests

from mlops_local.gitlab import projects
from mlops_local.gitlab.projects import LocalProject
from mlops_local.gitlab.users import JOB_TOKEN
from mlops_local.stack.stack import Stack

JOB = ("gitlab-ci-token", JOB_TOKEN)
NAME = "greeting-1.0.0-py3-none-any.whl"


@pytest.fixture
def project(stack: Stack) -> LocalProject:
    return projects.create_project(stack.folder / "gitlab", "platform/ml-ops")


@pytest.fixture
def url(stack: Stack, project: LocalProject) -> str:
    return f"{stack.gitlab_url}/api/v4/projects/{project.id}/packages/pypi"


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    file = tmp_path / NAME
    folder = "greeting-1.0.0.dist-info"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("greeting.py", "print('hello')\n")
        archive.writestr(f"{folder}/METADATA", "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0.0\n")
        archive.writestr(f"{folder}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{folder}/RECORD", "")
    return file


def twine(url: str, wheel: Path, password: str = JOB_TOKEN) -> subprocess.CompletedProcess[str]:
    command = ["-m", "twine", "upload", "--verbose", "--non-interactive", "--repository-url", url, str(wheel)]
    grant = ["--username", "gitlab-ci-token", "--password", password]
    return subprocess.run([sys.executable, *command, *grant], capture_output=True, text=True, check=False)


def test_a_wheel_comes_back_as_it_went(url: str, wheel: Path) -> None:
    done = twine(url, wheel)
    assert done.returncode == 0, done.stdout

    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    page = requests.get(f"{url}/simple/Greeting/", auth=JOB, timeout=10).text
    (link,) = [part for part in page.split('"') if part.startswith("http")]

    assert link == f"{url}/files/{digest}/{NAME}#sha256={digest}"
    assert requests.get(link, auth=JOB, timeout=10).content == wheel.read_bytes()


def test_a_version_is_taken_once(url: str, wheel: Path) -> None:
    assert twine(url, wheel).returncode == 0
    again = twine(url, wheel)

    assert again.returncode == 1
    assert "400 Bad Request" in again.stdout
    assert "already been taken" in again.stdout


@pytest.mark.parametrize(
    ("path", "options", "status"),
    [
        ("", {"files": {"content": ("../x.whl", b"")}, "data": {"name": "x", "version": "1"}}, 400),
        ("", {"files": {"content": ("x-1.whl", b"")}, "data": {"name": "x"}}, 400),
        ("", {"data": {"name": "x", "version": "1"}}, 400),
    ],
)
def test_what_is_no_package(url: str, path: str, options: dict[str, object], status: int) -> None:
    answer = requests.post(f"{url}{path}", auth=JOB, timeout=10, **options)  # type: ignore[arg-type]
    assert answer.status_code == status
    assert requests.get(f"{url}/simple/x", auth=JOB, timeout=10).status_code == 404


def test_nobody_and_unknown_projects(url: str, stack: Stack, project: LocalProject) -> None:
    other = f"{stack.gitlab_url}/api/v4/projects/{project.id + 1}/packages/pypi/simple/x"

    assert requests.get(f"{url}/simple/x", timeout=10).status_code == 401
    assert requests.post(url, timeout=10).status_code == 401
    assert requests.get(other, auth=JOB, timeout=10).status_code == 404
    assert requests.get(f"{url}/files/{'0' * 64}/{NAME}", auth=JOB, timeout=10).status_code == 404


def test_a_job_pushes_only_where_the_project_lets_it(
    stack: Stack, project: LocalProject, repository: Path
) -> None:
    url = f"{stack.gitlab_url}/{project.path}.git"
    grant = base64.b64encode(":".join(JOB).encode()).decode()
    as_job = ["git", "-C", str(repository), "-c", f"http.extraHeader=Authorization: Basic {grant}"]
    command = [*as_job, "push", "--quiet", url, "main"]

    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    fetched = subprocess.run([*as_job, "ls-remote", url], capture_output=True, text=True, check=False)
    projects.let_jobs_push(project)
    allowed = subprocess.run(command, capture_output=True, text=True, check=False)

    assert refused.returncode != 0
    assert "403" in refused.stderr
    assert (fetched.returncode, fetched.stdout) == (0, "")
    assert allowed.returncode == 0, allowed.stderr
