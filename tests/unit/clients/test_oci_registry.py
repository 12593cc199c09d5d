"""ECR is asked once, and its answers become ours."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.stub import Stubber

from mlops.base.errors import AuthenticationError, RegistryError, UnsupportedImageError
from mlops.clients.aws.oci_registry import MANIFEST_TYPE, OWNER_TAG, Registry, account_host
from mlops.clients.aws.releases import newest_release

if TYPE_CHECKING:
    from mypy_boto3_ecr import ECRClient

ACCOUNT = "123456789012"
DIGEST = "sha256:" + "0" * 64
FOUND = {
    "imageDetails": [
        {
            "registryId": ACCOUNT,
            "repositoryName": "web-safety/x",
            "imageDigest": DIGEST,
            "imageTags": ["1.0.0", "src-1"],
            "imagePushedAt": datetime(2026, 1, 1, tzinfo=UTC),
            "imageManifestMediaType": MANIFEST_TYPE,
        }
    ]
}


def client(region: str = "eu-west-1", **options: str) -> ECRClient:
    session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=region)
    return session.client("ecr", **options)  # type: ignore[call-overload, no-any-return]


@pytest.fixture
def ecr() -> Iterator[tuple[Registry, Stubber]]:
    """A repository at AWS itself, of which every call is foreseen."""
    made = client()
    with Stubber(made) as foreseen:
        yield Registry(made, "web-safety/x"), foreseen
        foreseen.assert_no_pending_responses()


def test_one_call_finds_an_image_and_where_it_is(ecr: tuple[Registry, Stubber]) -> None:
    registry, foreseen = ecr
    wanted = {"repositoryName": "web-safety/x", "imageIds": [{"imageTag": "src-1"}]}
    foreseen.add_response("describe_images", FOUND, wanted)
    found = registry.find("src-1")
    assert found
    assert (found.digest, found.tags) == (DIGEST, ("1.0.0", "src-1"))
    assert registry.uri == f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com/web-safety/x"


def test_the_newest_release_is_one_that_sagemaker_takes(ecr: tuple[Registry, Stubber]) -> None:
    """It is trained again, for money, and CreateModel would refuse it after that."""
    registry, foreseen = ecr
    wanted = {"repositoryName": "web-safety/x", "filter": {"tagStatus": "TAGGED"}, "maxResults": 1000}
    oci = "application/vnd.oci.image.manifest.v1+json"
    foreseen.add_response("describe_images", FOUND, wanted)
    assert newest_release(registry._ecr, "web-safety/x").digest == DIGEST
    details = [FOUND["imageDetails"][0] | {"imageManifestMediaType": oci, "imageTags": ["1.1.0"]}]
    foreseen.add_response("describe_images", {"imageDetails": [*FOUND["imageDetails"], *details]}, wanted)
    with pytest.raises(
        UnsupportedImageError, match=r"does not take the image web-safety/x:1\.1\.0"
    ) as caught:
        newest_release(registry._ecr, "web-safety/x")
    assert oci in caught.value.cause
    assert "pipeline of the default branch" in caught.value.next_step


def test_no_image(ecr: tuple[Registry, Stubber]) -> None:
    registry, foreseen = ecr
    foreseen.add_client_error("describe_images", "ImageNotFoundException")
    assert registry.find("src-1") is None


ARN = f"arn:aws:ecr:eu-west-1:{ACCOUNT}:repository/web-safety/x"
TAGS = {"tags": [{"Key": "team", "Value": "a"}, {"Key": OWNER_TAG, "Value": "models/x"}]}


def test_whose_model_it_is_takes_one_call_after_an_image_was_found(ecr: tuple[Registry, Stubber]) -> None:
    registry, foreseen = ecr
    foreseen.add_response("describe_images", FOUND)
    foreseen.add_response("list_tags_for_resource", TAGS, {"resourceArn": ARN})
    registry.find("src-1")
    assert registry.owner() == "models/x"


def test_whose_model_it_is_before_there_is_an_image(ecr: tuple[Registry, Stubber]) -> None:
    registry, foreseen = ecr
    known = {"repositories": [{"repositoryArn": ARN}]}
    foreseen.add_client_error("describe_images", "ImageNotFoundException")
    foreseen.add_response("describe_repositories", known, {"repositoryNames": ["web-safety/x"]})
    foreseen.add_response("list_tags_for_resource", {"tags": TAGS["tags"][:1]}, {"resourceArn": ARN})
    registry.find("src-1")
    assert registry.owner() == ""


def test_an_arn_is_of_the_client_s_partition() -> None:
    made = client("cn-north-1")
    with Stubber(made) as foreseen:
        foreseen.add_response("describe_images", FOUND)
        wanted = {"resourceArn": f"arn:aws-cn:ecr:cn-north-1:{ACCOUNT}:repository/web-safety/x"}
        foreseen.add_response("list_tags_for_resource", TAGS, wanted)
        registry = Registry(made, "web-safety/x")
        registry.find("src-1")
        assert registry.owner() == "models/x"


@pytest.mark.parametrize("found", [True, False], ids=["found", "nothing found"])
def test_a_role_that_may_not_see_whose_model_it_is(ecr: tuple[Registry, Stubber], found: bool) -> None:
    registry, foreseen = ecr
    if found:
        foreseen.add_response("describe_images", FOUND)
        registry.find("src-1")
    call = "list_tags_for_resource" if found else "describe_repositories"
    foreseen.add_client_error(call, "AccessDeniedException", "the registry's own words")
    with pytest.raises(AuthenticationError, match="may not read the tags of web-safety/x") as caught:
        registry.owner()
    assert "ecr:ListTagsForResource" in caught.value.next_step


def test_all_pages_of_images(ecr: tuple[Registry, Stubber]) -> None:
    registry, foreseen = ecr
    foreseen.add_response("describe_images", {**FOUND, "nextToken": "more"})
    foreseen.add_response("describe_images", FOUND)
    assert len(list(registry.images())) == 2


@pytest.mark.parametrize(
    ("code", "kind", "step"),
    [
        ("RepositoryNotFoundException", RegistryError, "web-safety/x to terraform/root/models.auto.tfvars"),
        ("AccessDeniedException", AuthenticationError, "ecr:DescribeImages"),
        ("ServerException", RegistryError, "again"),
    ],
)
def test_refusals(ecr: tuple[Registry, Stubber], code: str, kind: type[RegistryError], step: str) -> None:
    registry, foreseen = ecr
    for look in (lambda: registry.find("1.0.0"), lambda: list(registry.images())):
        foreseen.add_client_error("describe_images", code, "the registry's own words")
        with pytest.raises(kind) as caught:
            look()
        assert "web-safety/x" in caught.value.what
        assert "the registry's own words" in caught.value.cause
        assert step in caught.value.next_step


@pytest.mark.parametrize(
    ("region", "endpoint", "host"),
    [
        ("eu-west-1", "", f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com"),
        ("cn-north-1", "", f"{ACCOUNT}.dkr.ecr.cn-north-1.amazonaws.com.cn"),
        (
            "eu-west-1",
            "https://vpce-1.api.ecr.eu-west-1.vpce.amazonaws.com",
            f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com",
        ),
        ("eu-west-1", "http://127.0.0.1:5000", ""),
    ],
)
def test_the_host_of_an_account(region: str, endpoint: str, host: str) -> None:
    options = {"endpoint_url": endpoint} if endpoint else {}
    assert account_host(client(region, **options), ACCOUNT) == host
