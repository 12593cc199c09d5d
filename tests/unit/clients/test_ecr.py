from __future__ import annotations

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from botocore.stub import Stubber

from mlops.base.errors import AwsError, RegistryError
from mlops.clients.aws.ecr import image_exists
from mlops.clients.aws.session import explained
from tests.unit.world import World


def test_an_image_is_there_until_it_is_deleted(world: World) -> None:
    uri = world.image("1.3.0")
    assert image_exists(world.ecr, uri)
    world.ecr.batch_delete_image(repositoryName="web-safety/phishing-url", imageIds=[{"imageTag": "1.3.0"}])
    assert not image_exists(world.ecr, uri)


@pytest.mark.parametrize("uri", ["", "registry/other/model:1.3.0", f"registry/other/model@sha256:{'0' * 64}"])
def test_what_names_no_image_of_ours_is_not_there(world: World, uri: str) -> None:
    assert not image_exists(world.ecr, uri)


def test_a_registry_that_refuses_is_no_absence() -> None:
    ecr = boto3.client("ecr", region_name="eu-west-1", aws_access_key_id="t", aws_secret_access_key="t")
    with Stubber(ecr) as stub:
        stub.add_client_error("describe_images", "AccessDeniedException")
        with pytest.raises(RegistryError, match="does not say") as caught:
            image_exists(ecr, f"registry/a/b@sha256:{'0' * 64}")
    assert "ecr:DescribeImages" in caught.value.next_step


@pytest.mark.parametrize(
    ("code", "step"), [("AccessDeniedException", "Grant"), ("ThrottlingException", "again")]
)
def test_a_refusal_that_no_client_has_words_for_is_still_an_error_for_people(code: str, step: str) -> None:
    sagemaker = boto3.client(
        "sagemaker", region_name="eu-west-1", aws_access_key_id="t", aws_secret_access_key="t"
    )
    with Stubber(sagemaker) as stub:
        stub.add_client_error("describe_model", code, "not today")
        with pytest.raises(AwsError, match="AWS refused DescribeModel") as caught, explained():
            sagemaker.describe_model(ModelName="a")
    assert "not today" in caught.value.cause
    assert step in caught.value.next_step


def test_no_connection_is_an_error_for_people() -> None:
    with pytest.raises(AwsError, match="could not be reached"), explained():
        raise EndpointConnectionError(endpoint_url="https://sagemaker")
