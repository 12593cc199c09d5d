"""The history is read from real repositories: merged, squashed, shallow, rewritten, or not there at all."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mlops.base.errors import SourceError
from mlops.clients.git.repository import Commit, Repository

from .work import Work


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path / "origin")


def messages(repository: Repository, revisions: tuple[str, ...] | None, *paths: str) -> list[str]:
    assert revisions is not None
    return [commit.message.strip() for commit in repository.commits(revisions, paths, lambda _: True)]


def shallow_clone(work: Work, directory: Path, depth: int = 1) -> Repository:
    work.git("config", "uploadpack.allowFilter", "true")
    subprocess.run(
        ["git", "clone", "--quiet", f"--depth={depth}", "--no-tags", f"file://{work.root}", str(directory)],
        check=True,
    )
    return Repository.open(directory)


def test_no_repository(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no git history") as caught:
        Repository.open(tmp_path)
    assert "not a git repository" in caught.value.cause
    assert "clone of the model repository" in caught.value.next_step


def test_no_commit(work: Work) -> None:
    with pytest.raises(SourceError, match="no git history") as caught:
        Repository.open(work.root)
    assert caught.value.next_step == "Commit the model's files first."


def test_no_git(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SourceError, match="git is missing"):
        Repository.open(work.root)


def test_files_of_a_commit_and_not_of_the_work_tree(work: Work, tmp_path: Path) -> None:
    work.commit("feat: x", "model/größe.py", "print()\n")
    work.commit("feat: y", "other/y.py")
    (work.root / "model" / "größe.py").write_text("edited\n")
    (work.root / "model" / "report.xml").write_text("left over\n")
    repository = Repository.open(work.root / "model")
    assert repository.root == work.root
    (file,) = repository.files("model")
    assert file.path == "model/größe.py"
    assert repository.text(file) == "print()\n"
    assert len(repository.files(".")) == 2
    assert repository.files("nothing") == []
    assert sorted(repository.changes("model")) == ["model/größe.py", "model/report.xml"]

    repository.export([file.path], tmp_path / "context")
    assert (tmp_path / "context" / "model" / "größe.py").read_text() == "print()\n"
    assert not (tmp_path / "context" / "other").exists()


def test_commits_that_touch_a_path(work: Work) -> None:
    first = work.commit("feat: first", "a/x")
    work.commit("feat: elsewhere", "b/x")
    work.commit("fix: here\n\nBREAKING CHANGE: y", "a/y")
    repository = Repository.open(work.root)
    revisions = repository.since(first, "")
    assert messages(repository, revisions, "a") == ["fix: here\n\nBREAKING CHANGE: y"]
    assert messages(repository, revisions, "a", "b") == ["fix: here\n\nBREAKING CHANGE: y", "feat: elsewhere"]
    assert list(repository.commits(revisions or (), ["."], lambda path: path == "b/x")) == [
        Commit("feat: elsewhere\n", ("b/x",))
    ]
    assert messages(repository, repository.since(repository.head, ""), "a") == []


def test_a_merge_counts_with_its_own_message(work: Work) -> None:
    first = work.commit("feat: first")
    work.git("checkout", "--quiet", "-b", "side")
    work.commit("wip", "side.py")
    work.git("checkout", "--quiet", "main")
    work.commit("docs: x", "README.md")
    work.merge("side", "Merge branch 'side' into 'main'\n\nfeat!: new input")
    repository = Repository.open(work.root)
    found = messages(repository, repository.since(first, ""), "side.py")
    assert found == ["Merge branch 'side' into 'main'\n\nfeat!: new input", "wip"]


def test_a_branch_older_than_the_release_counts_when_it_is_merged(work: Work) -> None:
    work.commit("feat: first")
    work.git("checkout", "--quiet", "-b", "side")
    work.commit("feat!: old but new here", "side.py")
    work.git("checkout", "--quiet", "main")
    release = work.commit("fix: released")
    work.merge("side", "Merge branch 'side'")
    repository = Repository.open(work.root)
    assert "feat!: old but new here" in messages(repository, repository.since(release, ""), ".")


def test_reading_stops_where_the_reader_does(work: Work) -> None:
    for number in range(20):
        work.commit(f"fix: {number}")
    repository = Repository.open(work.root)
    commits = repository.commits((repository.head,), ["."], lambda _: True)
    assert next(commits).message == "fix: 19\n"
    commits.close()  # type: ignore[attr-defined]  # a generator; git is gone with it


def test_a_revision_of_another_history(work: Work) -> None:
    work.commit("feat: rewritten")
    later = work.commit("fix: rewritten too")
    repository = Repository.open(work.root)
    assert repository.since("0" * 40, "") is None
    assert repository.since("--output=/tmp/x", "") is None
    assert repository.since("", "") is None
    assert messages(repository, repository.after(datetime(2026, 1, 1, 0, 2, tzinfo=UTC)), ".") == [
        "fix: rewritten too"
    ]
    assert later == repository.head


@pytest.mark.parametrize("tag", ["", "model/v1.0.0"])
def test_a_shallow_clone_is_deepened(work: Work, tmp_path: Path, tag: str) -> None:
    for number in range(5):
        work.commit(f"fix: before {number}")
    release = work.commit("feat: released")
    if tag:
        work.git("tag", "--annotate", "--message", "1.0.0", tag)
    work.commit("feat!: new")
    work.commit("fix: newer")
    repository = shallow_clone(work, tmp_path / "clone")
    assert repository.shallow
    assert messages(repository, repository.since(release, tag), ".") == ["fix: newer", "feat!: new"]
    commits = subprocess.run(
        ["git", "-C", str(repository.root), "rev-list", "--all"], check=True, capture_output=True, text=True
    ).stdout.split()
    assert len(commits) == (3 if tag else 8)  # with a tag, the two and the release itself


def test_a_tag_that_was_moved_is_not_believed(work: Work, tmp_path: Path) -> None:
    release = work.commit("feat: released")
    work.commit("feat!: new")
    work.commit("fix: newer")
    work.git("tag", "model/v1.0.0")
    repository = shallow_clone(work, tmp_path / "clone")
    assert messages(repository, repository.since(release, "model/v1.0.0"), ".") == [
        "fix: newer",
        "feat!: new",
    ]


def test_a_shallow_clone_that_is_deep_enough_stays_as_it_is(work: Work, tmp_path: Path) -> None:
    work.commit("fix: before")
    release = work.commit("feat: released")
    work.commit("fix: newer")
    repository = shallow_clone(work, tmp_path / "clone", depth=2)
    work.root.rename(tmp_path / "gone")
    assert messages(repository, repository.since(release, "v1.0.0"), ".") == ["fix: newer"]


def test_a_merge_into_a_shallow_clone(work: Work, tmp_path: Path) -> None:
    """The release is there, but the side branch is cut off: that is not deep enough."""
    work.commit("feat: first")
    work.git("checkout", "--quiet", "-b", "side")
    work.commit("feat!: far down the side branch", "side.py")
    work.commit("fix: x", "side.py")
    work.git("checkout", "--quiet", "main")
    release = work.commit("fix: released")
    work.merge("side", "Merge branch 'side'")
    repository = shallow_clone(work, tmp_path / "clone", depth=2)
    assert "feat!: far down the side branch" in messages(repository, repository.since(release, ""), ".")


def test_a_shallow_clone_that_cannot_be_deepened(work: Work, tmp_path: Path) -> None:
    release = work.commit("feat: released")
    work.commit("fix: new")
    repository = shallow_clone(work, tmp_path / "clone")
    work.root.rename(tmp_path / "gone")
    with pytest.raises(SourceError) as caught:
        repository.since(release, "")
    assert "GIT_DEPTH" in caught.value.next_step
    with pytest.raises(SourceError):
        repository.after(datetime(2026, 1, 1, tzinfo=UTC))


def test_a_rewritten_history_in_a_shallow_clone(work: Work, tmp_path: Path) -> None:
    work.commit("feat: old")
    work.commit("fix: new")
    work.commit("fix: newer")
    repository = shallow_clone(work, tmp_path / "clone")
    assert repository.since("0" * 40, "") is None
    assert messages(repository, repository.after(datetime(2026, 1, 1, 0, 2, tzinfo=UTC)), ".") == [
        "fix: newer",
        "fix: new",
    ]


def test_a_history_that_was_deepened_is_asked_again(work: Work, tmp_path: Path) -> None:
    """As when another pipeline takes the version that was computed, and the next is looked for."""
    first = work.commit("feat: first")
    second = work.commit("fix: second")
    work.commit("fix: newer")
    repository = shallow_clone(work, tmp_path / "clone")
    assert messages(repository, repository.since(first, ""), ".") == ["fix: newer", "fix: second"]
    assert messages(repository, repository.since(second, ""), ".") == ["fix: newer"]
    assert repository.since("0" * 40, "") is None


def test_a_release_that_is_newer_than_the_shallow_clone(work: Work, tmp_path: Path) -> None:
    """As when a job of an older commit is run again, or loses its version to a newer commit's."""
    work.commit("fix: older")
    work.commit("fix: ours")
    repository = shallow_clone(work, tmp_path / "clone")
    release = work.commit("feat: released meanwhile")
    work.git("tag", "model/v1.1.0")
    work.git("config", "uploadpack.allowAnySHA1InWant", "true")
    assert repository.since(release, "model/v1.1.0") is None


# -- any depth gives what a full clone gives -----------------------------------------------------------------


def linear(work: Work) -> str:
    """Several models' commits after the release; the first one is of another model."""
    for number in range(3):
        work.commit(f"fix: before {number}", "a/code.py")
    release = work.commit("feat: released", "a/code.py")
    work.commit("feat!: only of the other model", "b/code.py")
    work.commit("feat: new", "a/code.py")
    work.commit("docs: words", "README.md")
    work.commit("fix: newer", "a/code.py")
    return release


def merged_at_once(work: Work) -> str:
    """A long branch, begun at the release, is the first thing that is merged after it."""
    work.commit("feat: first", "a/code.py")
    release = work.commit("feat: released", "a/code.py")
    branch(work, "side", "feat!: far down the branch", "wip", "wip too")
    work.merge("side", "Merge branch 'side'")
    work.commit("fix: newer", "a/code.py")
    return release


def merged_between(work: Work) -> str:
    """A branch whose first commit is of the other model, between two commits of the main line."""
    release = work.commit("feat: released", "a/code.py")
    work.commit("fix: new", "a/code.py")
    branch(work, "side", "feat!: far down the branch")
    work.commit("fix: newer", "a/other.py")
    work.merge("side", "Merge branch 'side'")
    return release


def octopus(work: Work) -> str:
    """Three parents at once, one of which is the release."""
    release = work.commit("feat: released", "a/code.py")
    for name in ("one", "two"):
        branch(work, name, f"feat: {name}", "wip")
    work.merge("one", "Merge branches", "two")
    return release


def branch_older_than_the_release(work: Work) -> str:
    """Its fork is an ancestor of the release, and the history's root, which no shallow clone may count."""
    work.commit("feat!: the first commit of all", "a/code.py")
    branch(work, "side", "feat: old, but new here", "wip")
    for number in range(4):
        work.commit(f"fix: before {number}", "a/code.py")
    release = work.commit("fix: released", "a/code.py")
    work.merge("side", "Merge branch 'side'")
    work.commit("fix: newer", "a/code.py")
    return release


def released_beside_the_root(work: Work) -> str:
    """The release's only parent is the root, and a merge brings it to the main line."""
    work.commit("feat: the first commit of all", "a/code.py")
    work.git("checkout", "--quiet", "-b", "side")
    release = work.commit("feat: released", "a/side.py")
    work.git("checkout", "--quiet", "main")
    work.merge("side", "Merge branch 'side'")
    for number in range(4):
        work.commit(f"fix: newer {number}", "a/code.py")
    return release


def another_history_merged(work: Work) -> str:
    """As a subtree is: it has a root of its own, which counts."""
    release = work.commit("feat: released", "a/code.py")
    work.git("checkout", "--quiet", "--orphan", "other")
    work.commit("feat!: a root of its own", "a/sub.py")
    work.git("checkout", "--quiet", "main")
    work.git("merge", "--quiet", "--allow-unrelated-histories", "--message", "Merge subtree", "other")
    return release


def branch(work: Work, name: str, *messages: str) -> None:
    work.git("checkout", "--quiet", "-b", name)
    for number, message in enumerate(messages):
        work.commit(message, f"a/{name}{number}.py")
    work.git("checkout", "--quiet", "main")


@pytest.mark.parametrize("tag", ["", "model/v1.0.0"])
@pytest.mark.parametrize(
    "history",
    [
        linear,
        merged_at_once,
        merged_between,
        octopus,
        branch_older_than_the_release,
        released_beside_the_root,
        another_history_merged,
    ],
)
def test_any_depth_gives_what_a_full_clone_gives(
    work: Work, tmp_path: Path, history: Callable[[Work], str], tag: str
) -> None:
    release = history(work)
    if tag:
        work.git("tag", tag, release)
    full = Repository.open(work.root)
    expected = messages(full, full.since(release, tag), "a")
    depth, shallow = 1, True
    while shallow:
        clone = shallow_clone(work, tmp_path / f"depth{depth}", depth)
        shallow, depth = clone.shallow, depth + 1
        assert messages(clone, clone.since(release, tag), "a") == expected, f"depth {depth - 1}"
        # asked again, as when another pipeline took the version
        assert messages(clone, clone.since(release, tag), "a") == expected, f"depth {depth - 1}, again"
    assert depth > 3
