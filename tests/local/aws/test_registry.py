"""The registry, and ECR's API in front of the same images."""

from __future__ import annotations

import base64
import json
import threading
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .harness import ACCOUNT, LocalAws
from .images import MANIFEST, Pusher, layer, sha256

CONFIG = {"Entrypoint": ["true"], "Labels": {"org.opencontainers.image.revision": "abc"}}


@pytest.fixture(scope="module")
def pusher(aws: LocalAws) -> Pusher:
    return Pusher.login(aws)


@pytest.fixture(scope="module")
def ecr(aws: LocalAws) -> Any:
    return aws.client("ecr")


def _create(ecr: Any, name: str, mutability: str = "IMMUTABLE", **more: Any) -> dict[str, Any]:
    created: dict[str, Any] = ecr.create_repository(
        repositoryName=name, imageTagMutability=mutability, **more
    )["repository"]
    return created


def test_ecr_says_where_the_registry_really_is(aws: LocalAws, ecr: Any) -> None:
    created = _create(ecr, "web-safety/where")
    assert created["repositoryUri"] == f"{aws.registry}/web-safety/where"
    described = ecr.describe_repositories(repositoryNames=["web-safety/where"])["repositories"][0]
    assert described["repositoryUri"] == created["repositoryUri"]
    grant = ecr.get_authorization_token()["authorizationData"][0]
    assert grant["proxyEndpoint"] == aws.endpoint
    assert grant["expiresAt"].timestamp() > 2_000_000_000 or grant["expiresAt"].year >= 2024
    assert base64.b64decode(grant["authorizationToken"]).startswith(b"AWS:")


@pytest.mark.parametrize("authorization", ["", "Basic QVdTOndyb25n", "Basic !", "Bearer x"])
def test_without_the_right_token_the_registry_asks_for_it(aws: LocalAws, authorization: str) -> None:
    answer = Pusher(aws, authorization).call("GET", "/v2/")
    assert answer.status == 401
    assert answer.error == "UNAUTHORIZED"
    assert answer.headers["WWW-Authenticate"].startswith("Basic realm=")


def test_a_pushed_image_is_in_ecr_and_comes_back_as_it_went(pusher: Pusher, ecr: Any) -> None:
    _create(ecr, "web-safety/roundtrip")
    content = layer({"a.txt": "hello"})
    manifest = pusher.manifest("web-safety/roundtrip", [content], CONFIG)
    put = pusher.call("PUT", "/v2/web-safety/roundtrip/manifests/1.0.0", manifest, Content_Type=MANIFEST)
    assert put.status == 201
    assert put.headers["Docker-Content-Digest"] == sha256(manifest)

    for reference in ("1.0.0", sha256(manifest)):
        got = pusher.call("GET", f"/v2/web-safety/roundtrip/manifests/{reference}", Accept=MANIFEST)
        assert (got.status, got.body, got.headers["Content-Type"]) == (200, manifest, MANIFEST)
        head = pusher.call("HEAD", f"/v2/web-safety/roundtrip/manifests/{reference}")
        assert (head.status, head.headers["Docker-Content-Digest"]) == (200, sha256(manifest))
        assert int(head.headers["Content-Length"]) == len(manifest)
    blob = pusher.call("GET", f"/v2/web-safety/roundtrip/blobs/{sha256(content)}")
    assert (blob.status, blob.body) == (200, content)
    head = pusher.call("HEAD", f"/v2/web-safety/roundtrip/blobs/{sha256(content)}")
    assert (head.status, int(head.headers["Content-Length"])) == (200, len(content))

    second = pusher.call("PUT", "/v2/web-safety/roundtrip/manifests/src-1", manifest, Content_Type=MANIFEST)
    assert second.status == 201
    images = ecr.describe_images(repositoryName="web-safety/roundtrip")["imageDetails"]
    assert [(image["imageDigest"], set(image["imageTags"])) for image in images] == [
        (sha256(manifest), {"1.0.0", "src-1"})
    ]
    got_image = ecr.batch_get_image(repositoryName="web-safety/roundtrip", imageIds=[{"imageTag": "src-1"}])[
        "images"
    ][0]
    assert got_image["imageManifest"] == manifest.decode()
    tags = {one["imageTag"] for one in ecr.list_images(repositoryName="web-safety/roundtrip")["imageIds"]}
    assert tags == {"1.0.0", "src-1"}
    assert pusher.call("GET", "/v2/web-safety/roundtrip/tags/list").document == {
        "name": "web-safety/roundtrip",
        "tags": ["1.0.0", "src-1"],
    }
    url = ecr.get_download_url_for_layer(repositoryName="web-safety/roundtrip", layerDigest=sha256(content))[
        "downloadUrl"
    ]
    assert pusher.call("GET", url).body == content


def test_an_immutable_tag_refuses_even_the_same_image(pusher: Pusher, ecr: Any) -> None:
    _create(ecr, "web-safety/immutable")
    manifest = pusher.manifest("web-safety/immutable", [layer({"a": "1"})], CONFIG)
    other = pusher.manifest("web-safety/immutable", [layer({"a": "2"})], CONFIG)
    path = "/v2/web-safety/immutable/manifests/1.0.0"
    assert pusher.call("PUT", path, manifest, Content_Type=MANIFEST).status == 201
    for again in (manifest, other):
        refused = pusher.call("PUT", path, again, Content_Type=MANIFEST)
        assert (refused.status, refused.error) == (400, "TAG_INVALID")
        assert "cannot be overwritten because the repository is immutable" in refused.body.decode()
    by_digest = pusher.call(
        "PUT", f"/v2/web-safety/immutable/manifests/{sha256(manifest)}", manifest, Content_Type=MANIFEST
    )
    assert by_digest.status == 201


def test_tags_outside_immutability_may_move(pusher: Pusher, ecr: Any) -> None:
    _create(
        ecr,
        "web-safety/exclusion",
        "IMMUTABLE_WITH_EXCLUSION",
        imageTagMutabilityExclusionFilters=[{"filterType": "WILDCARD", "filter": "src-*"}],
    )
    _create(ecr, "web-safety/mutable", "MUTABLE")
    for repository, tag, status in (
        ("web-safety/exclusion", "src-1", 201),
        ("web-safety/exclusion", "1.0.0", 400),
        ("web-safety/mutable", "latest", 201),
    ):
        for number, expected in ((1, 201), (2, status)):
            manifest = pusher.manifest(repository, [layer({"n": tag + str(number)})], CONFIG)
            put = pusher.call("PUT", f"/v2/{repository}/manifests/{tag}", manifest, Content_Type=MANIFEST)
            assert put.status == expected, (repository, tag, put)


def test_two_pipelines_with_one_version_have_one_winner(pusher: Pusher, ecr: Any) -> None:
    _create(ecr, "web-safety/race")
    manifests = [
        pusher.manifest("web-safety/race", [layer({"pipeline": str(number)})], CONFIG) for number in range(8)
    ]
    answers: list[int] = []

    def push(manifest: bytes) -> None:
        path = "/v2/web-safety/race/manifests/1.4.0"
        answers.append(pusher.call("PUT", path, manifest, Content_Type=MANIFEST).status)

    threads = [threading.Thread(target=push, args=(manifest,)) for manifest in manifests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [201] + [400] * 7
    images = ecr.describe_images(repositoryName="web-safety/race")["imageDetails"]
    assert [image["imageTags"] for image in images] == [["1.4.0"]]


def test_a_blob_arrives_in_parts(pusher: Pusher, ecr: Any) -> None:
    _create(ecr, "web-safety/parts")
    location = pusher.call("POST", "/v2/web-safety/parts/blobs/uploads/").headers["Location"]
    first = pusher.call("PATCH", location, b"hello ", Content_Range="0-5")
    assert (first.status, first.headers["Range"]) == (202, "0-5")
    gap = pusher.call("PATCH", location, b"world", Content_Range="9-13")
    assert (gap.status, gap.error) == (416, "BLOB_UPLOAD_INVALID")
    second = pusher.call("PATCH", location, b"world", Content_Range="6-10")
    assert second.status == 202
    done = pusher.call("PUT", f"{location}?digest={sha256(b'hello world')}")
    assert done.status == 201
    blob = pusher.call("GET", f"/v2/web-safety/parts/blobs/{sha256(b'hello world')}")
    assert blob.body == b"hello world"
    whole = pusher.call("POST", f"/v2/web-safety/parts/blobs/uploads/?digest={sha256(b'x')}", b"x")
    assert whole.status == 201


def test_a_blob_can_be_mounted_from_another_repository(pusher: Pusher, ecr: Any) -> None:
    _create(ecr, "web-safety/from")
    _create(ecr, "web-safety/to")
    digest = pusher.push_blob("web-safety/from", b"shared")
    path = f"/v2/web-safety/to/blobs/{digest}"
    assert pusher.call("HEAD", path).status == 404
    mounted = pusher.call("POST", f"/v2/web-safety/to/blobs/uploads/?mount={digest}&from=web-safety/from")
    assert mounted.status == 201
    assert pusher.call("GET", path).body == b"shared"
    absent = pusher.call(
        "POST", f"/v2/web-safety/to/blobs/uploads/?mount={sha256(b'no')}&from=web-safety/from"
    )
    assert absent.status == 202


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/v2/no/such/manifests/1", b"", 404, "NAME_UNKNOWN"),
        ("POST", "/v2/no/such/blobs/uploads/", b"", 404, "NAME_UNKNOWN"),
        ("GET", "/v2/web-safety/bad/manifests/9.9.9", b"", 404, "MANIFEST_UNKNOWN"),
        ("GET", f"/v2/web-safety/bad/blobs/{sha256(b'none')}", b"", 404, "BLOB_UNKNOWN"),
        ("GET", "/v2/web-safety/bad/blobs/../../../inbox.jsonl", b"", 400, "DIGEST_INVALID"),
        ("PUT", "/v2/web-safety/bad/manifests/1", b"no json", 400, "MANIFEST_INVALID"),
        ("PUT", "/v2/web-safety/bad/manifests/1", b'{"config": 1}', 400, "MANIFEST_INVALID"),
        ("PUT", "/v2/web-safety/bad/manifests/-bad", b"{}", 400, "TAG_INVALID"),
        ("PUT", f"/v2/web-safety/bad/manifests/{sha256(b'1')}", b"{}", 400, "DIGEST_INVALID"),
        ("PATCH", "/v2/web-safety/bad/blobs/uploads/../../x", b"x", 404, "BLOB_UPLOAD_UNKNOWN"),
        ("DELETE", "/v2/web-safety/bad/manifests/1", b"", 405, "UNSUPPORTED"),
    ],
)
def test_what_is_wrong_is_said_in_the_specification_s_words(
    pusher: Pusher, ecr: Any, method: str, path: str, body: bytes, status: int, code: str
) -> None:
    try:
        _create(ecr, "web-safety/bad")
    except ClientError as error:
        assert error.response["Error"]["Code"] == "RepositoryAlreadyExistsException"
    answer = pusher.call(method, path, body, Content_Type=MANIFEST)
    assert (answer.status, answer.error) == (status, code)


def test_a_blob_that_is_not_what_it_says_is_refused(pusher: Pusher, ecr: Any) -> None:
    _create(ecr, "web-safety/lie")
    path = "/v2/web-safety/lie/blobs/uploads/"
    answer = pusher.call("POST", f"{path}?digest={sha256(b'truth')}", b"lie")
    assert (answer.status, answer.error) == (400, "DIGEST_INVALID")
    assert pusher.call("HEAD", f"/v2/web-safety/lie/blobs/{sha256(b'truth')}").status == 404


def test_a_manifest_without_its_layers_is_refused(pusher: Pusher, ecr: Any) -> None:
    _create(ecr, "web-safety/gap")
    manifest = json.loads(pusher.manifest("web-safety/gap", [layer({"a": "1"})], CONFIG))
    manifest["layers"][0]["digest"] = sha256(b"never pushed")
    body = json.dumps(manifest).encode()
    answer = pusher.call("PUT", "/v2/web-safety/gap/manifests/1.0.0", body, Content_Type=MANIFEST)
    assert (answer.status, answer.error) == (404, "MANIFEST_BLOB_UNKNOWN")
    assert ecr.describe_images(repositoryName="web-safety/gap")["imageDetails"] == []


def test_an_index_of_several_platforms(pusher: Pusher, ecr: Any) -> None:
    _create(ecr, "web-safety/index")
    manifest = pusher.manifest("web-safety/index", [layer({"a": "1"})], CONFIG)
    index_type = "application/vnd.oci.image.index.v1+json"
    index = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": index_type,
            "manifests": [{"mediaType": MANIFEST, "digest": sha256(manifest), "size": len(manifest)}],
        }
    ).encode()
    path = "/v2/web-safety/index/manifests/"
    early = pusher.call("PUT", path + "1.0.0", index, Content_Type=index_type)
    assert (early.status, early.error) == (404, "MANIFEST_UNKNOWN")
    assert pusher.call("PUT", path + sha256(manifest), manifest, Content_Type=MANIFEST).status == 201
    assert pusher.call("PUT", path + "1.0.0", index, Content_Type=index_type).status == 201
    assert pusher.call("GET", path + "1.0.0").headers["Content-Type"] == index_type
    detail = ecr.describe_images(repositoryName="web-safety/index", imageIds=[{"imageTag": "1.0.0"}])
    assert detail["imageDetails"][0]["imageDigest"] == sha256(index)


def test_the_account_number_is_ecr_s(ecr: Any) -> None:
    assert _create(ecr, "web-safety/account")["registryId"] == ACCOUNT
