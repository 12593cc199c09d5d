"""SageMaker's model registry: the versions of a model, and what people decided about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

Status = Literal["Approved", "Rejected", "PendingManualApproval"]

# Beyond this an ApprovalDescription is refused, and a newline in it anywhere.
# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_UpdateModelPackage.html
_DESCRIPTION_LIMIT = 1024
_PAGE: Any = 100


@dataclass(frozen=True, kw_only=True)
class ModelPackage:
    """One version in the registry."""

    arn: str
    group: str
    description: str
    status: str
    artifact: str
    """The S3 object of its model.tar.gz."""
    metadata: Mapping[str, str]
    decided_by: str
    """Who changed it last: a Studio user, or the end of a principal's ARN; empty when AWS does not say."""
    reason: str
    """What was given as the reason of the last decision."""
    changed_at: datetime
    """When it was changed last, by AWS's clock."""


class NoGroupError(Exception):
    """There is no model package group of this name."""


def find(sagemaker: SageMakerClient, group: str, description: str) -> Iterator[str]:
    """The ARNs of the packages of a group with exactly this description, newest first.

    Raises:
        NoGroupError: when there is no such group.
    """
    return (
        item["ModelPackageArn"]
        for item in _packages(sagemaker, group)
        if item.get("ModelPackageDescription") == description
    )


def count(sagemaker: SageMakerClient, group: str) -> tuple[int, bool]:
    """How many versions a group has, and whether there are more: one page. A missing one has none."""
    from botocore.exceptions import ClientError

    from mlops.clients.aws.sagemaker import missing

    try:
        page = sagemaker.list_model_packages(ModelPackageGroupName=group, MaxResults=_PAGE)
    except ClientError as error:
        if missing(error):
            return 0, False
        raise
    return len(page["ModelPackageSummaryList"]), bool(page.get("NextToken"))


def empty(sagemaker: SageMakerClient, group: str) -> int:
    """Delete every version of a group, and return how many: SageMaker deletes no group that has one."""
    try:
        arns = [item["ModelPackageArn"] for item in _packages(sagemaker, group)]
    except NoGroupError:
        return 0
    for arn in arns:
        sagemaker.delete_model_package(ModelPackageName=arn)
    return len(arns)


def _packages(sagemaker: SageMakerClient, group: str) -> Iterator[Mapping[str, Any]]:
    """Newest first, to the last page."""
    from botocore.exceptions import ClientError

    from mlops.clients.aws.sagemaker import missing

    more: Any = {}
    while True:
        try:
            page = sagemaker.list_model_packages(
                ModelPackageGroupName=group,
                SortBy="CreationTime",
                SortOrder="Descending",
                MaxResults=_PAGE,
                **more,
            )
        except ClientError as error:
            if missing(error):
                raise NoGroupError(group) from error
            raise
        yield from page["ModelPackageSummaryList"]
        if not page.get("NextToken"):
            return
        more = {"NextToken": page["NextToken"]}


def describe(sagemaker: SageMakerClient, arn: str) -> ModelPackage | None:
    """What the registry knows of a version; None when it is not there."""
    from botocore.exceptions import ClientError

    from mlops.clients.aws.sagemaker import missing

    try:
        found: Mapping[str, Any] = sagemaker.describe_model_package(ModelPackageName=arn)
    except ClientError as error:
        if missing(error):
            return None
        raise
    containers = found.get("InferenceSpecification", {}).get("Containers") or [{}]
    who = found.get("LastModifiedBy") or {}
    return ModelPackage(
        arn=found["ModelPackageArn"],
        group=found.get("ModelPackageGroupName", ""),
        description=found.get("ModelPackageDescription", ""),
        status=found.get("ModelApprovalStatus", ""),
        artifact=containers[0].get("ModelDataUrl", ""),
        metadata=found.get("CustomerMetadataProperties") or {},
        decided_by=who.get("UserProfileName")
        or str((who.get("IamIdentity") or {}).get("Arn", "")).rpartition("/")[2],
        reason=found.get("ApprovalDescription", ""),
        changed_at=found.get("LastModifiedTime") or found["CreationTime"],
    )


def decide(
    sagemaker: SageMakerClient,
    arn: str,
    status: Status,
    reason: str,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Approve or reject a version."""
    more: Any = {"CustomerMetadataProperties": dict(metadata)} if metadata else {}
    sagemaker.update_model_package(
        ModelPackageArn=arn,
        ModelApprovalStatus=status,
        ApprovalDescription=" ".join(reason.split())[:_DESCRIPTION_LIMIT],
        **more,
    )
