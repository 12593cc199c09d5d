"""SageMaker's model registry; every answer is checked against botocore's model of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .harness import ACCOUNT, REGION, LocalAws

IMAGE = "127.0.0.1:1/web-safety/phishing-url@sha256:" + "0" * 64
ARN = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}"


@pytest.fixture(scope="module")
def sagemaker(aws: LocalAws) -> Any:
    return aws.client("sagemaker")


@pytest.fixture(scope="module")
def artifact(aws: LocalAws) -> str:
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="packages", CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_object(Bucket="packages", Key="m/model.tar.gz", Body=b"m")
    return "s3://packages/m/model.tar.gz"


def create(sagemaker: Any, group: str, artifact: str, description: str = "m 1", **more: Any) -> str:
    specification = {
        "Containers": [{"Image": IMAGE, "ModelDataUrl": artifact}],
        "SupportedContentTypes": ["text/csv"],
        "SupportedResponseMIMETypes": ["application/json"],
    }
    answer = sagemaker.create_model_package(
        ModelPackageGroupName=group,
        ModelPackageDescription=description,
        InferenceSpecification=specification,
        **more,
    )
    return str(answer["ModelPackageArn"])


def refused(call: Callable[..., Any], **arguments: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    error = caught.value.response["Error"]
    return f"{error['Code']}: {error['Message']}"


def test_a_group_s_life(sagemaker: Any, artifact: str) -> None:
    tags = [{"Key": "team", "Value": "web"}]
    arn = sagemaker.create_model_package_group(
        ModelPackageGroupName="a--life", ModelPackageGroupDescription="Versions of a/life", Tags=tags
    )["ModelPackageGroupArn"]
    assert arn == f"{ARN}:model-package-group/a--life"
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == tags
    found = sagemaker.describe_model_package_group(ModelPackageGroupName="a--life")
    assert found["ModelPackageGroupStatus"] == "Completed"
    assert "already exists" in refused(sagemaker.create_model_package_group, ModelPackageGroupName="a--life")
    package = create(sagemaker, "a--life", artifact)
    assert refused(sagemaker.delete_model_package_group, ModelPackageGroupName="a--life").startswith(
        "ConflictException"
    )
    sagemaker.delete_model_package(ModelPackageName=package)
    sagemaker.delete_model_package_group(ModelPackageGroupName="a--life")
    for call in (sagemaker.describe_model_package_group, sagemaker.delete_model_package_group):
        assert "does not exist" in refused(call, ModelPackageGroupName="a--life")
    assert sagemaker.list_model_package_groups(NameContains="a--life")["ModelPackageGroupSummaryList"] == []


def test_versions_are_numbered_judged_and_listed(sagemaker: Any, artifact: str) -> None:
    for group in ("a--url", "a--url-old"):
        sagemaker.create_model_package_group(ModelPackageGroupName=group)
    create(sagemaker, "a--url-old", artifact)
    arns = [create(sagemaker, "a--url", artifact, f"url {number}") for number in (1, 2, 3)]
    assert arns == [f"{ARN}:model-package/a--url/{number}" for number in (1, 2, 3)]
    sagemaker.update_model_package(
        ModelPackageArn=arns[1],
        ModelApprovalStatus="Approved",
        ApprovalDescription="looks good",
        CustomerMetadataProperties={"mlops:model-version": "1.3.0+retrain.0", "gone": "soon"},
    )
    sagemaker.update_model_package(ModelPackageArn=arns[1], CustomerMetadataPropertiesToRemove=["gone"])
    found = sagemaker.describe_model_package(ModelPackageName=arns[1])
    assert (found["ModelPackageName"], found["ModelPackageVersion"]) == ("a--url", 2)
    assert (found["ModelApprovalStatus"], found["ApprovalDescription"]) == ("Approved", "looks good")
    assert found["CustomerMetadataProperties"] == {"mlops:model-version": "1.3.0+retrain.0"}
    assert found["LastModifiedTime"] > found["CreationTime"]

    page = sagemaker.list_model_packages(ModelPackageGroupName="a--url", MaxResults=2)
    rest = sagemaker.list_model_packages(
        ModelPackageGroupName="a--url", MaxResults=2, NextToken=page["NextToken"]
    )
    listed = page["ModelPackageSummaryList"] + rest["ModelPackageSummaryList"]
    assert [one["ModelPackageVersion"] for one in listed] == [1, 2, 3], "the default is Ascending"
    assert [one["ModelPackageDescription"] for one in listed] == ["url 1", "url 2", "url 3"]
    approved = sagemaker.list_model_packages(ModelPackageGroupName="a--url", ModelApprovalStatus="Approved")
    assert [one["ModelPackageArn"] for one in approved["ModelPackageSummaryList"]] == [arns[1]]
    # the number of one that was deleted is not given again
    sagemaker.delete_model_package(ModelPackageName=arns[2])
    assert create(sagemaker, "a--url", artifact).endswith("/4")


def test_a_token_makes_one_package(sagemaker: Any, artifact: str) -> None:
    sagemaker.create_model_package_group(ModelPackageGroupName="a--token")
    arns = {create(sagemaker, "a--token", artifact, ClientToken="once") for _ in range(2)}
    assert len(arns) == 1


def test_what_the_registry_refuses(sagemaker: Any, artifact: str) -> None:
    sagemaker.create_model_package_group(ModelPackageGroupName="a--strict")
    with pytest.raises(ClientError, match="does not exist"):
        create(sagemaker, "a--none", artifact)
    with pytest.raises(ClientError, match="Could not find model data"):
        create(sagemaker, "a--strict", "s3://packages/none.tar.gz")
    with pytest.raises(ClientError, match="Tags cannot be specified"):
        create(sagemaker, "a--strict", artifact, Tags=[{"Key": "a", "Value": "b"}])
    with pytest.raises(ClientError, match="approvalDescription"):
        sagemaker.update_model_package(
            ModelPackageArn=create(sagemaker, "a--strict", artifact), ApprovalDescription="two\nlines"
        )
    with pytest.raises(ClientError, match="regular expression"):
        create(sagemaker, "a--strict", artifact, CustomerMetadataProperties={"key": "50 %"})
    gone = f"{ARN}:model-package/a--strict/99"
    assert "does not exist" in refused(sagemaker.describe_model_package, ModelPackageName=gone)
