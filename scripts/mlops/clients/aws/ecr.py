"""ECR: whether an image is still there, and how many a repository has."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mlops.base.errors import RegistryError

if TYPE_CHECKING:
    from mypy_boto3_ecr import ECRClient

_URI = re.compile(r"[^/@\s]+/(?P<repository>[^@\s]+)@(?P<digest>sha256:[0-9a-f]{64})")


def image_exists(ecr: ECRClient, image_uri: str) -> bool:
    """Whether the registry of this account holds `<registry>/<repository>@sha256:<digest>`.

    Raises:
        RegistryError: when it does not answer.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    match = _URI.fullmatch(image_uri)
    if not match:
        return False
    try:
        ecr.describe_images(repositoryName=match["repository"], imageIds=[{"imageDigest": match["digest"]}])
    except (ClientError, BotoCoreError) as error:
        code = getattr(error, "response", {}).get("Error", {}).get("Code", "")
        if code in {"ImageNotFoundException", "RepositoryNotFoundException"}:
            return False
        raise RegistryError(
            f"ECR does not say whether {image_uri} exists",
            cause=str(error),
            next_step="Grant the job's role ecr:DescribeImages, or try again.",
        ) from error
    return True


def count_images(ecr: ECRClient, repository: str) -> tuple[int, bool]:
    """How many images a repository has, and whether there are more: one page. A missing one has none."""
    try:
        # Without a status ECR leaves out what was archived; a list has a line for each tag.
        page = ecr.list_images(repositoryName=repository, maxResults=1000, filter={"imageStatus": "ANY"})
    except ecr.exceptions.RepositoryNotFoundException:
        return 0, False
    digests = {image["imageDigest"] for image in page.get("imageIds", ())}
    return len(digests), bool(page.get("nextToken"))
