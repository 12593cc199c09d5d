"""Who was told what: once, by whoever comes first, and by a retry exactly what is missing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto import mock_aws

from mlops.base.errors import StorageError
from mlops.clients.aws.s3 import Storage
from mlops.contracts.evidence import Failure
from mlops.contracts.runs import DEPLOYMENT_DAG, TRAINING_DAG, NoticeConf, Occurrence, Origin
from mlops.notifications.delivery_log import (
    LEASE,
    DeliveryLog,
    essence,
    folder_of,
    identity_of,
    of_failure,
    of_notice,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

FOLDER = folder_of("ml-ops-test", "web-safety", "phishing-url")
FAILURE = Failure(
    schema_version=1,
    project="web-safety",
    model="phishing-url",
    model_version="1.3.0+retrain.4",
    dag_id=TRAINING_DAG,
    run_id="phishing-url-1-3-0.0123456789.1",
    task_id="train",
    cause="AlgorithmError: exit code 1\nLast lines of its log:\nepoch 7",
    log_url="",
    next_step="-",
)
PUSHED = Origin(pipeline_source="push")
NIGHTLY = Origin(pipeline_source="schedule")


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Client]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="ml-ops-test")
        yield client


def deliveries(s3: S3Client, teller: str = "run 1", folder: str = FOLDER) -> DeliveryLog:
    return DeliveryLog(Storage(s3), folder, teller, sleep=lambda _: None)


def claim(one: DeliveryLog, identity: str = "abc", channel: str = "default") -> bool:
    return one.claim(identity, channel, "slack", "it failed")


def test_what_was_sent_is_not_sent_again(s3: S3Client) -> None:
    first = deliveries(s3)
    assert claim(first)
    first.sent("abc", "default", "slack", "it failed")
    assert not claim(first)
    assert not claim(deliveries(s3, "pipeline 2"))
    assert claim(first, channel="fraud")
    assert claim(first, identity="def")


def test_a_retry_goes_on_and_nobody_else_does(s3: S3Client) -> None:
    assert claim(deliveries(s3, "run 1"))
    assert not claim(deliveries(s3, "pipeline 2"))
    assert claim(deliveries(s3, "run 1"))


def test_what_a_channel_refused_anybody_may_try(s3: S3Client) -> None:
    first = deliveries(s3)
    assert claim(first)
    first.refused("abc", "default", "slack", "it failed")
    assert claim(deliveries(s3, "pipeline 2"))


def test_who_never_said_how_it_went_is_taken_for_dead_after_a_while(
    s3: S3Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert claim(deliveries(s3))
    monkeypatch.setattr(Storage, "age", lambda *_: LEASE - 1)
    assert not claim(deliveries(s3, "pipeline 2"))
    monkeypatch.setattr(Storage, "age", lambda *_: LEASE + 1)
    assert claim(deliveries(s3, "pipeline 2"))


def test_a_broken_record_keeps_nobody_from_hearing(s3: S3Client, caplog: pytest.LogCaptureFixture) -> None:
    assert claim(deliveries(s3))
    key = FOLDER.removeprefix("s3://ml-ops-test/") + "abc.default.slack.json"
    s3.put_object(Bucket="ml-ops-test", Key=key, Body=b"oops")
    assert claim(deliveries(s3, "pipeline 2"))
    assert "broken" in caplog.text


def test_without_a_project_everything_is_told(s3: S3Client) -> None:
    nobody = deliveries(s3, folder="")
    assert claim(nobody)
    nobody.sent("abc", "default", "slack", "it failed")
    nobody.succeeded(TRAINING_DAG, "run 1")
    assert claim(nobody)
    assert nobody.last_success(TRAINING_DAG) == ""
    assert "Contents" not in s3.list_objects_v2(Bucket="ml-ops-test")


class Closed:
    """S3 that does not answer."""

    def __getattr__(self, name: str) -> Any:
        def refuse(*_: object) -> None:
            raise StorageError(f"Cannot {name}")

        return refuse


def test_when_s3_does_not_tell_it_is_told(caplog: pytest.LogCaptureFixture) -> None:
    closed: Any = Closed()
    one = DeliveryLog(closed, FOLDER, "run 1")
    assert claim(one)
    one.sent("abc", "default", "slack", "it failed")
    one.succeeded(TRAINING_DAG, "run 1")
    assert one.last_success(TRAINING_DAG) == ""
    assert caplog.text.count("Cannot") == 4


class Vanishing(Storage):
    """Another's write is under way, and fails."""

    looks = 0

    def create_record(self, record: object, uri: str) -> bool:
        self.looks += 1
        return self.looks > 1 and super().create_record(record, uri)


def test_a_write_of_another_that_fails_leaves_the_record_to_us(s3: S3Client) -> None:
    pauses: list[float] = []
    storage = Vanishing(s3)
    assert claim(DeliveryLog(storage, FOLDER, "run 1", pauses.append))
    assert (storage.looks, pauses) == (2, [1.0])


def test_a_run_that_a_person_pushed_for_is_told_each_time(s3: S3Client) -> None:
    one = deliveries(s3)
    again = replace(FAILURE, run_id="phishing-url-1-3-0.0123456789.2")
    assert of_failure(FAILURE, PUSHED, one) != of_failure(again, PUSHED, one)


def test_the_same_failure_night_after_night_is_one_until_a_success(s3: S3Client) -> None:
    one = deliveries(s3)
    first = of_failure(FAILURE, NIGHTLY, one)
    next_night = replace(
        FAILURE,
        run_id="phishing-url-1-3-0.0123456789.2",
        cause="AlgorithmError: exit code 1\nLast lines of its log:\nepoch 9",
    )
    assert of_failure(next_night, NIGHTLY, one) == first
    assert of_failure(replace(next_night, cause="CapacityError"), NIGHTLY, one) != first
    assert of_failure(replace(next_night, model_version="1.4.0+retrain.0"), NIGHTLY, one) != first
    one.succeeded(TRAINING_DAG, "run 9")
    assert one.last_success(TRAINING_DAG) == "run 9"
    assert of_failure(next_night, NIGHTLY, one) != first


def test_a_notice_is_one_until_something_is_trained_or_deployed(s3: S3Client) -> None:
    one = deliveries(s3)
    conf = NoticeConf(
        schema_version=1,
        project="web-safety",
        model="phishing-url",
        what="Endpoint web-safety--phishing-url is RollingBack",
        cause="no capacity at 10:17",
        log_url="",
        next_step="-",
        occurrence=Occurrence(id="1", source="aws.sagemaker", detail_type="x", time="2026-01-02T03:04:05Z"),
    )
    first = of_notice(conf, one)
    assert of_notice(replace(conf, cause="no capacity at 11:17"), one) == first
    one.succeeded(DEPLOYMENT_DAG, "run 3")
    assert of_notice(conf, one) != first


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("job train--a-b--1-3-0--r4-0123abcd failed", "job train--a-b--1-3-0--r5-9876fedc failed"),
        ("s3://b/a/x.csv is missing", "s3://b/a/y.csv is missing"),
        ("see https://logs.example/1", "see https://logs.example/2"),
        ("arn:aws:iam::1:role/x may not", "arn:aws:iam::2:role/y may not"),
        ("took 12.5 s", "took 13 s"),
    ],
)
def test_what_differs_by_accident_does_not_count(left: str, right: str) -> None:
    assert essence(left) == essence(right)
    assert essence(left) != essence(left + " unlike before")


def test_no_two_facts_run_into_each_other() -> None:
    assert identity_of("ab", "c") != identity_of("a", "bc")
    assert len(identity_of("a")) == 20


def test_age_is_told_by_the_clock_of_s3(s3: S3Client) -> None:
    storage = Storage(s3)
    assert claim(deliveries(s3))
    uri = FOLDER + "abc.default.slack.json"

    now = datetime.now(UTC)

    def answered(parsed: dict[str, Any], **_: Any) -> None:
        parsed["LastModified"] = now - timedelta(minutes=20)
        parsed["ResponseMetadata"]["HTTPHeaders"]["date"] = now.strftime("%a, %d %b %Y %H:%M:%S GMT")

    s3.meta.events.register("after-call.s3.HeadObject", answered)
    assert 1199 <= storage.age(uri) <= 1201


def test_of_many_at_once_one_claims(s3: S3Client) -> None:
    lock, won = threading.Lock(), []
    together = threading.Barrier(8)

    def run(number: int) -> None:
        one = deliveries(s3, f"run {number}")
        together.wait()
        with lock:  # moto in this process looks and writes in two steps; the local AWS has a test of its own
            won.append(claim(one))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 7 + [True]


def test_the_essence_of_a_long_word_takes_no_hours() -> None:
    assert essence("z" * 1_000_000) == "z" * 500
