"""The scripts of `publish-image`, `publish-wheel` and `pages`, as a runner runs them, after a real release."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import requests
import yaml

from mlops_local.base import paths
from mlops_local.gitlab.users import JOB_TOKEN

from .conftest import PATH, Platform

OWN = list(yaml.safe_load_all((paths.checkout() / ".gitlab-ci.yml").read_text(encoding="utf-8")))[-1]
IMAGE = "registry.example.org/platform/ml-ops"

# Docker's client with a registry of its own: the file holds the name of every tag, a line each.
DOCKER = """\
#!/bin/sh
printf '%s\\n' "$*" >> "$DOCKER_CALLS"
tags() { while [ $# -gt 0 ]; do [ "$1" = --tag ] && echo "$2"; shift; done; }
case "$*" in
  "buildx imagetools inspect "*) grep -qx "$4" "$DOCKER_TAGS" ;;
  "buildx imagetools create "*) grep -qx "$6" "$DOCKER_TAGS" && tags "$@" >> "$DOCKER_TAGS" ;;
  "buildx build "*) tags "$@" >> "$DOCKER_TAGS"; git rev-parse HEAD >> "$DOCKER_CALLS" ;;
  *) exit 64 ;;
esac
"""


@pytest.fixture
def clone(platform: Platform) -> Path:
    """The clone of a job in the pipeline of the commit that will be released; it has a package to build."""
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(paths.checkout() / name, platform.work)
    (platform.work / "README.md").write_text("# ml-ops\n")
    return platform.clone(platform.commit("feat: a package", "a package"))


def run(
    platform: Platform, job: str, clone: Path, tools: Path, **more: str
) -> subprocess.CompletedProcess[str]:
    """A job's script in one shell, as a runner puts it together; the tools are there already."""
    skipped = ("python3 -m venv", "pip install", "make ")
    lines = [line for line in OWN[job]["script"] if not line.startswith(skipped)]
    environment = {
        name: value for name, value in os.environ.items() if name in ("HOME", "GIT_CONFIG_GLOBAL", "LANG")
    }
    folders = [str(tools), str(Path(sys.executable).parent), os.environ["PATH"]]
    variables = {
        "PATH": os.pathsep.join(folders),
        "CI_PIPELINE_SOURCE": "push",
        "CI_COMMIT_BRANCH": "main",
        "CI_COMMIT_REF_NAME": "main",
        "CI_DEFAULT_BRANCH": "main",
        "CI_PROJECT_PATH": PATH,
        "CI_PROJECT_ID": str(platform.project.id),
        "CI_PROJECT_URL": f"{platform.stack.gitlab_url}/{PATH}",
        "CI_SERVER_URL": platform.stack.gitlab_url,
        "CI_API_V4_URL": f"{platform.stack.gitlab_url}/api/v4",
        "CI_JOB_TOKEN": JOB_TOKEN,
        "CI_REGISTRY_IMAGE": IMAGE,
        "DOCKER_CALLS": str(tools / "calls"),
        "DOCKER_TAGS": str(tools / "tags"),
        "NO_PROXY": "127.0.0.1",
    }
    for name, value in OWN[job].get("variables", {}).items():
        variables[name] = re.sub(r"\$(\w+)", lambda match: variables[match[1]], value)
    return subprocess.run(
        ["bash", "-eo", "pipefail", "-c", "\n".join(lines)],
        cwd=clone,
        env=environment | variables | more,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder of programs, before those of the machine."""
    folder = tmp_path / "tools"
    folder.mkdir()
    (folder / "docker").write_text(DOCKER)
    (folder / "docker").chmod(0o755)
    for name in ("calls", "tags"):
        (folder / name).touch()
    return folder


def test_an_image_gets_its_exact_version_once_and_then_the_moving_ones(
    platform: Platform, clone: Path, tools: Path
) -> None:
    released = platform.release()
    assert released

    done = run(platform, "publish-image", clone, tools)
    assert done.returncode == 0, done.stderr
    assert (tools / "tags").read_text().split() == [f"{IMAGE}:{tag}" for tag in ("1.0.0", "1.0", "1")]
    calls = (tools / "calls").read_text()
    assert f"--build-arg VERSION=1.0.0 --build-arg REVISION={released.commit}" in calls
    # What is built is the release, not the commit before it.
    assert f"\n{released.commit}\n" in calls

    again = run(platform, "publish-image", clone, tools)
    assert again.returncode == 0, again.stderr
    assert (tools / "calls").read_text().count("buildx build") == 1


def test_an_older_release_does_not_take_the_moving_tags_of_the_image(
    platform: Platform, clone: Path, tools: Path
) -> None:
    platform.release()
    platform.pull()
    platform.commit("feat: more", "more")
    platform.release()

    done = run(platform, "publish-image", clone, tools)

    assert done.returncode == 0, done.stderr
    assert (tools / "tags").read_text().split() == [f"{IMAGE}:1.0.0", f"{IMAGE}:1.0"]


def test_an_image_that_cannot_be_built_moves_no_tag(platform: Platform, clone: Path, tools: Path) -> None:
    platform.release()
    (tools / "docker").write_text(
        DOCKER.replace('"buildx build "*)', '"buildx build "*) exit 1;;\n  "never"*)')
    )

    done = run(platform, "publish-image", clone, tools)

    assert done.returncode != 0
    assert (tools / "tags").read_text() == ""


def test_a_wheel_is_published_once(platform: Platform, clone: Path, tools: Path) -> None:
    released = platform.release()
    assert released
    facts = {"RELEASED": "true", "RELEASE_TAG": released.tag, "RELEASE_COMMIT": released.commit}

    done = run(platform, "publish-wheel", clone, tools, **facts)
    assert done.returncode == 0, done.stdout + done.stderr
    index = f"{platform.stack.gitlab_url}/api/v4/projects/{platform.project.id}/packages/pypi"
    page = requests.get(f"{index}/simple/ml-ops", auth=("gitlab-ci-token", JOB_TOKEN), timeout=10)
    assert "ml_ops-1.0.0-py3-none-any.whl#sha256=" in page.text

    again = run(platform, "publish-wheel", clone, tools, **facts)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "already been taken" in (clone / "twine.log").read_text()
    assert JOB_TOKEN not in (clone / "twine.log").read_text()


def test_a_wheel_that_is_refused_fails_the_job(platform: Platform, clone: Path, tools: Path) -> None:
    released = platform.release()
    assert released
    facts = {"RELEASED": "true", "RELEASE_TAG": released.tag, "RELEASE_COMMIT": released.commit}

    done = run(platform, "publish-wheel", clone, tools, **facts, TWINE_REPOSITORY_URL=platform.url)

    assert done.returncode != 0
    assert "404" in done.stdout


@pytest.mark.parametrize("job", ["publish-image", "publish-wheel"])
def test_nothing_is_published_without_a_release(
    platform: Platform, clone: Path, tools: Path, job: str
) -> None:
    done = run(platform, job, clone, tools)

    assert done.returncode == 0, done.stderr
    assert "Nothing was released." in done.stdout
    assert (tools / "calls").read_text() == ""


def test_one_click_makes_all_of_a_release(platform: Platform, clone: Path, tools: Path) -> None:
    """The three jobs after one another, with the variables that GitLab hands from the first to the others."""
    done = run(platform, "release", clone, tools, GITLAB_USER_NAME="Ann", GITLAB_USER_EMAIL="ann@example.org")
    assert done.returncode == 0, done.stderr
    facts = dict(line.split("=", 1) for line in (clone / "release.env").read_text().splitlines())
    for job in ("publish-image", "publish-wheel"):
        done = run(platform, job, clone, tools, **facts)
        assert done.returncode == 0, done.stdout + done.stderr

    refs = platform.refs()
    assert refs["main"] == refs["v1.0.0"] == refs["1.0"] == refs["1"] == facts["RELEASE_COMMIT"]
    assert platform.releases() == ["v1.0.0"]
    assert f"{IMAGE}:1.0.0" in (tools / "tags").read_text()
    assert "Uploading ml_ops-1.0.0-py3-none-any.whl" in (clone / "twine.log").read_text()


def test_the_site_is_published_from_the_tags(platform: Platform, tools: Path) -> None:
    (platform.work / "docs").mkdir()
    (platform.work / "docs" / "index.md").write_text("# First\n")
    (platform.work / "mkdocs.yml").write_text("site_name: small\nplugins: []\n")
    platform.commit("feat: a site", "a site")
    assert platform.release()
    platform.pull()
    (platform.work / "docs" / "index.md").write_text("# Second\n")
    platform.commit("feat: more of it", "more")
    assert platform.release()
    # As a runner's: one commit, and no tags.
    clone = platform.clone("", "--depth=1")
    (clone / ".venv").symlink_to(paths.checkout() / ".venv")

    done = run(platform, "pages", clone, tools, PYTHONPATH=str(paths.checkout()))

    assert done.returncode == 0, done.stdout + done.stderr
    assert "The site has the releases 1.1.0, 1.0.0." in done.stdout
    for line, words in (("1.0", "First"), ("1.1", "Second")):
        assert words in (clone / "public" / line / "index.html").read_text()
    assert '"latest"' in (clone / "public" / "versions.json").read_text()
