"""Versions follow the commits, and every name reads back without loss."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from semver import Version

from mlops.base.errors import VersionError
from mlops.contracts import versions
from mlops.contracts.versions import ModelVersion

names = st.from_regex(re.compile(r"[a-z0-9]{1,4}(-[a-z0-9]{1,3}){0,1}"), fullmatch=True)
numbers = st.integers(0, 999)
releases = st.builds(Version, numbers, numbers, numbers)
candidates = st.builds(versions.merge_request_version, releases, st.integers(0, 99999), st.integers(0, 9999))
model_versions = st.builds(ModelVersion, releases | candidates, numbers)


@given(names, names, model_versions)
def test_a_resource_name_reads_back(project: str, model: str, version: ModelVersion) -> None:
    name = versions.resource_name(project, model, version)
    assert re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", name)  # CreateModel's ModelName
    assert versions.parse_resource_name(name) == (project, model, version)
    assert name.startswith(versions.resource_prefix(project, model))


@given(names, names, names, names, model_versions, model_versions)
def test_different_models_have_different_names(
    project: str, model: str, project2: str, model2: str, version: ModelVersion, version2: ModelVersion
) -> None:
    one, two = (project, model, version), (project2, model2, version2)
    assert (versions.resource_name(*one) == versions.resource_name(*two)) == (one == two)


@given(st.from_regex(versions._RESOURCE, fullmatch=True))
def test_every_name_that_reads_has_one_spelling(name: str) -> None:
    parsed = versions.parse_resource_name(name)
    assert parsed is not None
    project, model, version = parsed
    if len(project) + len(model) <= versions.NAME_BUDGET and len(name) <= versions.RESOURCE_NAME_LIMIT:
        assert versions.resource_name(project, model, version) == name


@pytest.mark.parametrize(
    "name",
    [
        "web--phish--01-0-0--r0",
        "web--phish--1-0-0--r00",
        "web--phish--1-0-0-mr042-7--r0",
        "web--phish--1-0-0-mr42-07--r0",
        "web--phish--1-0-0",
        "web--phish--1-0-٣--r0",
        "web---phish--1-0-0--r0",
        "somebody-elses",
    ],
)
def test_names_of_others_are_none_of_ours(name: str) -> None:
    assert versions.parse_resource_name(name) is None


@given(model_versions)
def test_a_tag_reads_back(version: ModelVersion) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", version.tag)
    assert ModelVersion.from_tag(version.tag) == version
    assert ModelVersion.parse(str(version)) == version


@pytest.mark.parametrize(
    "text", ["", "1.0", "1.0.0", "v1.0.0+retrain.0", "1.0.0+retrain.01", "1.0.0-rc.1+retrain.0"]
)
def test_no_model_version(text: str) -> None:
    with pytest.raises(VersionError):
        ModelVersion.parse(text)


@pytest.mark.parametrize("tag", ["1.0.0+retrain.0", "1.0.0", "latest"])
def test_no_tag_of_a_model_version(tag: str) -> None:
    with pytest.raises(VersionError):
        ModelVersion.from_tag(tag)


@pytest.mark.parametrize("text", ["1.0", "1.0.0-rc1", "1.0.0+build", "01.0.0", "1.0.0-mr1", "1.0.0-mr01.1"])
def test_no_image_version(text: str) -> None:
    with pytest.raises(VersionError):
        versions.parse_image_version(text)


@pytest.mark.parametrize(
    ("message", "bump"),
    [
        ("fix: close the file", "patch"),
        ("Tidy up", "patch"),
        ("", "patch"),
        ("feat: score in batches", "minor"),
        ("feat(serve): score in batches", "minor"),
        ("Feat: score in batches", "minor"),
        ("feature: score in batches", "patch"),
        ("feat:no space", "patch"),
        ("feat!: a new input", "major"),
        ("fix(train)!: a new input", "major"),
        ("refactor!: drop Python 3.10", "major"),
        ("fix: x\n\nBREAKING CHANGE: the input is a list now", "major"),
        ("fix: x\n\nBREAKING-CHANGE: the input is a list now", "major"),
        ("fix: x\n\nthis is no BREAKING CHANGE: really", "patch"),
        ('Revert "feat: score in batches"', "patch"),
        ("Merge branch 'batches' into 'main'\n\nfeat: score in batches\n\nSee merge request a/b!7", "minor"),
        ("Merge branch 'batches' into 'main'\n\nfeat!: a new input\n\nSee merge request a/b!7", "major"),
        ("Batches\n\n* feat: score in batches\n\n* fix: typo", "minor"),
        ("Batches\n\n* wip\n\n* fix(api)!: a new input", "major"),
        ("fix: typo\n\nfeat: is what this body line looks like", "patch"),
    ],
)
def test_a_message_says_how_much_changes(message: str, bump: str) -> None:
    assert versions.bump_of(message) == bump


def test_the_first_release() -> None:
    assert str(versions.next_release(None, ["feat!: x"])) == "1.0.0"


@pytest.mark.parametrize(
    ("messages", "following"),
    [
        ([], "1.2.4"),
        (["docs: x"], "1.2.4"),
        (["fix: x", "feat: y", "fix: z"], "1.3.0"),
        (["feat: x", "feat!: y", "fix: z"], "2.0.0"),
    ],
)
def test_the_largest_change_decides(messages: list[str], following: str) -> None:
    assert str(versions.next_release(Version(1, 2, 3), messages)) == following


def test_the_commit_that_decides_is_known() -> None:
    assert versions.largest(["fix: x", "feat: y", "feat: z"]) == ("minor", "feat: y")
    assert versions.largest(["docs: x"]) == ("patch", "docs: x")


def test_nothing_is_read_after_a_breaking_change() -> None:
    messages = iter(["fix: x", "feat!: y", "fix: z"])
    versions.next_release(Version(1, 2, 3), messages)
    assert list(messages) == ["fix: z"]


@given(releases, st.lists(st.sampled_from(["fix: x", "feat: x", "feat!: x", "x"])))
def test_a_release_is_above_all_before_it(last: Version, messages: list[str]) -> None:
    following = versions.next_release(last, messages)
    assert last < versions.merge_request_version(following, 42, 7) < following


@pytest.mark.parametrize(("tag", "version"), [("phish/v1.3.0", "1.3.0"), ("v1.3.0", "1.3.0")])
def test_a_git_tag_is_a_version(tag: str, version: str) -> None:
    assert str(versions.parse_git_tag(tag, "phish")) == version


@pytest.mark.parametrize(
    "tag", ["1.3.0", "phish/1.3.0", "spam/v1.3.0", "v1.3", "v1.3.0-mr1.1", "nightly", "phish/v"]
)
def test_a_git_tag_that_is_no_version(tag: str) -> None:
    with pytest.raises(VersionError, match="is not a version of phish") as caught:
        versions.parse_git_tag(tag, "phish")
    assert "phish/v1.3.0" in caught.value.cause
    assert "default branch" in caught.value.next_step


@pytest.mark.parametrize("tag", ["src-0123", "latest", "1.3.0-mr42.7", "1.3"])
def test_what_releases_nothing(tag: str) -> None:
    assert versions.parse_release(tag) is None


@pytest.mark.parametrize(
    ("project", "model", "message"),
    [
        ("Web", "phish", "project name 'Web' is not valid"),
        ("web", "phish--url", "model name 'phish--url' is not valid"),
        ("web", "", "model name '' is not valid"),
        ("a" * 20, "b" * 12, "3 characters too long together"),
    ],
)
def test_names_that_do_not_fit(project: str, model: str, message: str) -> None:
    with pytest.raises(VersionError, match=re.escape(message)):
        versions.check_names(project, model)


@given(
    names,
    names,
    model_versions,
    st.sampled_from(["train", "evaluate-champion"]),
    st.text(max_size=33),
    numbers,
)
def test_a_job_name_is_valid_and_its_own(
    project: str, model: str, version: ModelVersion, step: str, run: str, attempt: int
) -> None:
    name = versions.job_name(project, model, version, step, run, attempt)
    assert re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", name)
    assert name != versions.job_name(project, model, version, step, run, attempt + 1)
