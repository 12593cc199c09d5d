"""Git over HTTP, with a real git on both ends."""

from __future__ import annotations

import http.client
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from mlops.base.errors import UsageError
from mlops_local.gitlab.projects import create_project, find_project
from mlops_local.pipelines.sources import publish_templates
from mlops_local.stack.stack import TEMPLATES_PROJECT, Stack

PROJECT = "models/phishing-url"


@pytest.fixture
def url(stack: Stack) -> str:
    create_project(stack.folder / "gitlab", PROJECT)
    return f"{stack.gitlab_url}/{PROJECT}.git"


def test_push_and_clone(url: str, repository: Path, git: Any, tmp_path: Path) -> None:
    git(repository, "push", "--quiet", url, "main")
    git(tmp_path, "clone", "--quiet", url, "clone")

    assert git(tmp_path / "clone", "rev-parse", "HEAD") == git(repository, "rev-parse", "HEAD")
    assert git(tmp_path / "clone", "branch", "--show-current") == "main"


def test_a_push_above_the_post_buffer_arrives_in_chunks(url: str, repository: Path, git: Any) -> None:
    (repository / "data.bin").write_bytes(os.urandom(3_000_000))
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message=feat: data")

    git(repository, "push", "--quiet", url, "main")

    assert git(repository, "ls-remote", url, "main").split()[0] == git(repository, "rev-parse", "HEAD")


def test_shallow_and_partial_clones(url: str, repository: Path, git: Any, tmp_path: Path) -> None:
    for number in range(3):
        git(repository, "commit", "--quiet", "--allow-empty", f"--message=fix: {number}")
    git(repository, "push", "--quiet", url, "main")

    git(tmp_path, "clone", "--quiet", "--depth=1", "--filter=tree:0", "--no-checkout", url, "clone")

    assert git(tmp_path / "clone", "rev-list", "--count", "HEAD") == "1"
    assert git(tmp_path / "clone", "rev-parse", "--is-shallow-repository") == "true"


def test_a_commit_is_fetched_by_its_name(url: str, repository: Path, git: Any, tmp_path: Path) -> None:
    first = git(repository, "rev-parse", "HEAD")
    git(repository, "commit", "--quiet", "--allow-empty", "--message=fix: next")
    git(repository, "push", "--quiet", url, "main")
    git(tmp_path, "init", "--quiet", "clone")

    git(tmp_path / "clone", "fetch", "--quiet", "--depth=1", url, first)

    assert git(tmp_path / "clone", "rev-parse", "FETCH_HEAD") == first


@pytest.mark.parametrize(
    "path", ["models/unknown.git", "..%2f..%2fetc.git", "models/../../phishing-url.git", "phishing-url.git"]
)
def test_what_is_no_project_is_not_found(stack: Stack, url: str, path: str) -> None:
    assert url
    connection = http.client.HTTPConnection("127.0.0.1", stack.gitlab_port, timeout=10)
    connection.request("GET", f"/{path}/info/refs?service=git-upload-pack")

    assert connection.getresponse().status in (301, 308, 404)
    connection.close()


def test_files_outside_git_are_not_served(stack: Stack, url: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", stack.gitlab_port, timeout=10)
    for path in ("config", "hooks/pre-receive.sample", "../../../projects.json"):
        connection.request("GET", f"{url.removeprefix(stack.gitlab_url)}/{path}")
        response = connection.getresponse()
        response.read()
        assert response.status == 404, path
    connection.close()


def test_a_client_that_hangs_up_leaves_no_process(stack: Stack, url: str, repository: Path, git: Any) -> None:
    git(repository, "push", "--quiet", url, "main")
    connection = http.client.HTTPConnection("127.0.0.1", stack.gitlab_port, timeout=10)
    path = url.removeprefix(stack.gitlab_url)
    connection.putrequest("POST", f"{path}/git-upload-pack")
    connection.putheader("Content-Type", "application/x-git-upload-pack-request")
    connection.putheader("Content-Length", "1000")
    connection.endheaders()
    connection.send(b"0032want ")
    deadline = time.monotonic() + 10
    backends: list[psutil.Process] = []
    while not backends and time.monotonic() < deadline:
        backends = [one for one in psutil.Process().children(recursive=True) if "git" in one.name()]

    connection.close()

    assert backends
    assert psutil.wait_procs(backends, timeout=10)[1] == []


@pytest.mark.parametrize(
    "path", ["", "x", "../x/y", "a/../b", "/a/b", "a//b", "a/b/", "a/-b", "a/" + "b" * 200]
)
def test_a_path_that_is_none_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(UsageError, match="not a project path"):
        create_project(tmp_path, path)

    assert list(tmp_path.iterdir()) == []


def test_a_project_is_made_once(tmp_path: Path) -> None:
    first = create_project(tmp_path, PROJECT)

    assert create_project(tmp_path, PROJECT) == first
    assert create_project(tmp_path, "models/spam").id == first.id + 1
    assert find_project(tmp_path, str(first.id)) == find_project(tmp_path, PROJECT) == first
    assert find_project(tmp_path, "models/other") is None


def test_published_templates_are_those_of_the_work_tree(stack: Stack, git: Any, tmp_path: Path) -> None:
    source = tmp_path / "checkout"
    (source / "ci-templates").mkdir(parents=True)
    (source / "secret.txt").write_text("not a template\n")
    (source / "ci-templates" / "lint.yml").write_text("lint: {script: [old]}\n")
    first = publish_templates(stack, TEMPLATES_PROJECT, source)
    assert publish_templates(stack, TEMPLATES_PROJECT, source) == first

    (source / "ci-templates" / "lint.yml").write_text("lint: {script: [new]}\n")
    second = publish_templates(stack, TEMPLATES_PROJECT, source)

    url = f"{stack.gitlab_url}/{TEMPLATES_PROJECT}.git"
    git(tmp_path, "clone", "--quiet", "--branch=1", url, "clone")
    assert git(tmp_path / "clone", "ls-files") == "ci-templates/lint.yml"
    assert (tmp_path / "clone" / "ci-templates" / "lint.yml").read_text() == "lint: {script: [new]}\n"
    assert git(tmp_path / "clone", "rev-list", "origin/main").split() == [second, first]


def test_publishing_touches_nothing_of_the_checkout(stack: Stack, repository: Path, git: Any) -> None:
    (repository / "ci-templates").mkdir()
    (repository / "ci-templates" / "lint.yml").write_text("lint: {script: [x]}\n")
    before = subprocess.run(["ls", "-laR", repository], capture_output=True, check=True).stdout

    publish_templates(stack, TEMPLATES_PROJECT, repository)

    assert subprocess.run(["ls", "-laR", repository], capture_output=True, check=True).stdout == before
    assert git(repository, "status", "--porcelain") == "?? ci-templates/"
