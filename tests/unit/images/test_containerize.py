"""One version for one content, whatever else happens at the same time."""

from __future__ import annotations

import argparse
import io
import tarfile
from pathlib import Path

import pytest
from semver import Version

from mlops.base.errors import (
    GitLabError,
    OwnerError,
    RegistryError,
    SettingsError,
    SourceError,
    UnsupportedImageError,
    UsageError,
    VersionError,
)
from mlops.ci.pipeline import Pipeline
from mlops.clients.aws.oci_registry import Registry
from mlops.images import containerize as stage
from mlops.images.builders import KEY_LABEL, REVISION_LABEL, BuildSource, DockerBuilder, ProcessBuilder
from mlops.images.containerize import ContainerizedImage, containerize, find_release

from .model import DOCKERFILE, MERGE_REQUEST, ModelRepository, on_main
from .registry import OCI, FakeBuilder, FakeRegistry


@pytest.fixture
def work(tmp_path: Path) -> ModelRepository:
    return ModelRepository(tmp_path / "model")


@pytest.fixture
def registry() -> FakeRegistry:
    return FakeRegistry()


def push(work: ModelRepository, registry: FakeRegistry, **variables: str) -> ContainerizedImage:
    return containerize(work.source(variables), registry, FakeBuilder())


def test_the_first_release(work: ModelRepository, registry: FakeRegistry) -> None:
    result = push(work, registry)
    assert (str(result.version), result.built) == ("1.0.0", True)
    assert registry.labels(result.digest) == {
        REVISION_LABEL: work.git("rev-parse", "HEAD"),
        "org.opencontainers.image.version": "1.0.0",
        "org.opencontainers.image.source": "https://gitlab.example.org/web/phish",
        KEY_LABEL: work.source().content.key,
    }
    assert set(registry.stored[result.digest][1]) == {"1.0.0", f"src-{work.source().content.key}"}


def test_an_unchanged_content_keeps_its_version_for_two_questions(
    work: ModelRepository, registry: FakeRegistry
) -> None:
    first = push(work, registry)
    work.commit("feat: words", "README.md")
    registry.questions.clear()
    second = push(work, registry)
    assert second == ContainerizedImage(
        version=first.version, digest=first.digest, built=False, note="the content is unchanged"
    )
    assert registry.questions == ["find src-" + work.source().content.key[:6], "owner"]


@pytest.mark.parametrize(
    ("message", "version"),
    [("fix: x", "1.0.1"), ("feat(a): x", "1.1.0"), ("feat!: x", "2.0.0"), ("x", "1.0.1")],
)
def test_commits_decide_the_next_version(
    work: ModelRepository, registry: FakeRegistry, message: str, version: str
) -> None:
    push(work, registry)
    work.commit(message, "phish/new.py")
    work.commit("feat!: elsewhere", "README.md")
    assert str(push(work, registry).version) == version


def test_a_merge_request_has_a_candidate_and_merging_it_a_release(
    work: ModelRepository, registry: FakeRegistry
) -> None:
    push(work, registry)
    work.git("checkout", "--quiet", "-b", "side")
    work.commit("feat: x", "phish/new.py")
    candidate = push(work, registry, **MERGE_REQUEST)
    assert str(candidate.version) == "1.1.0-mr42.7"
    again = push(work, registry, **MERGE_REQUEST, CI_PIPELINE_IID="8")
    assert (again.version, again.built) == (candidate.version, False)
    work.git("checkout", "--quiet", "main")
    work.merge("side", "Merge branch 'side'")
    release = push(work, registry)
    assert (str(release.version), release.built) == ("1.1.0", True)
    assert release.digest != candidate.digest
    unchanged = push(work, registry, **MERGE_REQUEST, CI_PIPELINE_IID="9")
    assert (str(unchanged.version), unchanged.digest) == ("1.1.1-mr42.9", release.digest)


OTHER_MERGE_REQUEST = {**MERGE_REQUEST, "CI_MERGE_REQUEST_IID": "43"}


def test_a_merge_request_of_a_released_content_never_goes_by_the_releases_number(
    work: ModelRepository, registry: FakeRegistry
) -> None:
    """Such as one that changes mlops.yml alone: what it trains would be a release, which nobody has merged."""
    release = push(work, registry)
    work.git("checkout", "--quiet", "-b", "side")
    work.commit("chore: tidy", "mlops.yml", (work.root / "mlops.yml").read_text() + "# looser\n")

    first = push(work, registry, **MERGE_REQUEST)
    assert (str(first.version), first.digest, first.built) == ("1.0.1-mr42.7", release.digest, False)
    assert first.note == "the content is that of 1.0.0"
    # the job again, then another push of the same content
    assert push(work, registry, **MERGE_REQUEST) == first
    assert push(work, registry, **MERGE_REQUEST, CI_PIPELINE_IID="8") == first
    assert str(push(work, registry, **OTHER_MERGE_REQUEST).version) == "1.0.1-mr43.7"
    assert set(registry.stored) == {release.digest}
    assert registry.tags(release.digest) == {"1.0.0", "1.0.1-mr42.7", "1.0.1-mr43.7"}

    work.git("checkout", "--quiet", "main")
    work.merge("side", "Merge branch 'side'")
    merged = push(work, registry)
    assert (merged.version, merged.digest, merged.built) == (release.version, release.digest, False)
    found = find_release(work.source().model, pipeline(**SCHEDULE), registry)
    assert found.version == release.version
    work.commit("fix: x", "phish/new.py")
    assert str(push(work, registry).version) == "1.0.1"


def test_a_merge_request_that_has_its_pre_release_asks_two_questions(
    work: ModelRepository, registry: FakeRegistry
) -> None:
    push(work, registry)
    push(work, registry, **MERGE_REQUEST)
    registry.questions.clear()
    push(work, registry, **MERGE_REQUEST)
    assert registry.questions == ["find src-" + work.source().content.key[:6], "owner"]


def test_a_merge_request_that_goes_back_comes_after_the_newest_release(
    work: ModelRepository, registry: FakeRegistry
) -> None:
    first = push(work, registry)
    work.commit("feat: x", "phish/new.py")
    push(work, registry)
    work.git("revert", "--no-edit", "HEAD")
    result = push(work, registry, **MERGE_REQUEST)
    assert (str(result.version), result.digest) == ("1.1.1-mr42.7", first.digest)
    assert push(work, registry).version == first.version


def test_a_release_whose_job_was_killed_is_no_merge_requests_either(
    work: ModelRepository, registry: FakeRegistry
) -> None:
    source = work.source()
    registry.put("sha256:half", "1.0.0", source.labels(Version(1)))
    result = push(work, registry, **MERGE_REQUEST)
    assert (str(result.version), result.digest, result.built) == ("1.0.1-mr42.7", "sha256:half", False)
    # its own pipeline completes it
    release = push(work, registry)
    assert (str(release.version), release.digest) == ("1.0.0", "sha256:half")
    assert registry.find(source.key_tag)


def test_a_pre_release_that_is_another_image_is_left_alone(
    work: ModelRepository, registry: FakeRegistry
) -> None:
    release = push(work, registry)
    registry.put("sha256:other", "1.0.1-mr42.7", {})
    result = push(work, registry, **MERGE_REQUEST)
    assert (str(result.version), result.digest) == ("1.0.2-mr42.7", release.digest)
    for patch in range(1, stage.ATTEMPTS + 1):
        registry.put("sha256:other", f"1.0.{patch}-mr43.7", {})
    with pytest.raises(RegistryError, match="no free pre-release") as caught:
        push(work, registry, **OTHER_MERGE_REQUEST)
    assert caught.value.next_step


def test_a_pre_release_that_the_registry_refuses_is_no_release(
    work: ModelRepository, registry: FakeRegistry
) -> None:
    push(work, registry)
    registry.refuses.add("1.0.1-mr42.7")
    with pytest.raises(RegistryError, match="the registry is down"):
        push(work, registry, **MERGE_REQUEST)


def test_the_default_branch_never_takes_a_pre_release(work: ModelRepository, registry: FakeRegistry) -> None:
    registry.put("sha256:unmerged", "1.4.0-mr42.7", {})
    registry.put("sha256:unmerged", f"src-{work.source().content.key}", {})
    assert str(push(work, registry).version) == "1.0.0"


def test_the_loser_of_a_race_takes_the_next_version(work: ModelRepository, registry: FakeRegistry) -> None:
    push(work, registry)
    work.commit("feat: x", "phish/new.py")
    head = work.git("rev-parse", "HEAD")
    rival = {REVISION_LABEL: head, KEY_LABEL: "another"}
    result = containerize(work.source(), registry, FakeBuilder(rival))
    assert (str(result.version), result.built) == ("1.1.1", True)
    assert registry.tags("sha256:rival-1.1.0") == {"1.1.0"}


def test_the_loser_of_a_race_takes_the_same_content_as_it_is(
    work: ModelRepository, registry: FakeRegistry
) -> None:
    """The other job pushed the version and not yet the content's tag."""
    rival = {REVISION_LABEL: work.git("rev-parse", "HEAD"), KEY_LABEL: work.source().content.key}
    result = containerize(work.source(), registry, FakeBuilder(rival))
    assert (str(result.version), result.digest, result.built) == ("1.0.0", "sha256:rival-1.0.0", False)
    assert registry.find(f"src-{work.source().content.key}")


def test_two_candidates_of_one_pipeline(work: ModelRepository, registry: FakeRegistry) -> None:
    containerize(work.source(MERGE_REQUEST), registry, FakeBuilder())
    other = work.source(MERGE_REQUEST, {"A": "1"})
    result = containerize(other, registry, FakeBuilder())
    assert str(result.version) == "1.0.1-mr42.7"


def test_a_race_that_never_ends(work: ModelRepository, registry: FakeRegistry) -> None:
    head = work.git("rev-parse", "HEAD")
    rivals = [{KEY_LABEL: str(number), REVISION_LABEL: head} for number in range(stage.ATTEMPTS)]
    with pytest.raises(RegistryError, match="6 versions in a row were taken") as caught:
        containerize(work.source(), registry, FakeBuilder(*rivals))
    assert "1.0.0, 1.0.1" in caught.value.cause
    assert "again" in caught.value.next_step


def test_a_job_killed_between_its_two_pushes_is_completed(
    work: ModelRepository, registry: FakeRegistry
) -> None:
    source = work.source()
    registry.put("sha256:half", "1.0.0", source.labels(Version(1)))
    builder = FakeBuilder()
    result = containerize(source, registry, builder)
    assert (str(result.version), result.digest, result.built) == ("1.0.0", "sha256:half", False)
    assert builder.published == []
    assert containerize(source, registry, builder).note == "the content is unchanged"


def test_a_candidate_killed_between_its_two_pushes_is_completed(
    work: ModelRepository, registry: FakeRegistry
) -> None:
    source = work.source(MERGE_REQUEST)
    registry.put("sha256:half", "1.0.0-mr42.7", source.labels(Version.parse("1.0.0-mr42.7")))
    result = containerize(source, registry, FakeBuilder())
    assert (str(result.version), result.digest, result.built) == ("1.0.0-mr42.7", "sha256:half", False)


def test_the_content_was_tagged_by_another_just_now(work: ModelRepository, registry: FakeRegistry) -> None:
    source = work.source()

    class Overtaken(FakeBuilder):
        """Another pipeline of the same content finishes between this one's two pushes."""

        def publish(self, source: BuildSource, version: Version, registry: Registry) -> None:
            super().publish(source, version, registry)
            assert isinstance(registry, FakeRegistry)
            registry.put("sha256:other", "1.0.1", source.labels(Version(1, 0, 1)))
            registry.put("sha256:other", f"src-{source.content.key}", {})

    result = containerize(source, registry, Overtaken())
    assert (str(result.version), result.digest, result.built) == ("1.0.1", "sha256:other", False)


def test_a_registry_that_refuses_stays_the_cause(work: ModelRepository, registry: FakeRegistry) -> None:
    registry.refuses.add(f"src-{work.source().content.key}")
    with pytest.raises(RegistryError, match="the registry is down"):
        push(work, registry)
    registry.refuses.clear()
    assert (str(push(work, registry).version), [*registry.stored]) == ("1.0.0", [*registry.stored][:1])


class DownBuilder(FakeBuilder):
    """A registry that takes nothing."""

    def publish(self, source: BuildSource, version: Version, registry: Registry) -> None:
        raise RegistryError(f"{registry.repository} has no room for {version} of {source.model.name}")


def test_a_push_that_fails_for_another_reason_is_no_race(
    work: ModelRepository, registry: FakeRegistry
) -> None:
    with pytest.raises(RegistryError, match=r"no room for 1\.0\.0"):
        containerize(work.source(), registry, DownBuilder())


def test_a_rewritten_history_counts_by_date(
    work: ModelRepository, registry: FakeRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.put("sha256:lost", "1.4.0", {REVISION_LABEL: "0" * 40, KEY_LABEL: "x"})
    work.commit("feat: x", "phish/new.py")
    assert str(push(work, registry).version) == "1.5.0"
    assert "not in this history" in capsys.readouterr().err


def test_an_image_that_somebody_pushed_by_hand(work: ModelRepository, registry: FakeRegistry) -> None:
    registry.put("sha256:hand", "2.0.0", {})
    registry.put("sha256:hand", "latest", {})
    work.commit("fix: x", "phish/new.py")
    assert push(work, registry).version > Version(2)


def test_an_unpinned_base_is_said_when_something_is_built(
    work: ModelRepository, registry: FakeRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    work.commit("fix: base", "Dockerfile", 'FROM python:3.11\nENTRYPOINT ["x"]\n')
    push(work, registry)
    assert "python:3.11 is not pinned" in capsys.readouterr().err
    push(work, registry)
    assert "pinned" not in capsys.readouterr().err


def test_without_an_engine_the_log_says_so(
    work: ModelRepository, registry: FakeRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    result = containerize(work.source(), registry, ProcessBuilder())
    assert (str(result.version), result.built) == ("1.0.0", True)
    assert "jobs will run as processes" in capsys.readouterr().err


# -- what a builder is given: the Dockerfile as well, once, whether .dockerignore leaves it out or not -----------


class NoEngine:
    """A Docker daemon's place; keeps the files that a build was given."""

    def __init__(self) -> None:
        self.given: set[str] = set()
        self.dockerfile = ""

    def build(self, context: Path, dockerfile: Path, _image: str, **_options: object) -> None:
        found = (path for path in context.rglob("*") if path.is_file())
        self.given = {path.relative_to(context).as_posix() for path in found}
        self.dockerfile = dockerfile.read_text()

    def push(self, *_words: object) -> None:
        """Nothing to push."""

    def remove(self, _image: str) -> None:
        """Nothing to forget."""


IGNORE_FILES = [
    pytest.param(None, {"Dockerfile", "README.md", "mlops.yml", "phish/__main__.py"}, id="none"),
    pytest.param(
        "# a deny-list\n**/*.md\n.git\n",
        {".dockerignore", "Dockerfile", "mlops.yml", "phish/__main__.py"},
        id="deny-list",
    ),
    pytest.param("*\n!phish\n", {".dockerignore", "phish/__main__.py"}, id="allow-list"),
]


def with_ignore_file(work: ModelRepository, text: str | None) -> BuildSource:
    (work.root / ".dockerignore").unlink()
    if text is not None:
        (work.root / ".dockerignore").write_text(text)
    work.commit("feat: x", "README.md")
    return work.source()


@pytest.mark.parametrize(("text", "files"), IGNORE_FILES)
def test_what_the_docker_builder_is_given(
    work: ModelRepository, registry: FakeRegistry, text: str | None, files: set[str]
) -> None:
    engine, builder = NoEngine(), DockerBuilder()
    vars(builder)["_engine"] = engine
    builder.publish(with_ignore_file(work, text), Version(1), registry)
    assert engine.given == files | {"Dockerfile"}
    assert engine.dockerfile == DOCKERFILE


@pytest.mark.parametrize(("text", "files"), IGNORE_FILES)
def test_what_the_process_builder_packs(
    work: ModelRepository, registry: FakeRegistry, text: str | None, files: set[str]
) -> None:
    ProcessBuilder().publish(with_ignore_file(work, text), Version(1), registry)
    (layer,) = (blob for blob in registry.blobs.values() if blob.startswith(b"\x1f\x8b"))
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        packed = {member.name.removeprefix("opt/program/") for member in archive if member.isfile()}
    assert packed == files


# -- tags, schedules, branches, and no pipeline at all -------------------------------------------------------


def pipeline(**variables: str) -> Pipeline:
    return Pipeline.from_environment(on_main() | variables)


SCHEDULE = {"CI_PIPELINE_SOURCE": "schedule"}


def tagged(tag: str) -> dict[str, str]:
    return {"CI_COMMIT_TAG": tag, "CI_COMMIT_REF_NAME": tag, "CI_COMMIT_BRANCH": ""}


def test_a_schedule_takes_the_newest_release(work: ModelRepository, registry: FakeRegistry) -> None:
    for tag in ("1.9.0", "1.10.0", "2.0.0-mr1.1", "latest"):
        registry.put(f"sha256:{tag}", tag, {})
    result = find_release(work.source().model, pipeline(**SCHEDULE), registry)
    assert (str(result.version), result.digest, result.built) == ("1.10.0", "sha256:1.10.0", False)


def test_a_schedule_before_the_first_release(work: ModelRepository, registry: FakeRegistry) -> None:
    with pytest.raises(RegistryError, match="has no release yet") as caught:
        find_release(work.source().model, pipeline(**SCHEDULE), registry)
    assert "default branch" in caught.value.next_step


def test_a_tag_takes_its_release(work: ModelRepository, registry: FakeRegistry) -> None:
    push(work, registry)
    result = find_release(work.source().model, pipeline(**tagged("phishing-url/v1.0.0")), registry)
    assert str(result.version) == "1.0.0"
    with pytest.raises(RegistryError, match=r"has no release 1\.1\.0"):
        find_release(work.source().model, pipeline(**tagged("v1.1.0")), registry)
    with pytest.raises(VersionError, match="'nightly' is not a version"):
        find_release(work.source().model, pipeline(**tagged("nightly")), registry)


def test_a_branch_makes_no_image(work: ModelRepository) -> None:
    with pytest.raises(UsageError, match="No image is made of the branch side") as caught:
        work.source({"CI_COMMIT_BRANCH": "side", "CI_COMMIT_REF_NAME": "side"})
    assert "merge request" in caught.value.next_step


def upstream(work: ModelRepository, **facts: str) -> dict[str, str]:
    """A pipeline that another project started, as the job fetch describes it."""
    said = {
        "COMMIT": work.git("rev-parse", "HEAD"),
        "CHANGE": "default_branch",
        "PROJECT_PATH": "models/phish",
    }
    told = {f"MLOPS_UPSTREAM_{name}": value for name, value in {**said, **facts}.items()}
    return {"CI_PIPELINE_SOURCE": "pipeline", **told}


def test_an_upstreams_release_names_the_upstream(work: ModelRepository) -> None:
    source = work.source(upstream(work))

    assert source.version(Version(1)) == Version(1)
    assert source.labels(Version(1))["org.opencontainers.image.source"] == (
        "https://gitlab.example.org/models/phish"
    )


def test_an_upstreams_merge_request_makes_a_pre_release(work: ModelRepository) -> None:
    variables = upstream(work, CHANGE="merge_request", MERGE_REQUEST="42")

    assert str(work.source(variables).version(Version(1))) == "1.0.0-mr42.7"


def test_an_upstreams_merge_request_of_a_released_content_too(
    work: ModelRepository, registry: FakeRegistry
) -> None:
    push(work, registry, **upstream(work))
    result = push(work, registry, **upstream(work, CHANGE="merge_request", MERGE_REQUEST="42"))

    assert str(result.version) == "1.0.1-mr42.7"


def test_the_history_of_the_project_around_the_code_is_not_taken_for_it(work: ModelRepository) -> None:
    with pytest.raises(SourceError, match="not the upstream's code") as caught:
        work.source(upstream(work, COMMIT="b" * 40))
    assert "source.git/" in caught.value.next_step


# -- what SageMaker does not take ----------------------------------------------------------------------------


class OciBuilder(FakeBuilder):
    """A daemon that pushes OCI manifests whatever it is asked for."""

    media_type = OCI


def test_an_image_that_sagemaker_does_not_take_is_refused_after_the_push(
    work: ModelRepository, registry: FakeRegistry
) -> None:
    with pytest.raises(
        UnsupportedImageError, match="does not take the image web-safety/phishing-url:1"
    ) as caught:
        containerize(work.source(), registry, OciBuilder())
    assert OCI in caught.value.cause
    assert "containerd-snapshotter=false" in caught.value.next_step
    assert registry.find(f"src-{work.source().content.key}") is None
    # the runner is set right, and the job is run again: the tag is taken for ever, the number after it is not
    result = push(work, registry)
    assert (str(result.version), result.built) == ("1.0.1", True)
    assert (str(push(work, registry).version), push(work, registry).built) == ("1.0.1", False)


def test_an_image_for_another_processor_is_refused_after_the_push(
    work: ModelRepository, registry: FakeRegistry
) -> None:
    registry.flaws[f"sha256:{work.git('rev-parse', 'HEAD')[:7]}-1.0.0"] = "it is for linux/arm64"
    with pytest.raises(UnsupportedImageError) as caught:
        push(work, registry)
    assert caught.value.cause == "it is for linux/arm64"
    assert "base images for linux/amd64" in caught.value.next_step
    assert str(push(work, registry).version) == "1.0.1"


def test_a_candidate_that_sagemaker_does_not_take(work: ModelRepository, registry: FakeRegistry) -> None:
    with pytest.raises(UnsupportedImageError):
        containerize(work.source(MERGE_REQUEST), registry, OciBuilder())
    assert str(push(work, registry, **MERGE_REQUEST).version) == "1.0.1-mr42.7"


def test_a_release_of_an_earlier_ml_ops_is_built_again_under_the_next_version(
    work: ModelRepository, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its key says nothing of manifest and processor, so nothing is handed on because of it."""
    with monkeypatch.context() as earlier:
        earlier.setattr("mlops.images.content_key._SCHEME", "ml-ops content 1")
        source = work.source()
    registry.put("sha256:oci", "1.4.0", source.labels(Version(1, 4)), OCI)
    registry.put("sha256:oci", f"src-{source.content.key}", {})
    result = push(work, registry)
    assert (str(result.version), result.built) == ("1.4.1", True)
    assert not push(work, registry).built


def test_an_image_that_got_the_content_s_tag_by_hand(work: ModelRepository, registry: FakeRegistry) -> None:
    key = work.source().content.key
    registry.put("sha256:hand", "1.0.0", {}, OCI)
    registry.put("sha256:hand", f"src-{key}", {})
    with pytest.raises(UnsupportedImageError) as caught:
        push(work, registry)
    assert f"the tag src-{key} by hand" in caught.value.next_step


@pytest.mark.parametrize("variables", [{"CI_PIPELINE_SOURCE": "schedule"}, {"CI_COMMIT_TAG": "v1.0.0"}])
def test_a_release_that_sagemaker_does_not_take_is_not_handed_on(
    work: ModelRepository, registry: FakeRegistry, variables: dict[str, str]
) -> None:
    registry.put("sha256:oci", "1.0.0", {}, OCI)
    named = {"CI_COMMIT_REF_NAME": "v1.0.0", "CI_COMMIT_BRANCH": ""} if "CI_COMMIT_TAG" in variables else {}
    with pytest.raises(UnsupportedImageError, match="web-safety/phishing-url:1") as caught:
        find_release(work.source().model, pipeline(**variables, **named), registry)
    assert "pipeline of the default branch" in caught.value.next_step


# -- whose model it is ---------------------------------------------------------------------------------------


def test_the_project_that_terraform_names_releases_its_model(
    work: ModelRepository, registry: FakeRegistry
) -> None:
    registry.project = "web/phish"
    assert push(work, registry).built
    work.commit("fix: x", "phish/new.py")
    # GitLab has no other project whose path differs in case alone
    assert push(work, registry, CI_PROJECT_PATH="Web/Phish").built


def test_another_project_does_not(work: ModelRepository, registry: FakeRegistry) -> None:
    registry.project = "models/phishing-url"
    builder = FakeBuilder()
    with pytest.raises(OwnerError, match="belongs to another GitLab project") as caught:
        containerize(work.source(), registry, builder)
    assert (builder.published, registry.stored) == ([], {})
    assert caught.value.what.startswith("web-safety/phishing-url ")
    assert caught.value.cause == "it belongs to models/phishing-url, and this is code of web/phish"
    assert "a branch of models/phishing-url" in caught.value.next_step
    assert "terraform/root/models.auto.tfvars" in caught.value.next_step


@pytest.mark.parametrize("project", ["web/phish-2", "web", "models/web/phish", "web/phish/", "phish", ""])
def test_a_path_that_is_nearly_the_same_is_another_project(
    work: ModelRepository, registry: FakeRegistry, project: str
) -> None:
    registry.project = "web/phish"
    with pytest.raises(OwnerError):
        push(work, registry, CI_PROJECT_PATH=project)


def test_a_copy_of_a_model_is_refused_as_well(work: ModelRepository, registry: FakeRegistry) -> None:
    """Its content has a version already, which another project could train and deploy."""
    push(work, registry)
    registry.project = "models/phishing-url"
    with pytest.raises(OwnerError):
        push(work, registry)
    with pytest.raises(OwnerError):
        push(work, registry, **MERGE_REQUEST)
    assert [tags for _, tags in registry.stored.values() if any("-mr" in tag for tag in tags)] == []
    for variables in (SCHEDULE, tagged("v1.0.0")):
        with pytest.raises(OwnerError):
            find_release(work.source().model, pipeline(**variables), registry)


def test_of_an_upstream_counts_the_project_that_gitlab_names(
    work: ModelRepository, registry: FakeRegistry
) -> None:
    """Not the platform's, in which the job runs."""
    registry.project = "models/phish"
    assert push(work, registry, **upstream(work)).built
    with pytest.raises(OwnerError, match="web-safety/phishing-url") as caught:
        push(work, registry, **upstream(work, PROJECT_PATH="models/other"))
    assert caught.value.cause.endswith("this is code of models/other")
    registry.project = "web/phish"
    with pytest.raises(OwnerError):
        push(work, registry, **upstream(work))
    with pytest.raises(OwnerError, match="web-safety/phishing-url"):
        push(work, registry, **upstream(work, PROJECT_PATH=""))


def test_without_a_pipeline_nothing_is_pushed(
    work: ModelRepository, registry: FakeRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    local = work.source({"CI_PIPELINE_SOURCE": ""})
    outcome = stage.rehearse(local, registry)
    assert "would get 1.0.0" in outcome.summary
    assert registry.stored == {}
    push(work, registry)
    (work.root / "phish" / "new.py").write_text("not committed\n")
    assert "has 1.0.0, with this content" in stage.rehearse(local, registry).summary
    assert "Not committed, and therefore not considered: phish/new.py" in capsys.readouterr().err


# -- what comes after ----------------------------------------------------------------------------------------


class Project:
    """A GitLab project that takes releases, or refuses them."""

    def __init__(self, refusal: GitLabError | None = None) -> None:
        self.releases: list[tuple[str, str]] = []
        self._refusal = refusal

    def create_release(self, tag: str, ref: str, description: str) -> bool:
        if self._refusal:
            raise self._refusal
        self.releases.append((tag, ref))
        return bool(description)


def test_a_release_is_announced_where_a_token_allows(work: ModelRepository) -> None:
    project = Project()
    stage.announce(work.source(), Version(1, 3, 0), project)  # type: ignore[arg-type]
    assert project.releases == [("phishing-url/v1.3.0", work.git("rev-parse", "HEAD"))]
    stage.announce(work.source(), Version(1, 3, 0), None)


def test_a_release_that_gitlab_refuses_is_a_release(
    work: ModelRepository, capsys: pytest.CaptureFixture[str]
) -> None:
    refusing = Project(GitLabError("GitLab did not make the release", cause="403: forbidden"))
    stage.announce(work.source(), Version(1, 3, 0), refusing)  # type: ignore[arg-type]
    shown = capsys.readouterr().err
    assert "released, but not announced as phishing-url/v1.3.0" in shown
    assert "403: forbidden" in shown


def test_later_jobs_get_their_variables(
    work: ModelRepository, registry: FakeRegistry, tmp_path: Path
) -> None:
    result = push(work, registry)
    outcome = stage.finish(work.source().model, registry, result, tmp_path / "containerize.env")
    variables = dict(line.split("=", 1) for line in (tmp_path / "containerize.env").read_text().splitlines())
    assert variables == {
        "MODEL_NAME": "phishing-url",
        "IMAGE_URI": f"registry.example/web-safety/phishing-url@{result.digest}",
        "IMAGE_DIGEST": result.digest,
        "IMAGE_VERSION": "1.0.0",
        "IMAGE_BUILT": "true",
    }
    assert outcome.summary == "✓ Built and pushed web-safety/phishing-url 1.0.0"
    again = stage.finish(work.source().model, registry, push(work, registry), tmp_path / "containerize.env")
    assert again.summary == "✓ Nothing to build: web-safety/phishing-url 1.0.0 (the content is unchanged)"
    assert "IMAGE_BUILT=false" in (tmp_path / "containerize.env").read_text()


@pytest.mark.parametrize("word", ["A", "=1", "A-B=1", ""])
def test_a_build_argument_that_is_none(word: str) -> None:
    with pytest.raises(UsageError, match="is not valid"):
        stage.parse_build_arguments([word])


def test_build_arguments() -> None:
    assert stage.parse_build_arguments(["A=0", "A=1", "B=x=y", "C="]) == {"A": "1", "B": "x=y", "C": ""}


def test_an_engine_that_nobody_knows(work: ModelRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_ENGINE", "podman")
    with pytest.raises(SettingsError, match="MLOPS_ENGINE is 'podman'") as caught:
        stage.run(
            argparse.Namespace(manifest=str(work.root / "mlops.yml"), model="", build_arg=[], dotenv="")
        )
    assert "docker or process" in caught.value.next_step
