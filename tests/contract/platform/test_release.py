"""`mlops release` against a real git server and GitLab's API: what is pushed, by whom, and what a kill leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mlops import cli
from mlops.base.errors import GitLabError, ReleaseError, SettingsError, SourceError, UsageError
from mlops.clients.git.origin import Author, RemoteRepository
from mlops.clients.gitlab.project import GitLabProject
from mlops.releasing.release import ATTEMPTS, Release, release
from mlops_local.gitlab import projects

from .conftest import PATH, Platform, request


def made(result: Release | None) -> Release:
    assert result
    return result


def variables(platform: Platform, **more: str) -> dict[str, str]:
    """A job's, in a pipeline of the default branch."""
    return {
        "CI_PIPELINE_SOURCE": "push",
        "CI_COMMIT_BRANCH": "main",
        "CI_COMMIT_REF_NAME": "main",
        "CI_DEFAULT_BRANCH": "main",
        "CI_PROJECT_PATH": PATH,
        "CI_PROJECT_ID": str(platform.project.id),
        "CI_SERVER_URL": platform.stack.gitlab_url,
        "CI_JOB_TOKEN": "local-job-token",
        "GITLAB_USER_NAME": "Ann",
        "GITLAB_USER_EMAIL": "ann@example.org",
        **more,
    }


# -- what a release is ---------------------------------------------------------------------------------------


def test_the_first_release_is_1_0_0(platform: Platform) -> None:
    head = platform.refs()["main"]
    result = made(platform.release())

    assert (str(result.version), result.tag, result.aliases) == ("1.0.0", "v1.0.0", ("1.0", "1"))
    refs = platform.refs()
    assert {refs[name] for name in ("main", "v1.0.0", "1.0", "1")} == {result.commit}
    assert platform.releases() == ["v1.0.0"]
    assert platform.show("main", "scripts/mlops/__init__.py") == '"""ml-ops."""\n\n__version__ = "1.0.0"\n'
    assert platform.show("main", "CHANGELOG.md") == (
        "# Changelog\n\nAll notable changes.\n\n## Unreleased\n\n## 1.0.0 - 2026-11-21\n\n### Added\n\n- The first.\n"
    )
    facts = projects.git(platform.project.repository, "log", "-1", "--format=%P|%s|%an|%ae|%cn|%ce", "main")
    assert facts.strip() == f"{head}|chore(release): 1.0.0|Ann|ann@x.org|Ann|ann@x.org"
    changed = projects.git(platform.project.repository, "diff", "--name-only", head, "main").split()
    assert changed == ["CHANGELOG.md", "scripts/mlops/__init__.py"]


def test_gitlabs_release_has_the_notes(platform: Platform) -> None:
    from mlops_local.gitlab import api

    platform.release()
    document = api.get_release(platform.stack.folder / "gitlab", platform.project, "v1.0.0")

    assert document["description"] == "### Added\n\n- The first."
    assert document["commit"]["id"] == platform.refs()["v1.0.0"]


@pytest.mark.parametrize(
    ("messages", "version"),
    [
        (["Mend a word"], "1.0.1"),
        (["fix: x", "feat: y"], "1.1.0"),
        (["feat: y", "feat!: z", "fix: x"], "2.0.0"),
        (["refactor: x\n\nBREAKING CHANGE: the input y is gone"], "2.0.0"),
    ],
)
def test_commits_decide_the_version(platform: Platform, messages: list[str], version: str) -> None:
    platform.release()
    platform.pull()
    for message in messages:
        platform.commit(message, note=message.splitlines()[0])
    assert str(made(platform.release()).version) == version


def test_a_person_may_ask_for_a_larger_step(platform: Platform) -> None:
    platform.release()
    platform.pull()
    platform.commit("Take another input", "an input")
    assert str(made(platform.release(at_least="minor")).version) == "1.1.0"


def test_moving_tags_follow_the_newest_of_their_line(platform: Platform) -> None:
    first = made(platform.release())
    platform.pull()
    platform.commit("feat: more", "more")
    second = made(platform.release())
    assert second.aliases == ("1.1", "1")
    platform.pull()
    platform.commit("feat!: other", "other")
    third = made(platform.release())
    refs = platform.refs()
    assert third.aliases == ("2.0", "2")
    assert (refs["1.0"], refs["1"], refs["1.1"]) == (first.commit, second.commit, second.commit)
    assert (refs["2"], refs["2.0"], refs["v2.0.0"]) == (third.commit,) * 3


def test_a_patch_of_an_older_line_moves_only_its_own_tag(platform: Platform) -> None:
    first = made(platform.release())
    platform.pull()
    platform.commit("feat: more", "more")
    second = made(platform.release())
    platform.git(platform.work, "fetch", "--quiet", "origin", "refs/tags/v1.0.0")
    platform.git(platform.work, "checkout", "--quiet", "-b", "1.0.x", "FETCH_HEAD")
    hotfix = platform.commit("fix: hole", "a hole is closed")

    patch = made(platform.release(hotfix, branch="1.0.x"))

    refs = platform.refs()
    assert (str(patch.version), patch.aliases) == ("1.0.1", ("1.0",))
    assert refs["1.0"] == refs["1.0.x"] == patch.commit != first.commit
    assert refs["1"] == refs["1.1"] == refs["main"] == second.commit
    assert platform.releases() == ["v1.0.1", "v1.1.0", "v1.0.0"]


# -- when there is none --------------------------------------------------------------------------------------


def test_no_second_release_of_one_commit(platform: Platform) -> None:
    commit = platform.refs()["main"]
    first = made(platform.release(commit))
    before = platform.refs()
    for where in (commit, first.commit):
        again = made(platform.release(where))
        assert (again.version, again.commit, again.new) == (first.version, first.commit, False)
        assert again.aliases == first.aliases
    assert platform.refs() == before
    assert platform.releases() == ["v1.0.0"]


def test_a_tag_that_moved_on_is_not_the_older_releases(platform: Platform) -> None:
    old = platform.refs()["main"]
    platform.release()
    platform.pull()
    platform.commit("fix: x", "x")
    platform.release()

    again = made(platform.release(old))

    assert (again.tag, again.aliases) == ("v1.0.0", ())


def test_documents_and_tests_make_no_release(platform: Platform) -> None:
    platform.release()
    platform.pull()
    platform.commit("Explain", path="docs/contribute/release.md")
    platform.commit("Test more", path="tests/test_x.py")
    platform.commit("Test a module", "a test", path="terraform/root/tests/x.tftest.hcl")
    before = platform.refs()
    assert platform.release() is None
    assert platform.refs() == before


def test_a_release_needs_words(platform: Platform) -> None:
    platform.release()
    platform.pull()
    platform.commit("fix: something")
    before = platform.refs()
    with pytest.raises(ReleaseError, match=r"1\.0\.1 is due, and CHANGELOG.md says nothing") as caught:
        platform.release()
    assert caught.value.cause.endswith("fix: something")
    assert "below Unreleased" in caught.value.next_step
    assert platform.refs() == before


def test_a_dry_run_changes_nothing(platform: Platform) -> None:
    before = platform.refs()
    planned = made(platform.release(dry_run=True))
    assert (str(planned.version), planned.commit, planned.aliases) == ("1.0.0", "", ("1.0", "1"))
    assert planned.notes == "### Added\n\n- The first."
    assert (platform.refs(), platform.releases()) == (before, [])


def test_a_pipeline_of_an_older_commit_does_not_release(platform: Platform) -> None:
    old = platform.refs()["main"]
    platform.commit("fix: newer", "newer")
    before = platform.refs()
    with pytest.raises(ReleaseError, match="main has newer commits") as caught:
        platform.release(old)
    assert "pipeline of the newest commit" in caught.value.next_step
    assert platform.refs() == before


@pytest.mark.parametrize(("branch", "message"), [("1.0.x", "feat: y"), ("1.x", "feat!: y")])
def test_an_older_line_takes_only_what_belongs_there(platform: Platform, branch: str, message: str) -> None:
    platform.release()
    platform.pull()
    platform.git(platform.work, "checkout", "--quiet", "-b", branch)
    commit = platform.commit(message, "y")
    with pytest.raises(ReleaseError, match=f"does not belong on the branch {branch}"):
        platform.release(commit, branch=branch)


def test_a_version_of_another_history_is_not_used_again(platform: Platform) -> None:
    platform.release()
    platform.pull()
    platform.git(platform.work, "checkout", "--quiet", "-b", "1.0.x")
    platform.release(platform.commit("fix: there", "there"), branch="1.0.x")
    platform.git(platform.work, "checkout", "--quiet", "main")
    platform.commit("fix: here", "here")
    with pytest.raises(ReleaseError, match=r"v1\.0\.1 is released already, from another history") as caught:
        platform.release()
    assert "Merge v1.0.1 into main" in caught.value.next_step


@pytest.mark.parametrize("text", ["# Changelog\n", "## Unreleased\n\n- a\n\n## Unreleased\n\n- b\n"])
def test_a_changelog_without_its_section(platform: Platform, text: str) -> None:
    (platform.work / "CHANGELOG.md").write_text(text)
    platform.commit("fix: x")
    with pytest.raises(ReleaseError, match=r"CHANGELOG.md has \d sections Unreleased"):
        platform.release()


@pytest.mark.parametrize("text", ["", '__version__ = "1"\n__version__ = "2"\n'])
def test_a_package_without_its_version(platform: Platform, text: str) -> None:
    (platform.work / "scripts" / "mlops" / "__init__.py").write_text(text)
    platform.commit("fix: x")
    before = platform.refs()
    with pytest.raises(ReleaseError, match=r"__init__.py has \d versions"):
        platform.release()
    assert platform.refs() == before


def test_tags_of_others_are_no_releases(platform: Platform) -> None:
    for tag in ("v9.9.9-rc1", "vienna", "v1", "9.9.9"):
        platform.git(platform.work, "push", "--quiet", "origin", f"HEAD:refs/tags/{tag}")
    assert str(made(platform.release()).version) == "1.0.0"


def test_a_shallow_clone_is_deepened(platform: Platform) -> None:
    platform.release()
    platform.pull()
    platform.commit("feat: x", "x")
    platform.commit("fix: y", "y")
    shallow = platform.clone("", "--depth=1")
    result = made(release(platform.origin(shallow), platform.api(), request()))
    assert str(result.version) == "1.1.0"


# -- two at once ---------------------------------------------------------------------------------------------


class Racing(RemoteRepository):
    """Somebody else does something right before this one pushes, the first time."""

    def __init__(self, origin: RemoteRepository, action: Any) -> None:
        super().__init__(origin.repository, origin.url, origin.token)
        object.__setattr__(self, "actions", [action])

    def push(self, updates: Mapping[str, str], expected: Mapping[str, str]) -> bool:
        actions: list[Any] = getattr(self, "actions")  # noqa: B009  # frozen
        if actions:
            actions.pop()()
        return super().push(updates, expected)


def test_the_loser_of_two_finds_the_winners_release(platform: Platform) -> None:
    # Two commits of one author in one second would be the same.
    rival = Author("Bob", "bob@example.org")
    racing = Racing(platform.origin(platform.clone()), lambda: platform.release(author=rival))
    result = made(release(racing, platform.api(), request()))
    assert (result.tag, result.new) == ("v1.0.0", False)
    assert result.commit == platform.refs()["main"] == platform.refs()["v1.0.0"]
    assert platform.releases() == ["v1.0.0"]


def test_the_loser_starts_over_when_another_line_moved_a_tag(platform: Platform) -> None:
    platform.release()
    platform.pull()
    platform.git(platform.work, "checkout", "--quiet", "-b", "1.0.x")
    hotfix = platform.commit("fix: old", "old")
    platform.git(platform.work, "checkout", "--quiet", "main")
    platform.commit("feat: new", "new")
    racing = Racing(platform.origin(platform.clone()), lambda: platform.release(hotfix, branch="1.0.x"))

    result = made(release(racing, platform.api(), request()))

    refs = platform.refs()
    assert str(result.version) == "1.1.0"
    assert refs["1"] == refs["1.1"] == refs["main"] == result.commit
    assert refs["1.0"] == refs["v1.0.1"] == refs["1.0.x"]


def test_a_commit_merged_meanwhile_is_not_released_unseen(platform: Platform) -> None:
    racing = Racing(platform.origin(platform.clone()), lambda: platform.commit("fix: late", "late"))
    with pytest.raises(ReleaseError, match="main has newer commits"):
        release(racing, platform.api(), request())
    assert set(platform.refs()) == {"main"}


def test_many_at_once_make_one_release(platform: Platform) -> None:
    clones = [platform.clone() for _ in range(4)]
    ready = threading.Barrier(len(clones))

    def run(clone: Path) -> Release | None:
        racing = Racing(platform.origin(clone), lambda: ready.wait(60))
        return release(racing, platform.api(), request(author=Author(clone.name, "ci@example.org")))

    with ThreadPoolExecutor(len(clones)) as pool:
        results = [made(one) for one in pool.map(run, clones)]
    assert {(str(one.version), one.commit) for one in results} == {("1.0.0", platform.refs()["1"])}
    assert sum(one.new for one in results) == 1
    assert platform.releases() == ["v1.0.0"]


def test_it_gives_up_when_it_always_loses(platform: Platform) -> None:
    class Unlucky(RemoteRepository):
        def push(self, *_: Mapping[str, str]) -> bool:
            return False

    origin = platform.origin(platform.clone())
    with pytest.raises(ReleaseError, match=f"{ATTEMPTS} releases in a row"):
        release(Unlucky(origin.repository, origin.url, origin.token), platform.api(), request())


# -- killed, refused, cut off --------------------------------------------------------------------------------


class Killed(BaseException):
    """The job is gone."""


def test_killed_before_the_push_nothing_is_left(platform: Platform) -> None:
    def die() -> None:
        raise Killed

    clone = platform.clone()
    before = platform.refs()
    with pytest.raises(Killed):
        release(Racing(platform.origin(clone), die), platform.api(), request())
    assert (platform.refs(), platform.releases()) == (before, [])
    assert platform.git(clone, "status", "--porcelain") == ""
    assert platform.git(clone, "tag") == ""
    assert made(release(platform.origin(clone), platform.api(), request())).new


def test_killed_between_push_and_gitlabs_release_it_is_completed(platform: Platform) -> None:
    class Dying(GitLabProject):
        def __init__(self) -> None:  # pylint: disable=super-init-not-called
            pass

        def create_release(self, *_: str) -> bool:
            raise Killed

    commit = platform.refs()["main"]
    with pytest.raises(Killed):
        release(platform.origin(platform.clone()), Dying(), request())
    assert platform.releases() == []

    again = made(platform.release(commit))

    assert (again.tag, again.aliases, again.new) == ("v1.0.0", ("1.0", "1"), False)
    assert again.notes == "### Added\n\n- The first."
    assert platform.releases() == ["v1.0.0"]


def test_killed_by_a_signal_while_the_server_takes_the_push(platform: Platform, tmp_path: Path) -> None:
    """The hook runs once every ref is set: the job does not live to hear of it."""
    clone, pid = platform.clone(), tmp_path / "pid"
    hook = platform.project.repository / "hooks" / "post-receive"
    hook.write_text(f"#!/bin/sh\nkill -9 $(cat {pid})\n")
    hook.chmod(0o755)
    code = f"import os, pathlib, sys; pathlib.Path({str(pid)!r}).write_text(str(os.getpid()))"
    code += "; from mlops.cli import main; sys.exit(main(['release']))"
    command = [sys.executable, "-c", code]
    environment = os.environ | variables(platform)

    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (platform.releases(), "v1.0.0" in platform.refs()) == ([], True)
    hook.unlink()
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("✓ This commit is released: v1.0.0, 1.0, 1 at ")
    assert platform.releases() == ["v1.0.0"]


def test_a_setting_that_is_off_is_said(platform: Platform) -> None:
    projects.git(platform.project.repository, "config", "mlops.jobsPush", "false")
    with pytest.raises(ReleaseError, match="was not pushed") as caught:
        platform.release()
    assert "403" in caught.value.cause
    assert "docs/contribute/release.md" in caught.value.next_step
    assert set(platform.refs()) == {"main"}


@pytest.mark.parametrize("ref", ["refs/heads/main", "refs/tags/v1.0.0", "refs/tags/1"])
def test_a_refused_ref_leaves_nothing_of_the_release(platform: Platform, ref: str) -> None:
    """As GitLab refuses a protected branch or tag: https://docs.gitlab.com/user/project/protected_tags/"""
    hook = platform.project.repository / "hooks" / "update"
    hook.write_text(f'#!/bin/sh\n[ "$1" != {ref} ] || {{ echo "GitLab: You are not allowed to"; exit 1; }}\n')
    hook.chmod(0o755)
    before = platform.refs()
    with pytest.raises(ReleaseError, match="was not pushed") as caught:
        platform.release()
    assert "GitLab: You are not allowed to" in caught.value.cause
    assert platform.refs() == before


def test_gitlab_that_makes_no_release_says_what_to_do(platform: Platform) -> None:
    other = GitLabProject(platform.api()._project.manager.gitlab, "999", "CI_JOB_TOKEN")
    with pytest.raises(GitLabError, match=r"did not make the release v1\.0\.0") as caught:
        release(platform.origin(platform.clone()), other, request())
    assert "docs/contribute/release.md" in caught.value.next_step
    assert platform.releases() == []
    assert made(platform.release(platform.refs()["v1.0.0"])).tag == "v1.0.0"
    assert platform.releases() == ["v1.0.0"]


def test_an_origin_that_does_not_answer(platform: Platform) -> None:
    origin = platform.origin(platform.clone())
    with pytest.raises(SourceError, match="git ls-remote failed") as caught:
        release(
            RemoteRepository(origin.repository, "http://127.0.0.1:1/x.git", "secret-token"), None, request()
        )
    assert "secret-token" not in str(caught.value)


def test_the_token_is_in_no_command_line(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    real = subprocess.run

    def watching(command: Any, *arguments: Any, **options: Any) -> Any:
        seen.append(" ".join(map(str, command)))
        return real(command, *arguments, **options)

    origin = platform.origin(platform.clone())
    monkeypatch.setattr(subprocess, "run", watching)
    release(origin, platform.api(), request())
    assert any(" push " in line for line in seen)
    assert not [line for line in seen if "local-job-token" in line or "Basic" in line]


# -- the command ---------------------------------------------------------------------------------------------


def test_the_command_writes_variables_for_later_jobs(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(platform.clone())
    for name, value in variables(platform).items():
        monkeypatch.setenv(name, value)

    assert cli.main(["release", "--dry-run", "--dotenv", "before.env"]) == 0
    assert "A release would be 1.0.0, with the tags v1.0.0, 1.0, 1" in capsys.readouterr().out
    assert Path("before.env").read_text().splitlines()[0] == "RELEASED=false"
    assert cli.main(["release", "--dotenv", "release.env", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    commit = platform.refs()["main"]
    assert document["commit"] == commit
    expected = f"RELEASED=true\nRELEASE_VERSION=1.0.0\nRELEASE_TAG=v1.0.0\nRELEASE_COMMIT={commit}\n"
    assert Path("release.env").read_text() == f"{expected}RELEASE_ALIASES=1.0,1\n"
    assert cli.main(["release", "--dry-run", "--dotenv", "after.env"]) == 0
    assert Path("after.env").read_text() == Path("release.env").read_text()
    assert tmp_path


def test_nothing_to_release_is_a_success(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    platform.release()
    platform.pull()
    platform.commit("Explain", path="docs/x.md")
    monkeypatch.chdir(platform.clone())
    for name, value in variables(platform).items():
        monkeypatch.setenv(name, value)
    assert cli.main(["release", "--dotenv", "release.env"]) == 0
    assert "Nothing to release" in capsys.readouterr().out
    assert Path("release.env").read_text().startswith("RELEASED=false\nRELEASE_VERSION=\n")


def test_without_a_pipeline_it_only_says_what_it_would_do(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(platform.work)
    before = platform.refs()
    assert cli.main(["release"]) == 0
    assert "only pipelines release" in capsys.readouterr().out
    assert platform.refs() == before


@pytest.mark.parametrize(
    "facts",
    [
        {"CI_COMMIT_BRANCH": "topic", "CI_COMMIT_REF_NAME": "topic"},
        {"CI_COMMIT_BRANCH": "", "CI_MERGE_REQUEST_IID": "3", "CI_PIPELINE_SOURCE": "merge_request_event"},
        {"CI_COMMIT_BRANCH": "", "CI_COMMIT_TAG": "v1.0.0"},
        {"CI_PIPELINE_SOURCE": "schedule"},
    ],
    ids=["branch", "merge request", "tag", "schedule"],
)
def test_other_pipelines_release_nothing(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, facts: dict[str, str]
) -> None:
    from argparse import Namespace

    from mlops.releasing.release import run

    monkeypatch.chdir(platform.clone())
    for name, value in variables(platform, **facts).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="No release is made of"):
        run(Namespace(dry_run=False, dotenv="", at_least="patch"))


def test_a_job_without_its_variables(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    from argparse import Namespace

    from mlops.releasing.release import run

    monkeypatch.chdir(platform.clone())
    for name, value in variables(platform, CI_JOB_TOKEN="").items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match="variables of this job are incomplete"):
        run(Namespace(dry_run=False, dotenv="", at_least="patch"))


def test_the_changelog_of_this_repository_can_be_cut() -> None:
    from datetime import date

    from semver import Version

    from mlops.releasing import changelog
    from mlops_local.base import paths

    text = (paths.checkout() / "CHANGELOG.md").read_text(encoding="utf-8")
    said = changelog.unreleased(text)
    after = changelog.cut(text, Version(99), date(2026, 11, 21))
    assert changelog.unreleased(after) == ""
    assert changelog.notes(after, Version(99)) == (said or changelog.notes(after, Version(99)))
    with pytest.raises(ReleaseError, match="has a section 99"):
        changelog.cut(after, Version(99), date(2026, 11, 21))
