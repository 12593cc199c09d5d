"""`mlops containerize`: one version for one content, built only when the content is new.

    content key known to the registry   its version, after two questions
    default branch                      the next release, from the commits since the last one
    merge request                       a pre-release of it, such as 1.3.0-mr42.7; also of a content that is
                                        released: the image gets a second tag
    tag, schedule                       the release that is there; these never make one
    no pipeline                         what a pipeline would do; nothing is pushed

The second question is whose model it is: code of another GitLab project than Terraform names gets no version.

An image is pushed under its version and then under its content key, `src-<key>` (`src-mr-<key>` for merge
requests, so that merging makes a release). Tags are immutable: of two pipelines that compute one version, the
registry lets one have it, and the other computes the next. A job killed between the two pushes leaves a
version without a key, which the next run finds by the key in the image's labels, and completes.

Before an image gets its key, the registry is asked whether SageMaker takes it. One that it does not take
keeps its version, as tags are immutable, and never gets a key: the next run builds again, under the next one.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from semver import Version

from mlops.base import console
from mlops.base.errors import (
    GitLabError,
    OwnerError,
    RegistryError,
    SettingsError,
    SourceError,
    UsageError,
    VersionError,
)
from mlops.base.result import Outcome
from mlops.ci import dotenv
from mlops.ci.pipeline import Pipeline
from mlops.clients.aws import session
from mlops.clients.aws.oci_registry import RELEASE_AGAIN, Registry, RegistryImage, unsupported
from mlops.clients.git.repository import Repository
from mlops.clients.gitlab.project import GitLabProject, connect
from mlops.contracts import versions
from mlops.images.builders import BUILDERS, KEY_LABEL, REVISION_LABEL, Builder, BuildSource
from mlops.images.content_key import read_content
from mlops.manifest import reader
from mlops.manifest.reader import Model

# ECR does not raise it: https://docs.aws.amazon.com/AmazonECR/latest/userguide/service-quotas.html
TAGS_OF_AN_IMAGE = 1000
# Each attempt but the last was lost to another pipeline that released something in the meantime.
ATTEMPTS = 6
_REBUILD = (
    "Update docker buildx, or start the Docker daemon with --feature containerd-snapshotter=false, where the"
    " manifest has another type; use base images for linux/amd64 otherwise. Then run the job again."
)


@dataclass(frozen=True, kw_only=True)
class ContainerizedImage:
    """An image in the registry that has the content."""

    version: Version
    digest: str
    built: bool
    note: str


def run(arguments: argparse.Namespace) -> Outcome:
    """Find or make the image of a model, and write the variables for later jobs.

    Raises:
        MlopsError: of the kind that says what is missing or refused.
    """
    pipeline = Pipeline.from_environment(os.environ)
    model = reader.load(arguments.manifest).model(arguments.model)
    engine = os.environ.get("MLOPS_ENGINE", "docker")
    if engine not in BUILDERS:
        raise SettingsError(
            f"MLOPS_ENGINE is {engine!r}", next_step="Set it to " + " or ".join(BUILDERS) + "."
        )
    registry = Registry(session.client("ecr"), model.repository, os.environ.get("MLOPS_REGISTRY", ""))
    if pipeline.kind in {"tag", "schedule"}:
        result = find_release(model, pipeline, registry)
    else:
        words = [*os.environ.get("MLOPS_BUILD_ARGS", "").split(), *arguments.build_arg]
        source = read_source(model, pipeline, parse_build_arguments(words), engine)
        if pipeline.kind == "local":
            return rehearse(source, registry)
        result = containerize(source, registry, BUILDERS[engine]())
        if result.built and pipeline.kind == "default_branch":
            announce(source, result.version, None if pipeline.downstream else connect())
    return finish(model, registry, result, Path(arguments.dotenv))


def parse_build_arguments(words: list[str]) -> dict[str, str]:
    """The `NAME=VALUE` words of the runner's `$MLOPS_BUILD_ARGS` and of the command line; the last one holds.

    Raises:
        UsageError: when one has another form.
    """
    for word in words:
        if not word.partition("=")[0].isidentifier() or "=" not in word:
            raise UsageError(
                f"The build argument {word!r} is not valid", next_step="Write --build-arg NAME=VALUE."
            )
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def read_source(
    model: Model, pipeline: Pipeline, build_arguments: Mapping[str, str], assembler: str
) -> BuildSource:
    """What the checked-out commit has for a model.

    Raises:
        SourceError: when there is no history, Dockerfile or file, or another commit than the upstream's.
        UsageError: on a branch that makes no images.
    """
    if pipeline.kind == "branch":
        raise UsageError(
            f"No image is made of the branch {pipeline.ref}",
            cause="images come from the default branch, and from merge requests before they are merged",
            next_step="Open a merge request for this branch.",
        )
    repository = Repository.open(model.directory)
    if pipeline.downstream and repository.head != pipeline.commit_sha:
        # Without the upstream's own history, git finds the one of the project around it.
        raise SourceError(
            "This is not the upstream's code",
            cause=f"{model.directory} is at {repository.head}, the upstream's is {pipeline.commit_sha}",
            next_step="Keep source/ and source.git/ of the job fetch together, as ci-templates do.",
        )
    content = read_content(repository, model, build_arguments, assembler)
    return BuildSource(
        model=model,
        repository=repository,
        content=content,
        build_arguments=build_arguments,
        pipeline=pipeline,
    )


def containerize(source: BuildSource, registry: Registry, builder: Builder) -> ContainerizedImage:
    """The image that has this content: the one there is, or a new one under the next version.

    Raises:
        RegistryError: when the registry refuses for another reason than that a version is taken.
        OwnerError: when the model is another project's; before anything is built.
        BuildError, EngineError, SourceError: when there is nothing to push.
        UnsupportedImageError: when SageMaker does not take what was built, or what has this content.
    """
    known = _known(source, registry)
    check_owner(registry, source.pipeline)
    if known:
        return _taken(source, registry, *known, "the content is unchanged")
    for base in source.content.unpinned:
        console.warn(f"The base image {base} is not pinned by a digest: a new one will not be noticed.")
    taken: set[Version] = set()
    for _ in range(ATTEMPTS):
        version, unfinished = _next(source, registry, taken)
        if unfinished:
            note = "an earlier job was stopped"
            if _of_merge_request(source):
                return _taken(source, registry, version, unfinished, note)
            return _complete(source, registry, version, unfinished.digest, note)
        try:
            builder.publish(source, version, registry)
        except RegistryError:
            holder = registry.find(str(version))
            if holder is None:
                raise
            if _has_content(source, registry, holder):
                return _complete(source, registry, version, holder.digest, "another job pushed it just now")
            console.say(f"Another image has version {version}; computing the next")
            taken.add(version)
            continue
        pushed = registry.find(str(version))
        if pushed is None:
            raise RegistryError(
                f"The registry took {version} and does not show it", next_step="Run the job again."
            )
        if flaw := registry.flaw(pushed.digest):
            raise unsupported(f"{source.model.repository}:{version}", flaw, _REBUILD)
        result = _complete(source, registry, version, pushed.digest, "")
        return replace(result, built=True, note="") if result.version == version else result
    raise RegistryError(
        f"{ATTEMPTS} versions in a row were taken by other pipelines",
        cause=", ".join(map(str, sorted(taken))),
        next_step="Run the job again when the other pipelines of this model are done.",
    )


def check_owner(registry: Registry, pipeline: Pipeline) -> None:
    """Refuse the code of a project that the model does not belong to, as models.auto.tfvars says.

    Of a pipeline that another project started, that project counts, as GitLab named it to `fetch`. Case does
    not: GitLab has no two paths that differ in it alone.

    Raises:
        OwnerError: naming both projects.
    """
    owner, project = registry.owner(), pipeline.origin.project_path
    if not owner or owner.lower() == project.lower():
        return
    raise OwnerError(
        f"{registry.repository} belongs to another GitLab project than this code",
        cause=f"it belongs to {owner}, and this is code of "
        + (project or "no project: CI_PROJECT_PATH is empty"),
        next_step="Give the model a name of its own in mlops.yml; in a fork, work on a branch of"
        f" {owner} instead; if the project was renamed or moved, name its new path in"
        " terraform/root/models.auto.tfvars and apply.",
    )


def find_release(model: Model, pipeline: Pipeline, registry: Registry) -> ContainerizedImage:
    """The release that a tag names, or the newest for a schedule.

    Raises:
        VersionError: when the tag is not a version.
        RegistryError: when there is no such release.
        OwnerError: when the model is another project's.
        UnsupportedImageError: when SageMaker does not take it.
    """
    if pipeline.kind == "tag":
        version = versions.parse_git_tag(pipeline.ref, model.name)
        found = registry.find(str(version))
    else:
        version, found = newest_release(registry)
    if found is None:
        raise RegistryError(
            f"{model.repository} has no release" + (f" {version}" if pipeline.kind == "tag" else " yet"),
            cause=f"a pipeline of kind {pipeline.kind} makes none",
            next_step="Push to the default branch, which builds and releases.",
        )
    check_owner(registry, pipeline)
    found.check(f"{model.repository}:{version}", RELEASE_AGAIN)
    return ContainerizedImage(
        version=version, digest=found.digest, built=False, note="it is the release asked for"
    )


def newest_release(registry: Registry) -> tuple[Version, RegistryImage | None]:
    """The highest release there is; 0.0.0 and None before the first."""
    releases = (
        (version, found)
        for found in registry.images()
        for version in map(versions.parse_release, found.tags)
        if version
    )
    return max(releases, key=lambda pair: pair[0], default=(Version(0), None))


def next_release(
    source: BuildSource, last: tuple[Version, RegistryImage] | None, registry: Registry
) -> Version:
    """The release that follows the last one, by the commits since."""
    if last is None:
        return versions.FIRST_RELEASE
    version, released = last
    revision = registry.labels(released.digest).get(REVISION_LABEL, "")
    since = source.repository.since(revision, f"{source.model.name}/v{version}")
    if since is None:
        console.warn(
            f"Version {version} was built from {revision[:8] or 'an unknown commit'}, not in this history: "
            f"all commits after {released.pushed_at:%Y-%m-%d %H:%M} count."
        )
        since = source.repository.after(released.pushed_at)
    commits = source.repository.commits(since, source.content.paths, source.content.matters)
    return versions.next_release(version, (commit.message for commit in commits))


def rehearse(source: BuildSource, registry: Registry) -> Outcome:
    """What a pipeline of the default branch would do; nothing is pushed."""
    changed = [
        path for path in source.repository.changes(*source.content.paths) if source.content.matters(path)
    ]
    if changed:
        console.warn(f"Not committed, and therefore not considered: {', '.join(changed[:5])}")
    known = _known(source, registry)
    version = known[0] if known else _next(source, registry, set())[0]
    said = f"has {version}, with this content" if known else f"would get {version}"
    return Outcome(
        summary=f"{source.model.repository} {said} (src-{source.content.key[:12]}); only pipelines push",
        data={
            "model": source.model.name,
            "version": str(version),
            "built": False,
            "content_key": source.content.key,
        },
        next_steps=("git push",),
    )


def announce(source: BuildSource, version: Version, project: GitLabProject | None) -> None:
    """A git tag and a GitLab release, where a token allows; the registry stays the source of truth."""
    if project is None:
        return
    tag = f"{source.model.name}/v{version}"
    try:
        project.create_release(tag, source.repository.head, f"Image {source.model.repository}:{version}")
    except GitLabError as error:
        console.warn(f"Version {version} is released, but not announced as {tag}")
        console.show_error(error)


def finish(model: Model, registry: Registry, result: ContainerizedImage, file: Path) -> Outcome:
    """Write the variables for later jobs and say what there is."""
    uri = f"{registry.uri}@{result.digest}"
    dotenv.write(
        file,
        {
            "MODEL_NAME": model.name,
            "IMAGE_URI": uri,
            "IMAGE_DIGEST": result.digest,
            "IMAGE_VERSION": str(result.version),
            "IMAGE_BUILT": str(result.built).lower(),
        },
    )
    said = "Built and pushed" if result.built else "Nothing to build:"
    note = f" ({result.note})" if result.note else ""
    return Outcome(
        summary=f"✓ {said} {model.repository} {result.version}{note}",
        data={
            "model": model.name,
            "image_uri": uri,
            "image_digest": result.digest,
            "image_version": str(result.version),
            "built": result.built,
        },
        next_steps=(f"mlops train --model {model.name} --image-uri {uri} --image-version {result.version}",),
    )


def _of_merge_request(source: BuildSource) -> bool:
    return source.pipeline.kind == "merge_request"


def _known(source: BuildSource, registry: Registry) -> tuple[Version, RegistryImage] | None:
    """The image with this content, and its version: the release, or, for a merge request, the candidate."""
    for tag in source.key_tags:
        found = registry.find(tag)
        if found and (version := _version(found, candidates=_of_merge_request(source))):
            step = f"Give no image the tag {tag} by hand: delete this one in ECR, and run the job again."
            found.check(f"{source.model.repository}:{version}", step)
            return version, found
    return None


def _version(found: RegistryImage, *, candidates: bool) -> Version | None:
    known = _versions(found)
    releases = [version for version in known if not version.prerelease]
    return max(releases or (known if candidates else []), default=None)


def _versions(found: RegistryImage) -> list[Version]:
    """All that an image is called, in releases and in merge requests."""
    known = []
    for tag in found.tags:
        if not tag.startswith("src-"):
            try:
                known.append(versions.parse_image_version(tag))
            except VersionError:  # a person's own tag
                continue
    return known


def _taken(
    source: BuildSource, registry: Registry, version: Version, found: RegistryImage, note: str
) -> ContainerizedImage:
    """An image that is there, as this pipeline calls it.

    A merge request never goes by a release's number, for what it trains is none. So a released image gets one
    more tag, a pre-release of this merge request, which its later pipelines find.

    Raises:
        RegistryError: when the registry does not take the tag.
    """
    if version.prerelease or not _of_merge_request(source):
        return ContainerizedImage(version=version, digest=found.digest, built=False, note=note)
    note = f"the content is that of {version}"
    mine = f"mr{source.pipeline.merge_request_iid or 0}."
    own = [one for one in _versions(found) if (one.prerelease or "").startswith(mine)]
    if own:
        return ContainerizedImage(version=max(own), digest=found.digest, built=False, note=note)
    if len(found.tags) >= TAGS_OF_AN_IMAGE:
        raise RegistryError(
            f"The image of {registry.repository} {version} has {len(found.tags)} tags, and ECR takes no more",
            cause="each merge request that builds nothing new leaves one",
            next_step="Delete tags of merged ones: docs/explain/versions.md, What a merge request may"
            " become.",
        )
    following = newest_release(registry)[0]
    for _ in range(ATTEMPTS):
        following = following.bump_patch()
        candidate = source.version(following)
        try:
            registry.tag(found.digest, str(candidate))
        except RegistryError:
            holder = registry.find(str(candidate))
            if holder is None:
                raise
            if holder.digest != found.digest:  # this pipeline has made another image before
                continue
        return ContainerizedImage(version=candidate, digest=found.digest, built=False, note=note)
    raise RegistryError(
        f"{registry.repository} has no free pre-release for this merge request",
        cause=f"{ATTEMPTS} in a row are other images, the last is {candidate}",
        next_step="Run a new pipeline of the merge request.",
    )


def _has_content(source: BuildSource, registry: Registry, image: RegistryImage) -> bool:
    """Whether an image has this content, and SageMaker takes it."""
    return registry.labels(image.digest).get(KEY_LABEL) == source.content.key and not registry.flaw(
        image.digest
    )


def _next(
    source: BuildSource, registry: Registry, taken: set[Version]
) -> tuple[Version, RegistryImage | None]:
    """The version to try, and the image that has it and this content but lacks the content's tag."""
    version, newest = newest_release(registry)
    if newest and _has_content(source, registry, newest):
        return version, newest
    following = next_release(source, (version, newest) if newest else None, registry)
    while source.version(following) in taken:  # the registry's listing may lag behind its tags
        following = following.bump_patch()
    return source.version(following), None


def _complete(
    source: BuildSource, registry: Registry, version: Version, digest: str, why: str
) -> ContainerizedImage:
    """Give a pushed image the tag of its content; where another image has it already, that one is taken."""
    try:
        registry.tag(digest, source.key_tag)
    except RegistryError:
        holder = registry.find(source.key_tag)
        if holder is None:
            raise
        if holder.digest != digest:
            earlier = _version(holder, candidates=_of_merge_request(source))
            if earlier:
                note = "the same content was released just now"
                return _taken(source, registry, earlier, holder, note)
    return ContainerizedImage(version=version, digest=digest, built=False, note=why)
