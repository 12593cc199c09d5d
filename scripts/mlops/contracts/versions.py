"""Versions, and the names they have where `.` and `+` are not allowed. Pure functions.

    image version    1.3.0                 a released image
                     1.3.0-mr42.7          an image of merge request 42, pipeline 7
    model version    1.3.0+retrain.0       the first training of that image

An ECR tag or S3 key cannot hold `+` (it becomes `_`). A SageMaker name holds only letters, digits and
hyphens, at most 63 (https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateModel.html), so

    web-safety, phishing-url, 1.3.0-mr42.7+retrain.2  <->  web-safety--phishing-url--1-3-0-mr42-7--r2

which reads back without loss, because project and model never hold two hyphens in a row.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Self

from semver import Version

from mlops.base.errors import VersionError

RESOURCE_NAME_LIMIT = 63
# The longest version a name must have room for: --999-999-999-mr99999-9999--r999
_VERSION_ROOM = len("--999-999-999-mr99999-9999--r999")
# project and model together, with the two hyphens between them
NAME_BUDGET = RESOURCE_NAME_LIMIT - _VERSION_ROOM - len("--")

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
# No leading zeros anywhere: two names of one version would not read back without loss.
_NUMBER = r"(?:0|[1-9][0-9]*)"
_PRERELEASE = re.compile(rf"mr{_NUMBER}\.{_NUMBER}")
_BUILD = re.compile(rf"retrain\.({_NUMBER})")
_RESOURCE = re.compile(
    r"(?P<project>[a-z0-9]+(?:-[a-z0-9]+)*)--(?P<model>[a-z0-9]+(?:-[a-z0-9]+)*)"
    rf"--(?P<core>{_NUMBER}-{_NUMBER}-{_NUMBER})(?:-(?P<mr>mr{_NUMBER})-(?P<pipeline>{_NUMBER}))?"
    rf"--r(?P<retrain>{_NUMBER})"
)

FIRST_RELEASE = Version(1, 0, 0)

Bump = Literal["major", "minor", "patch"]
_BUMPS: tuple[Bump, ...] = ("patch", "minor", "major")
# https://www.conventionalcommits.org/en/v1.0.0/#specification
_HEADER = re.compile(r"(?P<type>[A-Za-z]+)(?:\([^()\r\n]+\))?(?P<breaking>!)?: \S")
FORM = "<type>(<scope>): <what it does>"
_BREAKING = re.compile(r"^BREAKING[ -]CHANGE: \S", re.MULTILINE)


def parse_image_version(text: str) -> Version:
    """An image version.

    Raises:
        VersionError: when it is not `1.3.0` or `1.3.0-mr42.7`.
    """
    try:
        version = Version.parse(text)
    except ValueError as error:
        raise VersionError(
            f"{text!r} is not an image version", cause=str(error), next_step="Use MAJOR.MINOR.PATCH."
        ) from error
    if version.build or (version.prerelease and not _PRERELEASE.fullmatch(version.prerelease)):
        raise VersionError(f"{text!r} is not an image version", cause="allowed are 1.3.0 and 1.3.0-mr42.7")
    return version


def parse_release(tag: str) -> Version | None:
    """The version that a tag of a registry releases; None for `src-...`, pre-releases and anything else."""
    try:
        version = parse_image_version(tag)
    except VersionError:
        return None
    return None if version.prerelease else version


def parse_git_tag(tag: str, model: str) -> Version:
    """The release that a git tag `<model>/v1.3.0`, or `v1.3.0` in a repository of one model, stands for.

    Raises:
        VersionError: when it stands for none of this model.
    """
    name, _, text = tag.rpartition("/")
    version = parse_release(text.removeprefix("v")) if text.startswith("v") else None
    if version is None or name not in {"", model}:
        raise VersionError(
            f"The git tag {tag!r} is not a version of {model}",
            cause=f"expected one such as {model}/v1.3.0",
            next_step="Push to the default branch instead: releases and their tags follow from its commits.",
        )
    return version


@dataclass(frozen=True)
class Header:
    """What the first line of a Conventional Commit says before its colon."""

    type: str
    breaking: bool


def header_of(line: str) -> Header | None:
    """The type of a commit by a line of its message; None when the line is not of that form."""
    match = _HEADER.match(line)
    return Header(match["type"], bool(match["breaking"])) if match else None


def bump_of(message: str) -> Bump:
    """How much a commit changes, by its message.

    `feat` is minor; `!` and a `BREAKING CHANGE:` footer are major; everything else is a patch. The lines that
    GitLab writes into a squashed or merge commit (`* feat: ...`, a merge request's title) count like headers.
    """
    if _BREAKING.search(message):
        return "major"
    lines = message.splitlines()
    is_merge = message.startswith("Merge ")
    headers = [line.lstrip("*- ") for line in lines[1:] if is_merge or line.startswith(("* ", "- "))] + lines[
        :1
    ]
    read = [header for header in map(header_of, headers) if header]
    if any(header.breaking for header in read):
        return "major"
    return "minor" if any(header.type.lower() == "feat" for header in read) else "patch"


def next_release(last: Version | None, messages: Iterable[str]) -> Version:
    """The version after `last`: at least a patch, more where a message says so.

    Args:
        last: The highest release so far; None before the first.
        messages: Commit messages since; read only as far as needed.
    """
    return FIRST_RELEASE if last is None else raised(last, largest(messages)[0])


def largest(messages: Iterable[str]) -> tuple[Bump, str]:
    """The largest change that commits make, and the first message that makes it.

    Args:
        messages: Read only as far as needed.
    """
    bump: Bump = "patch"
    decisive = ""
    for message in messages:
        step = bump_of(message)
        if not decisive or _BUMPS.index(step) > _BUMPS.index(bump):
            bump, decisive = step, message
        if step == "major":
            break
    return bump, decisive


def raised(last: Version, bump: Bump) -> Version:
    """The version one step after `last`."""
    return getattr(last, f"bump_{bump}")()  # type: ignore[no-any-return]


def merge_request_version(following: Version, merge_request: int, pipeline: int) -> Version:
    """The pre-release of a merge request's pipeline, before the release that would follow."""
    return following.replace(prerelease=f"mr{merge_request}.{pipeline}")


@dataclass(frozen=True)
class ModelVersion:
    """A trained model's version: the image's, and the number of its training, from 0."""

    image: Version
    retrain: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `1.3.0+retrain.0`.

        Raises:
            VersionError: when it is anything else.
        """
        image, _, build = text.partition("+")
        match = _BUILD.fullmatch(build)
        if not match:
            raise VersionError(
                f"{text!r} is not a model version", next_step="Use one such as 1.3.0+retrain.0."
            )
        return cls(parse_image_version(image), int(match[1]))

    def __str__(self) -> str:
        return f"{self.image}+retrain.{self.retrain}"

    @property
    def tag(self) -> str:
        """The form for ECR tags and S3 keys: `1.3.0_retrain.0`."""
        return str(self).replace("+", "_")

    @classmethod
    def from_tag(cls, tag: str) -> Self:
        """The inverse of `tag`.

        Raises:
            VersionError: when it is none.
        """
        if "+" in tag:
            raise VersionError(f"{tag!r} is not a tag of a model version", cause="a tag cannot hold `+`")
        return cls.parse(tag.replace("_", "+", 1))


def check_names(project: str, model: str) -> None:
    """Refuse names that a SageMaker name could not hold together with a version.

    Raises:
        VersionError: saying which name, and by how many characters.
    """
    for kind, name in (("project", project), ("model", model)):
        if not NAME.fullmatch(name):
            raise VersionError(
                f"{kind} name {name!r} is not valid",
                next_step="Use lower-case letters and digits, with single hyphens between them.",
            )
    excess = len(project) + len(model) - NAME_BUDGET
    if excess > 0:
        raise VersionError(
            f"project '{project}' and model '{model}' are {excess} characters too long together",
            cause=f"{NAME_BUDGET} leave room for a version in a SageMaker name of {RESOURCE_NAME_LIMIT}",
            next_step="Shorten one of them.",
        )


def resource_prefix(project: str, model: str, image_version: str = "") -> str:
    """What the SageMaker names of all versions of a model begin with, or of those of one image."""
    image = f"{image_version.replace('.', '-')}--r" if image_version else ""
    return f"{project}--{model}--{image}"


def endpoint_name(project: str, model: str) -> str:
    """The SageMaker endpoint of a model; environments are separate accounts."""
    return f"{project}--{model}"


def resource_name(project: str, model: str, version: ModelVersion) -> str:
    """The SageMaker name of a model version.

    Raises:
        VersionError: when it would not fit.
    """
    check_names(project, model)
    image = re.sub(r"[.]", "-", str(version.image))
    name = f"{resource_prefix(project, model)}{image}--r{version.retrain}"
    if len(name) > RESOURCE_NAME_LIMIT:
        raise VersionError(f"{name} is longer than {RESOURCE_NAME_LIMIT} characters")
    return name


def parse_resource_name(name: str) -> tuple[str, str, ModelVersion] | None:
    """Project, model and version of a SageMaker name; None when it is not one of ours."""
    match = _RESOURCE.fullmatch(name)
    if not match:
        return None
    text = match["core"].replace("-", ".")
    if match["mr"]:
        text += f"-{match['mr']}.{match['pipeline']}"
    return match["project"], match["model"], ModelVersion.parse(f"{text}+retrain.{match['retrain']}")


# pylint: disable-next=too-many-arguments,too-many-positional-arguments
def job_name(project: str, model: str, version: ModelVersion, step: str, run: str, attempt: int) -> str:
    """A SageMaker job's name: readable, and different for every step, DAG run and attempt.

    Airflow's own way of renaming on collision would break what follows, so names never collide.
    """
    identity = hashlib.sha256(f"{version}|{step}|{run}|{attempt}".encode()).hexdigest()[:8]
    readable = f"{step}--{resource_name(project, model, version)}"
    return f"{readable[: RESOURCE_NAME_LIMIT - 9].rstrip('-')}-{identity}"
