"""ECR: the newest image that was released of a model."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from mlops.base.errors import RegistryError
from mlops.clients.aws.oci_registry import RELEASE_AGAIN, Registry
from mlops.contracts.versions import parse_release

if TYPE_CHECKING:
    from mypy_boto3_ecr import ECRClient
    from semver import Version


@dataclass(frozen=True, kw_only=True)
class ReleasedImage:
    """An image that a push to the default branch released."""

    version: Version
    digest: str
    released_at: datetime


def newest_release(ecr: ECRClient, repository: str) -> ReleasedImage:
    """The image with the highest version, in one call for each thousand images.

    Raises:
        RegistryError: when there is none, or the registry does not answer.
        AuthenticationError: when the job's role may not look.
        UnsupportedImageError: when SageMaker does not take it: its training would be paid for in vain.
    """
    found = [
        (version, image)
        for image in Registry(ecr, repository).images()
        for version in map(parse_release, image.tags)
        if version is not None
    ]
    if not found:
        raise RegistryError(
            f"Nothing was released of {repository} yet",
            cause="no image of its repository has a version as its tag",
            next_step="Push to the default branch: its pipeline releases and trains the first version.",
        )
    version, newest = max(found, key=lambda pair: pair[0])
    newest.check(f"{repository}:{version}", RELEASE_AGAIN)
    return ReleasedImage(version=version, digest=newest.digest, released_at=newest.pushed_at)


def uri(ecr: ECRClient, repository: str, digest: str) -> str:
    """What SageMaker pulls an image by: `<registry>/<repository>@sha256:<digest>`.

    Raises:
        RegistryError: when the registry does not say where it is.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        (found,) = ecr.describe_repositories(repositoryNames=[repository])["repositories"]
    except (ClientError, BotoCoreError) as error:
        raise RegistryError(
            f"ECR does not say where the repository {repository} is",
            cause=str(error),
            next_step="Grant the job's role ecr:DescribeRepositories on it, or try again.",
        ) from error
    return f"{found['repositoryUri']}@{digest}"
