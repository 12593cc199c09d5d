"""S3 through botocore's own parsing and moto's S3."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.stub import Stubber
from moto import mock_aws

from mlops.base.errors import ContractError, StorageError
from mlops.clients.aws.s3 import Storage, StoredObject, split_uri
from mlops.contracts.runs import Override

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Client]:
    for name, value in (("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="ml-ops-test")
        yield client


def test_a_record_reads_back_as_it_was_written(s3: S3Client) -> None:
    storage = Storage(s3)
    record = Override(reason="hotfix", user="ann")
    storage.write_record(record, "s3://ml-ops-test/a/override.json")
    assert storage.exists("s3://ml-ops-test/a/override.json")
    assert storage.read_record(Override, "s3://ml-ops-test/a/override.json") == record
    storage.delete("s3://ml-ops-test/a/override.json")
    assert not storage.exists("s3://ml-ops-test/a/override.json")


def test_a_record_is_created_where_there_is_none(s3: S3Client) -> None:
    storage, uri = Storage(s3), "s3://ml-ops-test/a/told.json"
    assert storage.create_record(Override(reason="first", user="ann"), uri)
    assert not storage.create_record(Override(reason="second", user="bob"), uri)
    assert storage.read_record(Override, uri).reason == "first"
    with Stubber(s3) as stub:
        stub.add_client_error("put_object", "AccessDenied", "no", 403)
        with pytest.raises(StorageError, match="Cannot write"):
            storage.create_record(Override(reason="third", user="bob"), uri)
        # another request writes it at this moment
        stub.add_client_error("put_object", "ConditionalRequestConflict", "try again", 409)
        assert not storage.create_record(Override(reason="third", user="bob"), uri)


def test_the_age_of_an_object(s3: S3Client) -> None:
    storage, uri = Storage(s3), "s3://ml-ops-test/a/told.json"
    with pytest.raises(StorageError, match="does not exist"):
        storage.age(uri)
    storage.write(b"{}", uri)
    assert -1 <= storage.age(uri) < 60


def test_a_missing_object_is_named_with_bucket_and_key(s3: S3Client) -> None:
    with pytest.raises(StorageError) as caught:
        Storage(s3).read("s3://ml-ops-test/a/none.json")
    assert caught.value.what == "s3://ml-ops-test/a/none.json does not exist"
    assert "bucket ml-ops-test has no object with the key a/none.json" in caught.value.cause
    assert caught.value.next_step


def test_a_missing_bucket_is_not_taken_for_a_missing_object(s3: S3Client) -> None:
    with pytest.raises(StorageError, match="Cannot read") as caught:
        Storage(s3).read("s3://ml-ops-other/a.json")
    assert "bucket's name" in caught.value.next_step


def test_a_denied_look_is_an_error_and_not_an_absence(s3: S3Client) -> None:
    with Stubber(s3) as stub:
        stub.add_client_error("head_object", "403", "Forbidden", 403)
        with pytest.raises(StorageError, match="Cannot look at") as caught:
            Storage(s3).exists("s3://ml-ops-test/a.json")
    assert "role" in caught.value.next_step


def test_a_broken_record_says_which_object(s3: S3Client) -> None:
    s3.put_object(Bucket="ml-ops-test", Key="a.json", Body=b"{")
    with pytest.raises(ContractError, match="a\\.json is not valid JSON"):
        Storage(s3).read_record(Override, "s3://ml-ops-test/a.json")


def test_a_huge_object_is_refused_unread(s3: S3Client) -> None:
    s3.put_object(Bucket="ml-ops-test", Key="a.json", Body=b"12345")
    with pytest.raises(StorageError, match="too large"):
        Storage(s3).read("s3://ml-ops-test/a.json", limit=4)
    assert Storage(s3).read("s3://ml-ops-test/a.json", limit=5) == b"12345"


def test_a_listing_takes_the_prefix_only(s3: S3Client) -> None:
    for key in ("data/b.csv", "data/a.csv", "other/c.csv"):
        s3.put_object(Bucket="ml-ops-test", Key=key, Body=b"x")
    listing = list(Storage(s3).listing("s3://ml-ops-test/data/"))
    assert [item.key for item in listing] == ["data/a.csv", "data/b.csv"]
    assert listing[0] == StoredObject("data/a.csv", 1, "9dd4e461268c8034f5c8564e155c67a6")


@pytest.mark.parametrize("uri", ["", "/a/b", "https://x/y", "s3://", "s3://UPPER/x", "s3://bucket"])
def test_what_is_no_s3_uri_is_refused(uri: str) -> None:
    with pytest.raises(StorageError, match="is not an S3 URI"):
        split_uri(uri)


def test_a_uri_splits_into_bucket_and_key() -> None:
    assert split_uri("s3://ml-ops-test/a/b.json") == ("ml-ops-test", "a/b.json")
    assert split_uri("s3://ml-ops-test/") == ("ml-ops-test", "")


def test_lines_of_a_large_object_are_read_up_to_a_limit(s3: S3Client) -> None:
    s3.put_object(Bucket="ml-ops-test", Key="a.jsonl", Body=b"one\ntwo\nthree")
    storage = Storage(s3)
    assert list(storage.lines("s3://ml-ops-test/a.jsonl", 1000)) == [b"one\n", b"two\n", b"three"]
    assert list(storage.lines("s3://ml-ops-test/a.jsonl", 10)) == [b"one\n", b"two\n"], "not half a line"
    assert list(storage.lines("s3://ml-ops-test/a.jsonl", 8)) == [b"one\n", b"two\n"]


def test_an_empty_object_has_no_lines_and_a_missing_one_is_named(s3: S3Client) -> None:
    s3.put_object(Bucket="ml-ops-test", Key="empty", Body=b"")
    assert list(Storage(s3).lines("s3://ml-ops-test/empty", 10)) == []
    with pytest.raises(StorageError, match="does not exist"):
        list(Storage(s3).lines("s3://ml-ops-test/none", 10))
