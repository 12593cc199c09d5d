"""SageMaker models and endpoint configurations, and how everything is validated, tagged and listed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.request import Request, urlopen

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from .harness import ACCOUNT, REGION, ROLE, LocalAws
from .images import MANIFEST, Pusher, layer, sha256

IMAGE = "127.0.0.1:1/web-safety/phishing-url@sha256:" + "0" * 64
"""Of another registry; for requests that are refused before anybody looks for it."""
PUSHED: list[str] = []
"""The image of the models here."""


@pytest.fixture(scope="module")
def sagemaker(aws: LocalAws) -> Any:
    aws.client("ecr").create_repository(repositoryName="models/plain")
    PUSHED[:] = [
        Pusher.login(aws).push("models/plain", "1.0.0", [layer({"a": "1"})], {"Entrypoint": ["true"]})
    ]
    return aws.client("sagemaker")


def create(sagemaker: Any, name: str, **more: Any) -> str:
    answer = sagemaker.create_model(
        ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer={"Image": PUSHED[0]}, **more
    )
    return str(answer["ModelArn"])


def refused(call: Callable[..., Any], **arguments: Any) -> dict[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    error = caught.value.response["Error"]
    return {"Code": error["Code"], "Message": error["Message"]}


def test_a_model_s_life(sagemaker: Any) -> None:
    name = "life--phishing-url--1-3-0--r0"
    tags = [{"Key": "mlops:model-version", "Value": "1.3.0+retrain.0"}]
    arn = create(sagemaker, name, Tags=tags)
    assert arn == f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:model/{name}"
    model = sagemaker.describe_model(ModelName=name)
    assert (model["ModelName"], model["PrimaryContainer"]) == (name, {"Image": PUSHED[0]})
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == tags
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "a", "Value": ""}])
    sagemaker.delete_tags(ResourceArn=arn, TagKeys=["mlops:model-version"])
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "a", "Value": ""}]

    error = refused(create, sagemaker=sagemaker, name=name)
    assert error["Code"] == "ValidationException"
    assert error["Message"] == f'Cannot create already existing model "{arn}".'
    sagemaker.delete_model(ModelName=name)
    for call in (sagemaker.describe_model, sagemaker.delete_model):
        assert refused(call, ModelName=name) == {
            "Code": "ValidationException",
            "Message": f'Could not find model "{arn}".',
        }
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == []


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    ],
)
def test_an_image_has_one_docker_manifest(sagemaker: Any, aws: LocalAws, media_type: str) -> None:
    repository, pusher = "web-safety/" + media_type.replace("+", "-").rpartition("/")[2], Pusher.login(aws)
    aws.client("ecr").create_repository(repositoryName=repository)
    taken = pusher.push(repository, "1.0.0", [layer({"a": "1"})], {"Entrypoint": ["true"]})
    manifest = pusher.call("GET", f"/v2/{repository}/manifests/1.0.0").body
    inner = {"mediaType": MANIFEST, "digest": taken.rpartition("@")[2], "size": len(manifest)}
    document = json.loads(manifest) | {"mediaType": media_type, "manifests": [inner]}
    body = json.dumps(document).encode()
    answer = pusher.call("PUT", f"/v2/{repository}/manifests/2.0.0", body, Content_Type=media_type)
    assert answer.status == 201, answer
    for uri in (f"{aws.registry}/{repository}:2.0.0", f"{aws.registry}/{repository}@{sha256(body)}"):
        error = refused(
            sagemaker.create_model, ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer={"Image": uri}
        )
        assert error == {
            "Code": "ValidationException",
            "Message": f"Unsupported manifest media type {media_type} for image {uri}. Ensure that valid manifest "
            "media type is used for specified image.",
        }
    name = "taken-" + repository.rpartition(".")[2]
    sagemaker.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer={"Image": taken})
    sagemaker.delete_model(ModelName=name)


def test_an_image_must_be_there(aws: LocalAws, sagemaker: Any) -> None:
    missing = f"{aws.registry}/models/plain@sha256:{'1' * 64}"
    foreign = "docker.io/library/python:3"
    for uri, words in (
        (missing, f"Requested image {missing} not found."),
        (foreign, f'Using non-ECR image "{foreign}" without Vpc repository access mode is not supported.'),
    ):
        container = {"Image": uri}
        error = refused(
            sagemaker.create_model, ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer=container
        )
        assert error == {"Code": "ValidationException", "Message": words}
    gone = f"{aws.registry}/no/such:1"
    error = refused(
        sagemaker.create_processing_job,
        ProcessingJobName="p",
        RoleArn=ROLE,
        AppSpecification={"ImageUri": gone},
        ProcessingResources={
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}
        },
    )
    assert error["Message"].startswith(f"Cannot find the requested image: {gone}.")


def test_model_data_must_be_there(sagemaker: Any) -> None:
    container = {"Image": PUSHED[0], "ModelDataUrl": "s3://no-such-bucket/model.tar.gz"}
    error = refused(
        sagemaker.create_model, ModelName="no-data", ExecutionRoleArn=ROLE, PrimaryContainer=container
    )
    assert error["Message"] == "Could not find model data at s3://no-such-bucket/model.tar.gz."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"ModelName": "under_score"},
            "Value 'under_score' at 'modelName' failed to satisfy constraint: Member ",
        ),
        ({"ModelName": "x" * 64}, "Member must have length less than or equal to 63"),
        ({"ExecutionRoleArn": "arn:aws:iam::1:role/x"}, "at 'executionRoleArn' failed to satisfy constraint"),
        ({"PrimaryContainer": {"Image": "with space"}}, "at 'primaryContainer.image'"),
        (
            {"PrimaryContainer": {"Image": IMAGE, "Mode": "Double"}},
            "enum value set: [SingleModel, MultiModel]",
        ),
        ({"PrimaryContainer": {"Image": IMAGE, "Environment": {"1X": "y"}}}, "primaryContainer.environment"),
        ({"Tags": [{"Key": "<", "Value": "y"}]}, "at 'tags.1.member.key'"),
        ({"Tags": [{"Key": str(n), "Value": ""} for n in range(51)]}, "at 'tags' failed"),
    ],
)
def test_names_and_values_are_checked_as_the_service_does(
    sagemaker: Any, arguments: dict[str, Any], message: str
) -> None:
    wanted = {
        "ModelName": "fine",
        "ExecutionRoleArn": ROLE,
        "PrimaryContainer": {"Image": IMAGE},
        **arguments,
    }
    error = refused(sagemaker.create_model, **wanted)
    assert error["Code"] == "ValidationException"
    assert "validation error" in error["Message"]
    assert message in error["Message"]


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (
            b"{}",
            "ValidationException",
            "Value null at 'modelName' failed to satisfy constraint: Member must not be",
        ),
        (b'{"ModelName": 7}', "SerializationException", "'modelName'"),
        (
            b'{"ModelName": "a", "EnableNetworkIsolation": 1}',
            "SerializationException",
            "'enableNetworkIsolation'",
        ),
        (b"[]", "SerializationException", "not a JSON object"),
        (b"{", "SerializationException", "not JSON"),
    ],
)
def test_requests_that_boto3_would_not_even_send(aws: LocalAws, body: bytes, code: str, message: str) -> None:
    headers = {"X-Amz-Target": "SageMaker.CreateModel", "Content-Type": "application/x-amz-json-1.1"}
    unsigned = AWSRequest("POST", aws.endpoint + "/", headers, body)
    SigV4Auth(Credentials("test", "test"), "sagemaker", REGION).add_auth(unsigned)
    request = Request(aws.endpoint + "/", body, dict(unsigned.headers), method="POST")
    with pytest.raises(OSError) as caught:
        urlopen(request, timeout=10)
    document = json.loads(caught.value.read())  # type: ignore[attr-defined]
    assert document["__type"] == code
    assert message in document["message"]


def test_several_mistakes_are_told_at_once(sagemaker: Any) -> None:
    error = refused(sagemaker.create_model, ModelName="a_b", ExecutionRoleArn="x" * 20)
    assert error["Message"].startswith("2 validation errors detected: ")


def test_models_are_found_anywhere_in_the_name_newest_first_by_pages(sagemaker: Any) -> None:
    names = [f"paging--model--1-{number}-0--r0" for number in range(13)]
    for name in names:
        create(sagemaker, name)
    create(sagemaker, "other--paging--model--1-0-0--r0")
    first = sagemaker.list_models(NameContains="paging--model")
    assert [one["ModelName"] for one in first["Models"]] == [
        "other--paging--model--1-0-0--r0",
        *reversed(names[4:]),
    ]
    pages = sagemaker.get_paginator("list_models").paginate(
        NameContains="paging--model", SortOrder="Ascending", PaginationConfig={"PageSize": 5}
    )
    listed = [one["ModelName"] for page in pages for one in page["Models"]]
    assert listed == [*names, "other--paging--model--1-0-0--r0"]
    by_name = sagemaker.list_models(NameContains="PAGING--", SortBy="Name", MaxResults=100)["Models"]
    assert [one["ModelName"] for one in by_name] == sorted(listed, reverse=True)
    # what is deleted between two pages neither hides nor repeats another
    token = sagemaker.list_models(NameContains="paging--model", MaxResults=3)["NextToken"]
    sagemaker.delete_model(ModelName=names[11])
    rest = sagemaker.list_models(NameContains="paging--model", MaxResults=3, NextToken=token)["Models"]
    assert [one["ModelName"] for one in rest] == names[8:11][::-1]


def test_models_are_found_by_time(sagemaker: Any) -> None:
    create(sagemaker, "timing-a")
    time.sleep(1.1)
    create(sagemaker, "timing-b")
    middle = sagemaker.describe_model(ModelName="timing-b")["CreationTime"]
    before = sagemaker.list_models(NameContains="timing-", CreationTimeBefore=middle.replace(microsecond=0))
    assert [one["ModelName"] for one in before["Models"]] == ["timing-a"]
    after = sagemaker.list_models(NameContains="timing-", CreationTimeAfter=middle.replace(microsecond=0))
    assert [one["ModelName"] for one in after["Models"]] == ["timing-b"]


def test_a_token_of_nobody_s(sagemaker: Any) -> None:
    assert refused(sagemaker.list_models, NextToken="bm8=")["Message"] == "Invalid NextToken"
    assert "less than or equal to 100" in refused(sagemaker.list_models, MaxResults=101)["Message"]


def test_an_endpoint_configuration_s_life(sagemaker: Any) -> None:
    create(sagemaker, "configured")
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": "configured",
        "InstanceType": "ml.t2.medium",
        "InitialInstanceCount": 1,
    }
    name = "config-life"
    arn = sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    arn = arn["EndpointConfigArn"]
    described = sagemaker.describe_endpoint_config(EndpointConfigName=name)
    assert described["ProductionVariants"] == [variant]
    listed = sagemaker.list_endpoint_configs(NameContains="config-life")["EndpointConfigs"]
    assert [one["EndpointConfigArn"] for one in listed] == [arn]
    again = refused(sagemaker.create_endpoint_config, EndpointConfigName=name, ProductionVariants=[variant])
    assert again["Message"] == f'Cannot create already existing endpoint configuration "{arn}".'
    for variants, message in (
        ([{**variant, "ModelName": "nobody"}], "Could not find model"),
        ([variant, variant], "unique"),
        ([{**variant, "InstanceType": "ml.tiny"}], "enum value set"),
    ):
        error = refused(
            sagemaker.create_endpoint_config, EndpointConfigName="broken", ProductionVariants=variants
        )
        assert message in error["Message"]
    sagemaker.delete_endpoint_config(EndpointConfigName=name)
    for call in (sagemaker.describe_endpoint_config, sagemaker.delete_endpoint_config):
        error = refused(call, EndpointConfigName=name)
        assert error["Message"] == f'Could not find endpoint configuration "{arn}".'


def test_what_we_do_not_have_is_moto_s(sagemaker: Any) -> None:
    arn = sagemaker.create_model_package_group(ModelPackageGroupName="group")["ModelPackageGroupArn"]
    assert arn.endswith(":model-package-group/group")
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "owner", "Value": "ann"}])
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "owner", "Value": "ann"}]
