"""`mlops commits` and `mlops release` with real git: as a hook, as a job, and on this repository's own history."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mlops import cli
from mlops_local.base import paths
from tests.local.gitlab.conftest import Git

REASON = "Because of that."


def commit(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What `git commit` answers, as somebody's own."""
    return subprocess.run(
        ["git", "-C", str(folder), "commit", "--allow-empty", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.fixture
def repository(git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit that is older than the rule; tests run in it."""
    folder = tmp_path / "work"
    git(tmp_path, "init", "--quiet", "--initial-branch=main", str(folder))
    for name, value in (("user.name", "Ann"), ("user.email", "ann@example.org")):
        git(folder, "config", name, value)
    assert commit(folder, "--message=Begin").returncode == 0
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def hooked(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With our hook installed as `make hooks` does it, and nothing that pre-commit could have fetched before."""
    monkeypatch.setenv("PRE_COMMIT_HOME", str(tmp_path / "pre-commit"))
    config = (paths.checkout() / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    (repository / ".pre-commit-config.yaml").write_text(config)
    (repository / ".venv").symlink_to(paths.checkout() / ".venv")
    recipe = subprocess.run(
        ["make", "--dry-run", "hooks"], cwd=paths.checkout(), check=True, capture_output=True, text=True
    ).stdout.splitlines()
    (command,) = [line.split() for line in recipe if "pre-commit" in line]
    subprocess.run(command, cwd=repository, check=True, capture_output=True)
    return repository


# -- the hook ------------------------------------------------------------------------------------------------


def test_git_refuses_a_message_and_says_why(hooked: Path, git: Git) -> None:
    before = git(hooked, "rev-parse", "HEAD")
    done = commit(hooked, "--message=feature: score in batches")

    assert done.returncode == 1
    assert "feature is not a type of change: did you mean feat?" in done.stdout + done.stderr
    assert "git commit --edit --file .git/COMMIT_EDITMSG" in done.stdout + done.stderr
    assert git(hooked, "rev-parse", "HEAD") == before


def test_git_takes_a_message_with_its_reason(hooked: Path, git: Git, tmp_path: Path) -> None:
    done = commit(hooked, "--message=feat: score in batches", f"--message={REASON}")

    assert done.returncode == 0, done.stderr
    assert git(hooked, "log", "-1", "--format=%s") == "feat: score in batches"
    # Nothing was installed for the hook: it runs what `make setup` has made.
    assert list((tmp_path / "pre-commit").glob("repo*")) == []


def test_comments_and_the_diff_of_an_editor_are_not_the_message(hooked: Path) -> None:
    """`git commit --verbose` puts the diff below the message, and hands both to the hook."""
    editor = hooked.parent / "editor"
    editor.write_text(
        '#!/bin/sh\n{ echo \'# a comment\'; echo \'docs: x\'; cat "$1"; } > "$1.new" && mv "$1.new" "$1"\n'
    )
    editor.chmod(0o755)
    (hooked / "x.md").write_text("x\n")
    subprocess.run(["git", "-C", str(hooked), "add", "x.md"], check=True)
    done = commit(hooked, "--verbose", GIT_EDITOR=str(editor))

    assert done.returncode == 0, done.stderr


def test_a_merge_passes_and_its_name_alone_does_not(hooked: Path, git: Git) -> None:
    git(hooked, "checkout", "--quiet", "-b", "topic")
    assert commit(hooked, "--message=docs: x").returncode == 0
    git(hooked, "checkout", "--quiet", "main")
    merged = subprocess.run(
        ["git", "-C", str(hooked), "merge", "--no-ff", "--message=Merge branch 'topic'", "topic"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert merged.returncode == 0, merged.stderr
    assert commit(hooked, "--message=Merge branch 'topic'").returncode == 1


def test_a_fixup_is_left_to_the_job(hooked: Path, capsys: pytest.CaptureFixture[str], git: Git) -> None:
    base = git(hooked, "rev-parse", "HEAD")
    assert commit(hooked, "--message=docs: x").returncode == 0
    assert commit(hooked, "--fixup=HEAD").returncode == 0

    assert cli.main(["commits", "--after", base]) == 81
    assert "fixup! docs: x: it belongs into another commit" in capsys.readouterr().err


# -- the job -------------------------------------------------------------------------------------------------


def test_commits_since_the_last_release_are_looked_at(
    repository: Path, git: Git, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["commits"]) == 81
    assert " Begin: its first line is not" in capsys.readouterr().err

    git(repository, "tag", "v1.0.0")
    assert commit(repository, "--message=docs: x").returncode == 0
    assert cli.main(["commits"]) == 0
    assert "1 commit messages" in capsys.readouterr().out
    assert commit(repository, "--message=fix: y").returncode == 0
    assert commit(repository, f"--message=fix: z\n\n{REASON}").returncode == 0
    assert cli.main(["commits"]) == 81
    said = capsys.readouterr().err
    assert "1 of 3 commit messages cannot be taken" in said
    assert "fix: y: a fix needs its reason" in said


def test_of_a_merge_request_its_own_commits_are_looked_at(
    repository: Path, git: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI_MERGE_REQUEST_DIFF_BASE_SHA", git(repository, "rev-parse", "HEAD"))
    assert commit(repository, "--message=docs: x").returncode == 0
    assert cli.main(["commits"]) == 0
    assert commit(repository, "--message=y").returncode == 0
    assert cli.main(["commits"]) == 81


def test_what_is_older_than_the_rule_is_left_out_of_an_old_merge_request(
    repository: Path, git: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI_MERGE_REQUEST_DIFF_BASE_SHA", git(repository, "rev-parse", "HEAD"))
    assert commit(repository, "--message=Older").returncode == 0
    rule = git(repository, "rev-parse", "HEAD")
    assert commit(repository, "--message=docs: x").returncode == 0

    assert cli.main(["commits", "--after", rule]) == 0
    assert cli.main(["commits"]) == 81


def test_a_merge_brings_its_commits_and_is_none_itself(
    repository: Path, git: Git, capsys: pytest.CaptureFixture[str]
) -> None:
    git(repository, "tag", "v1.0.0")
    git(repository, "checkout", "--quiet", "-b", "topic")
    assert commit(repository, "--message=Whatever").returncode == 0
    git(repository, "checkout", "--quiet", "main")
    git(repository, "merge", "--quiet", "--no-ff", "--message=Merge branch 'topic'", "topic")

    assert cli.main(["commits"]) == 81
    said = capsys.readouterr().err
    assert ("1 of 1" in said, "Whatever" in said, "Merge" in said) == (True, True, False)


def test_a_clone_that_lacks_commits_is_no_answer(
    repository: Path,
    git: Git,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert commit(repository, "--message=docs: x").returncode == 0
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{repository}", str(tmp_path / "shallow"))
    monkeypatch.chdir(tmp_path / "shallow")

    assert cli.main(["commits"]) == 11
    assert "GIT_DEPTH" in capsys.readouterr().err


def test_a_commit_that_is_not_in_the_history_leaves_out_none(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So it is where the platform was imported as one commit, without its history."""
    command = ["commits", "--after", "0" * 40]
    assert commit(repository, "--amend", "--message=docs: x").returncode == 0
    assert cli.main(command) == 0
    assert "00000000 is not in this history, so no commit is left out" in capsys.readouterr().err
    assert commit(repository, "--message=y").returncode == 0
    assert cli.main(command) == 81


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["commits", "--message", str(tmp_path / "none")]) == 2
    assert "cannot be read" in capsys.readouterr().err


# -- this repository -----------------------------------------------------------------------------------------


def test_our_own_history_becomes_1_0_0_and_then_what_its_commits_say(git: Git, tmp_path: Path) -> None:
    """On a copy of this history without its tags, through the command."""
    origin, work = tmp_path / "origin.git", tmp_path / "work"
    git(tmp_path, "clone", "--quiet", "--bare", "--no-tags", str(paths.checkout()), str(origin))
    git(origin, "update-ref", "refs/heads/main", git(paths.checkout(), "rev-parse", "HEAD"))
    git(origin, "symbolic-ref", "HEAD", "refs/heads/main")
    git(tmp_path, "clone", "--quiet", "--no-tags", str(origin), str(work))

    first = dry_run(work)
    assert (first["version"], first["aliases"]) == ("1.0.0", ["1.0", "1"])
    assert first["reason"] == "the first release, whatever the commits before it say"

    git(origin, "tag", "v1.0.0")
    file = work / "scripts" / "mlops" / "releasing" / "release.py"
    changelog = work / "CHANGELOG.md"
    for title, version, reason in (
        ("perf: a", "1.0.1", "patch after 1.0.0, because of: perf: a"),
        ("feat: b", "1.1.0", "minor after 1.0.0, because of: feat: b"),
        ("fix: c", "1.1.0", "minor after 1.0.0, because of: feat: b"),
        ("fix!: d", "2.0.0", "major after 1.0.0, because of: fix!: d"),
    ):
        file.write_text(f"{file.read_text()}# {title}\n")
        changelog.write_text(
            changelog.read_text().replace("## Unreleased\n", f"## Unreleased\n\n- {title}\n", 1)
        )
        git(work, "commit", "--quiet", "--all", f"--message={title}")
        git(work, "push", "--quiet", "origin", "HEAD:main")
        assert (dry_run(work)["version"], dry_run(work)["reason"]) == (version, reason)


def dry_run(folder: Path) -> dict[str, object]:
    command = [sys.executable, "-m", "mlops.cli", "release", "--dry-run", "--json"]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_the_hook_is_the_command_and_nothing_else() -> None:
    config = yaml.safe_load((paths.checkout() / ".pre-commit-config.yaml").read_text(encoding="utf-8"))

    assert [one["repo"] for one in config["repos"]] == ["local"]
    (hook,) = config["repos"][0]["hooks"]
    assert (hook["entry"], hook["stages"]) == (".venv/bin/mlops commits --message", ["commit-msg"])
