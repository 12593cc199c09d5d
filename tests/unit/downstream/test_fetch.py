"""What a pipeline takes for the upstream's code: only what GitLab says, and only whole."""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlops.base.errors import ArtifactError, MlopsError, SettingsError, SourceError, UpstreamError, UsageError
from mlops.ci import dotenv
from mlops.ci.pipeline import Pipeline
from mlops.downstream.fetch import (
    CodeFolder,
    Known,
    ask,
    ask_with_job_token,
    fetch,
    read_claim,
    refuse_variables,
    run,
)

from .upstreams import JOB, PATH, PIPELINE, GitLab, Repository, archive, claim, git, pushed, zipped


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


@pytest.fixture
def place(tmp_path: Path) -> CodeFolder:
    return CodeFolder(files=tmp_path / "job" / "source", manifest="mlops.yml")


def good(repository: Repository, **facts: Any) -> GitLab:
    return pushed(repository.head, archive(repository.bundle()), **facts)


def known(repository: Repository, **said: Any) -> Known:
    return ask(claim(repository.head, **said), good(repository), "")


# -- what it is ----------------------------------------------------------------------------------------------


def test_the_code_of_exactly_that_job_is_there_with_its_history(
    repository: Repository, place: CodeFolder
) -> None:
    gitlab = good(repository)

    found = fetch(ask(claim(repository.head), gitlab, ""), gitlab, place)

    assert gitlab.asked == [f"find code in {PIPELINE}", f"download {JOB}"]
    assert (found.change, found.commit, found.title) == (
        "default_branch",
        repository.head,
        "fix: add the training",
    )
    assert (place.files / "train.py").read_text() == "print(1)\n"
    assert git(place.files, "log", "--format=%s").splitlines() == ["fix: add the training", "feat: begin"]
    assert git(place.files, "status", "--porcelain") == ""


def test_what_is_fetched_can_be_moved_with_its_history(
    repository: Repository, place: CodeFolder, tmp_path: Path
) -> None:
    fetch(known(repository), good(repository), place)
    (tmp_path / "job").rename(tmp_path / "another job")

    assert git(tmp_path / "another job" / "source", "rev-parse", "HEAD") == repository.head


def test_later_jobs_see_the_upstreams_change(repository: Repository, place: CodeFolder) -> None:
    found = fetch(known(repository), good(repository), place)

    pipeline = Pipeline.from_environment(
        {
            "CI_PIPELINE_SOURCE": "pipeline",
            "CI_PROJECT_PATH": "platform/ml-ops",
            "CI_PIPELINE_ID": "99",
            "CI_COMMIT_SHA": "f" * 40,
            "CI_COMMIT_BRANCH": "main",
            "CI_DEFAULT_BRANCH": "main",
            "CI_PIPELINE_URL": "https://gitlab/platform/ml-ops/-/pipelines/99",
            "CI_PROJECT_ID": "1",
            **found.variables(),
        }
    )

    assert pipeline.kind == "default_branch"
    assert (pipeline.commit_sha, pipeline.origin.project_path) == (repository.head, PATH)
    assert pipeline.origin.commit_title == "fix: add the training"
    # the jobs and their links are this project's
    assert (pipeline.pipeline_id, pipeline.project_id) == ("99", "1")
    assert pipeline.origin.pipeline_url.endswith("/99")


def test_a_commit_that_names_a_variable_does_not_get_its_value(
    repository: Repository, place: CodeFolder
) -> None:
    repository.commit({"a": "1"}, "tell ${MLOPS_ID_TOKEN} and $CI_JOB_TOKEN and %CI_JOB_TOKEN% for 5$, 100 %")
    gitlab = good(repository, ref="feature/$MLOPS_ID_TOKEN")

    said = fetch(ask(claim(repository.head, change="branch"), gitlab, ""), gitlab, place).variables()

    assert said["MLOPS_UPSTREAM_TITLE"] == (
        "tell $ {MLOPS_ID_TOKEN} and $ CI_JOB_TOKEN and % CI_JOB_TOKEN% for 5$, 100 %"
    )
    assert said["MLOPS_UPSTREAM_REF"] == "feature/$ MLOPS_ID_TOKEN"


def test_a_message_that_is_no_utf_8_travels(
    repository: Repository, place: CodeFolder, tmp_path: Path
) -> None:
    """The git command itself writes no such commit; other tools do."""
    commit = git(repository.folder, "cat-file", "commit", "HEAD").replace("add the training", "à jour")
    (tmp_path / "commit").write_bytes(f"{commit}\n".encode("latin-1"))
    repository.head = git(repository.folder, "hash-object", "-t", "commit", "-w", str(tmp_path / "commit"))
    git(repository.folder, "reset", "--quiet", "--hard", repository.head)

    found = fetch(known(repository), good(repository), place)
    dotenv.write(tmp_path / "fetch.env", found.variables())

    assert "MLOPS_UPSTREAM_TITLE=fix: ? jour\n" in (tmp_path / "fetch.env").read_text()


@pytest.mark.parametrize(
    ("record", "said", "kind"),
    [
        ({}, {}, "default_branch"),
        ({"source": "web"}, {}, "default_branch"),
        ({"ref": "topic"}, {"ref": "topic", "change": "branch"}, "branch"),
        (
            {"source": "merge_request_event", "ref": "refs/merge-requests/42/head", "merge_request": 42},
            {"change": "merge_request", "ref": "topic", "merge_request": 42},
            "merge_request",
        ),
    ],
)
def test_the_kind_of_a_change_is_what_gitlab_says(
    repository: Repository, record: dict[str, Any], said: dict[str, Any], kind: str
) -> None:
    found = ask(claim(repository.head, **said), good(repository, **record), "")

    assert found.upstream.change == kind
    assert found.upstream.merge_request == record.get("merge_request", 0)


@pytest.mark.parametrize(
    ("record", "said", "told"),
    [
        # An unreviewed branch that poses as the default branch.
        ({"ref": "topic"}, {}, "change: the trigger says default_branch, GitLab says branch"),
        (
            {"source": "merge_request_event", "ref": "refs/merge-requests/42/head", "merge_request": 42},
            {},
            "change: the trigger says default_branch, GitLab says merge_request",
        ),
        ({}, {"project_path": "models/spam"}, "project: the trigger says models/spam"),
        ({}, {"commit": "b" * 40}, "commit: the trigger says bbbb"),
        ({}, {"artifact_job": "test"}, "job: the trigger says test, GitLab says code"),
        ({"pipeline_id": 13}, {}, "pipeline: the trigger says 12, GitLab says 13"),
        (
            {"source": "merge_request_event", "ref": "refs/merge-requests/42/head", "merge_request": 42},
            {"change": "merge_request", "merge_request": 41},
            "merge request: the trigger says 41, GitLab says 42",
        ),
    ],
)
def test_a_trigger_that_says_something_else_is_refused(
    repository: Repository, record: dict[str, Any], said: dict[str, Any], told: str
) -> None:
    gitlab = good(repository, **record)
    gitlab.jobs[PIPELINE, "test"] = JOB

    with pytest.raises(UpstreamError, match="not about what its trigger says") as caught:
        ask(claim(repository.head, artifact_job_id=JOB, **{"artifact_job": "code", **said}), gitlab, "")

    assert told in caught.value.cause


@pytest.mark.parametrize("record", [{"tag": True, "ref": "v1"}, {"source": "schedule"}])
def test_tags_and_schedules_make_no_releases(repository: Repository, record: dict[str, Any]) -> None:
    with pytest.raises(UpstreamError, match="not started by a change"):
        ask(claim(repository.head), good(repository, **record), "")


def test_the_number_of_another_projects_job_is_refused(repository: Repository) -> None:
    with pytest.raises(UpstreamError, match="knows nothing of it: read the job 78"):
        ask(claim(repository.head, artifact_job_id=78), good(repository), "")


def test_a_pipeline_without_the_job_is_named(repository: Repository) -> None:
    with pytest.raises(UpstreamError, match="no job code") as caught:
        ask(claim(repository.head, pipeline_id=13), good(repository), "")
    assert "pipeline 13" in caught.value.cause


def test_the_commit_is_gitlabs_word_where_the_trigger_could_not_say_it(repository: Repository) -> None:
    found = ask(claim(repository.head, commit=""), good(repository), "")
    assert found.upstream.commit == repository.head


def test_a_trigger_that_says_neither_commit_nor_pipeline_is_refused(repository: Repository) -> None:
    with pytest.raises(UpstreamError, match="neither its commit nor its pipeline"):
        ask(claim(repository.head, commit="", pipeline_id=0), good(repository), "")
    with pytest.raises(UpstreamError, match="neither its commit nor its pipeline"):
        ask_with_job_token(claim(repository.head, commit="", artifact_job_id=JOB), good(repository), PATH)


def test_an_older_gitlab_is_asked_for_the_pipeline(repository: Repository) -> None:
    gitlab = good(repository)

    assert ask(claim(repository.head, pipeline_id=0), gitlab, "").artifact_job_id == JOB
    assert gitlab.asked == [f"newest pipeline {repository.head[:8]} False", f"find code in {PIPELINE}"]


@pytest.mark.parametrize(
    ("member", "accepted", "passes"),
    [
        (True, "", True),
        (False, "", False),
        (False, "models/*", True),
        (True, "models/spam, web/*", False),
        (False, "models/spam models/phishing-url", True),
    ],
)
def test_whose_pipelines_are_accepted(
    repository: Repository, member: bool, accepted: str, passes: bool
) -> None:
    gitlab = good(repository)
    gitlab.upstream = replace(gitlab.upstream, member=member)

    if passes:
        assert ask(claim(repository.head), gitlab, accepted)
    else:
        with pytest.raises(UpstreamError, match="Pipelines of models/phishing-url are not accepted"):
            ask(claim(repository.head), gitlab, accepted)


# -- without a token of the platform's own -------------------------------------------------------------------


def test_a_job_token_fetches_the_newest_commit_of_the_default_branch(
    repository: Repository, place: CodeFolder
) -> None:
    gitlab = good(repository)
    gitlab.branches["main"] = (repository.head, True)

    found = ask_with_job_token(claim(repository.head, artifact_job_id=JOB), gitlab, "models/*")

    assert fetch(found, gitlab, place).change == "default_branch"


def test_a_job_token_fetches_the_newest_commit_of_a_merge_request(repository: Repository) -> None:
    gitlab = good(repository)
    gitlab.merge_requests[42] = repository.head

    said = claim(repository.head, change="merge_request", merge_request=42, artifact_job_id=JOB)

    assert ask_with_job_token(said, gitlab, "models/*").upstream.merge_request == 42


@pytest.mark.parametrize(
    ("branches", "accepted", "said", "told"),
    [
        ({"main": ("b" * 40, True)}, "models/*", {}, "is not the newest commit of main"),
        ({}, "models/*", {}, "not about what its trigger says"),
        ({"topic": ("HEAD", False)}, "models/*", {"ref": "topic"}, "not about what its trigger says"),
        ({"main": ("HEAD", True)}, "", {}, "are not accepted here"),
        ({"main": ("HEAD", True)}, "models/*", {"project_path": "a/b"}, "not about what its trigger says"),
        ({}, "models/*", {"change": "merge_request", "merge_request": 9}, "newest commit of !9"),
    ],
)
def test_what_a_job_token_cannot_prove_is_refused(
    repository: Repository, branches: dict[str, Any], accepted: str, said: dict[str, Any], told: str
) -> None:
    gitlab = good(repository)
    gitlab.branches = {
        name: (repository.head if commit == "HEAD" else commit, default)
        for name, (commit, default) in branches.items()
    }

    with pytest.raises(UpstreamError, match=told):
        ask_with_job_token(claim(repository.head, artifact_job_id=JOB, **said), gitlab, accepted)


def test_a_job_token_needs_to_be_told_the_job(repository: Repository) -> None:
    with pytest.raises(SettingsError, match="Nothing says which job") as caught:
        ask_with_job_token(claim(repository.head), good(repository), "models/*")
    assert "MLOPS_UPSTREAM_TOKEN" in caught.value.next_step


# -- whether it is whole -------------------------------------------------------------------------------------

Damage = Callable[[bytes], bytes]


def test_an_expired_artifact_is_named_with_its_day(repository: Repository) -> None:
    with pytest.raises(ArtifactError, match="is gone") as caught:
        ask(claim(repository.head), good(repository, expired="2026-11-01T00:00:00Z"), "")
    assert "2026-11-01" in caught.value.cause
    assert "code again" in caught.value.next_step


def test_a_job_that_failed_has_no_artifact(repository: Repository) -> None:
    with pytest.raises(ArtifactError, match="job code is failed"):
        ask(claim(repository.head), good(repository, status="failed"), "")


def refused(repository: Repository, place: CodeFolder, content: bytes, **said: Any) -> MlopsError:
    """The error; nothing of the artifact may be left where jobs look."""
    gitlab = pushed(repository.head, content)
    with pytest.raises((ArtifactError, SourceError)) as caught:
        fetch(ask(claim(repository.head, **said), gitlab, ""), gitlab, place)
    assert not place.files.exists()
    assert not place.history.exists()
    return caught.value


def test_a_changed_bundle_does_not_fit_its_checksum(repository: Repository, place: CodeFolder) -> None:
    bundle = repository.bundle()
    changed = bundle[:-1] + bytes([bundle[-1] ^ 1])

    error = refused(repository, place, archive(changed, hashlib.sha256(bundle).hexdigest()))

    assert "was changed" in error.what


def test_a_bundle_changed_with_its_checksum_is_no_history(repository: Repository, place: CodeFolder) -> None:
    bundle = repository.bundle()
    middle = len(bundle) - 40

    error = refused(
        repository, place, archive(bundle[:middle] + bytes([bundle[middle] ^ 1]) + bundle[middle + 1 :])
    )

    assert "no usable history" in error.what


def test_the_checksum_of_the_trigger_counts_too(repository: Repository, place: CodeFolder) -> None:
    error = refused(repository, place, archive(repository.bundle()), artifact_sha256="a" * 64)

    assert "the trigger says aaaa" in error.cause


def test_another_commit_is_refused_however_whole_it_is(repository: Repository, place: CodeFolder) -> None:
    reviewed = repository.head
    repository.commit({"train.py": "import os\n"}, "fix: nobody has seen this")
    gitlab = pushed(reviewed, archive(repository.bundle()))

    with pytest.raises(ArtifactError, match="of another commit"):
        fetch(ask(claim(reviewed), gitlab, ""), gitlab, place)
    assert not place.files.exists()


def test_a_shallow_history_says_what_to_set(
    repository: Repository, place: CodeFolder, tmp_path: Path
) -> None:
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{repository.folder}", str(tmp_path / "shallow"))
    file = tmp_path / "shallow.bundle"
    git(tmp_path / "shallow", "bundle", "create", "--quiet", str(file), "HEAD")

    error = refused(repository, place, archive(file.read_bytes()))

    assert "GIT_DEPTH" in error.next_step or "no usable history" in error.what


def test_a_bundle_that_is_none(repository: Repository, place: CodeFolder) -> None:
    assert "no usable history" in refused(repository, place, archive(b"#!/bin/sh\nid\n")).what


@pytest.mark.parametrize("target", ["/etc/passwd", "../../secrets", "deep/../../../x"])
def test_a_link_that_leaves_the_repository_is_refused(
    repository: Repository, place: CodeFolder, target: str
) -> None:
    (repository.folder / "data").symlink_to(target)
    repository.commit({}, "feat: a link")

    error = refused(repository, place, archive(repository.bundle()))

    assert "data in the upstream's commit is a link that leaves it" in error.what


def test_links_that_leave_it_together_are_refused(repository: Repository, place: CodeFolder) -> None:
    (repository.folder / "a" / "b").mkdir(parents=True)
    (repository.folder / "a" / "b" / "up").symlink_to("../..")
    (repository.folder / "out").symlink_to("a/b/up/../x")
    repository.commit({"a/b/file": ""}, "feat: links")

    assert "out in the upstream's commit" in refused(repository, place, archive(repository.bundle())).what


@pytest.mark.parametrize(
    ("content", "width", "depth"), [("x", 10, 9), ("x" * (1 << 20), 80, 2)], ids=["files", "bytes"]
)
def test_a_commit_that_stands_for_more_than_a_disk_is_refused(
    repository: Repository, place: CodeFolder, content: str, width: int, depth: int
) -> None:
    """Folders that are the same folder many times over: a billion files, or 6 GiB, in a bundle of kilobytes."""
    (repository.folder / "seed").write_text(content)
    kind, mode, name = "blob", "100644", git(repository.folder, "hash-object", "-w", "seed")
    for _ in range(depth):
        listing = "".join(f"{mode} {kind} {name}\t{number}\n" for number in range(width))
        made = subprocess.run(
            ["git", "-C", str(repository.folder), "mktree"], input=listing, capture_output=True, text=True
        )
        kind, mode, name = "tree", "040000", made.stdout.strip()
    repository.head = git(repository.folder, "commit-tree", "-m", "feat: data", name)
    git(repository.folder, "update-ref", "HEAD", repository.head)
    bundle = repository.bundle()
    assert len(bundle) < 20_000

    assert "too large to check out" in refused(repository, place, archive(bundle)).what
    assert not place.files.exists()


def test_a_link_inside_the_repository_is_a_link(repository: Repository, place: CodeFolder) -> None:
    (repository.folder / "again.py").symlink_to("train.py")
    repository.commit({}, "feat: a link")

    fetch(known(repository), good(repository), place)

    assert (place.files / "again.py").readlink() == Path("train.py")


def test_the_upstreams_hooks_and_settings_do_not_run(
    repository: Repository, place: CodeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = tmp_path / "template" / "hooks"
    hooks.mkdir(parents=True)
    for name in ("post-checkout", "post-merge", "reference-transaction"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/hooked\n")
        (hooks / name).chmod(0o755)
    monkeypatch.setenv("GIT_TEMPLATE_DIR", str(tmp_path / "template"))

    fetch(known(repository), good(repository), place)

    assert not (tmp_path / "hooked").exists()
    assert not (place.history / "hooks").exists()


def test_a_commit_without_the_manifest_is_refused(repository: Repository, tmp_path: Path) -> None:
    place = CodeFolder(files=tmp_path / "job" / "source", manifest="models/mlops.yml")

    assert refused(repository, place, archive(repository.bundle())).what.endswith("has no models/mlops.yml")


def test_code_that_is_there_is_never_mixed_with_other_code(repository: Repository, place: CodeFolder) -> None:
    place.files.mkdir(parents=True)
    with pytest.raises(UsageError, match="is there already"):
        fetch(known(repository), good(repository), place)


def test_a_second_attempt_finishes_what_a_failed_one_began(repository: Repository, place: CodeFolder) -> None:
    refused(repository, place, zipped({}))

    assert fetch(known(repository), good(repository), place).commit == repository.head


# -- what the trigger may say --------------------------------------------------------------------------------


def arguments(**given: str) -> argparse.Namespace:
    said = {
        "project_id": "7",
        "project_path": PATH,
        "commit": "a" * 40,
        "ref": "refs/heads/main",
        "change": "default_branch",
        "merge_request": "$CI_MERGE_REQUEST_IID",
        "pipeline_id": "$CI_UPSTREAM_PIPELINE_ID",
        "artifact_job": "code",
        "artifact_job_id": "",
        "artifact_sha256": "",
        "manifest": "mlops.yml",
    }
    return argparse.Namespace(**{**said, **given})


def test_variables_without_a_value_arrive_as_their_names() -> None:
    read = read_claim(arguments(), {})

    assert (read.merge_request, read.pipeline_id, read.artifact_job_id, read.ref) == (0, 0, 0, "main")


def test_a_commit_that_was_not_expanded_is_none() -> None:
    assert read_claim(arguments(commit="$CI_COMMIT_SHA"), {}).commit == ""


def test_forwarded_variables_say_which_job_it_was() -> None:
    read = read_claim(arguments(), {"MLOPS_ARTIFACT_JOB_ID": "77", "MLOPS_ARTIFACT_SHA256": "b" * 64})

    assert (read.artifact_job_id, read.artifact_sha256) == (77, "b" * 64)


@pytest.mark.parametrize(
    ("given", "variables"),
    [
        ({"commit": "main"}, {}),
        ({"project_id": "7; id"}, {}),
        ({"merge_request": "x"}, {}),
        ({"change": "tag"}, {}),
        ({"manifest": "../mlops.yml"}, {}),
        ({"manifest": "/etc/mlops.yml"}, {}),
        ({}, {"MLOPS_ARTIFACT_JOB_ID": "$(id)"}),
        ({}, {"MLOPS_ARTIFACT_JOB_ID": "9" * 5000}),
        ({}, {"MLOPS_ARTIFACT_SHA256": "short"}),
    ],
)
def test_what_has_another_form_is_refused(given: dict[str, str], variables: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        read_claim(arguments(**given), variables)


@pytest.mark.parametrize("folder", [".", "/"])
def test_the_code_goes_into_a_folder_of_its_own(folder: str) -> None:
    with pytest.raises(UsageError, match="not a folder to make"):
        run(arguments(directory=folder))


@pytest.mark.parametrize(
    "name", ["MLOPS_UPSTREAM_CHANGE", "MLOPS_AWS_ROLE_ARN", "MLOPS_OVERRIDE", "BASH_ENV"]
)
def test_variables_of_the_trigger_do_not_get_past(name: str) -> None:
    with pytest.raises(UpstreamError, match="passes on variables") as caught:
        refuse_variables({"MLOPS_UPSTREAM_TOKEN": "glpat-secret", name: "x"})
    assert caught.value.cause == name


def test_the_token_is_ours_to_set() -> None:
    refuse_variables({**os.environ, "MLOPS_UPSTREAM_TOKEN": "glpat-secret", "MLOPS_UPSTREAMS": "models/*"})
