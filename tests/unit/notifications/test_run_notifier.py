"""Where a run's message goes, and whether it goes at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto import mock_aws

from mlops.base.strict_json import dumps, encode, loads
from mlops.clients.aws.s3 import Storage
from mlops.contracts.evidence import Failure, Recipe
from mlops.contracts.locations import recipe_uri
from mlops.contracts.platform_settings import Channel, PlatformSettings
from mlops.contracts.runs import TRAINING_DAG, NoticeConf, Notifications, Occurrence, Origin, TrainingConf
from mlops.notifications.messages import channel_test, noticed
from mlops.notifications.run_notifier import Announcement, RunNotifier

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SETTINGS = PlatformSettings(
    environment="test",
    region="eu-west-1",
    bucket="ml-ops-test",
    execution_role_arn="",
    topic_arn="arn:aws:sns:eu-west-1:123456789012:ml-ops-notifications",
    trigger_function="",
    airflow_environment="",
    slack_secret="airflow/connections/slack",
    channels={
        "fraud": Channel(
            topic_arn="arn:aws:sns:eu-west-1:123456789012:ml-ops-notifications-fraud",
            slack_secret="airflow/connections/slack_fraud",
        )
    },
)
MESSAGE = channel_test(Origin())
NOTICE = NoticeConf(
    schema_version=1,
    project="web-safety",
    model="phishing-url",
    what="Endpoint web-safety--phishing-url is RollingBack",
    cause="no capacity",
    log_url="https://console.example/endpoint",
    next_step="Deploy the model again.",
    occurrence=Occurrence(
        id="1",
        source="aws.sagemaker",
        detail_type="SageMaker Endpoint State Change",
        time="2026-01-02T03:04:05Z",
    ),
)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Client]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="ml-ops-test")
        yield client


def run(s3: S3Client, run_id: str = "run 1") -> RunNotifier:
    return RunNotifier(dag_id=TRAINING_DAG, run_id=run_id, storage=Storage(s3))


def about(conf: object) -> dict[str, Any]:
    return {"settings": encode(SETTINGS), "conf": encode(conf)}


def announced(
    s3: S3Client, conf: object, failure: Failure | NoticeConf | None = None, by: str = "run 1"
) -> Announcement:
    found = run(s3, by).announce(MESSAGE, about(conf), failure)
    assert found is not None
    return found


def test_a_model_is_heard_of_in_its_own_channel(s3: S3Client, training: TrainingConf) -> None:
    conf = replace(training, notifications=Notifications(channel="fraud", email=False))
    found = announced(s3, conf)
    assert (found.channel, found.topic_arn, found.slack) == ("fraud", "", "slack_fraud")
    assert found.folder == f"s3://ml-ops-test/{training.project}/{training.model}/told/"
    assert loads(Announcement, dumps(found), "announcement") == found


def test_a_channel_that_there_is_not_is_the_default_one_and_says_so(
    s3: S3Client, training: TrainingConf
) -> None:
    found = announced(s3, replace(training, notifications=Notifications(channel="frod")))
    assert (found.channel, found.slack) == ("default", "slack")
    assert "asks for the channel 'frod'" in found.body
    assert "asks for the channel 'frod'" in str(found.blocks)


def test_what_runs_for_an_event_asks_the_recipe(s3: S3Client, training: TrainingConf) -> None:
    conf = replace(NOTICE, project=training.project, model=training.model)
    assert announced(s3, conf, conf).channel == "default"
    recipe = Recipe(
        schema_version=1,
        project=training.project,
        model=training.model,
        model_version=training.model_version,
        image_version=training.image_version,
        image_uri=training.image_uri,
        training=training.training,
        evaluation=training.evaluation,
        retraining=training.retraining,
        notifications=Notifications(channel="fraud"),
        created_at="2026-01-02T03:04:05+00:00",
    )
    Storage(s3).write_record(recipe, recipe_uri("ml-ops-test", training.project, training.model))
    assert announced(s3, conf, conf).channel == "fraud"


def test_a_conf_that_could_not_be_read_is_told_by_default_and_not_noted(s3: S3Client) -> None:
    found = run(s3).announce(MESSAGE, {"settings": encode(SETTINGS)})
    assert found is not None
    assert (found.channel, found.folder) == ("default", "")
    assert run(s3).claim(found, "email")
    assert run(s3).claim(found, "email")


def test_without_settings_nobody_knows_where_it_goes(s3: S3Client) -> None:
    assert run(s3).announce(MESSAGE, {}) is None


def test_a_result_is_claimed_once_by_each_way(s3: S3Client, training: TrainingConf) -> None:
    found = announced(s3, training)
    for way in ("email", "slack"):
        assert run(s3).claim(found, way)
        run(s3).sent(found, way)
        assert not run(s3).claim(found, way)
    assert not run(s3).claim(replace(found, topic_arn=""), "email")


def test_a_failure_of_the_night_is_told_again_only_after_a_success(
    s3: S3Client, training: TrainingConf
) -> None:
    conf = replace(training, origin=Origin(pipeline_source="schedule"))
    failure = Failure(
        schema_version=1,
        project=conf.project,
        model=conf.model,
        model_version=conf.model_version,
        dag_id=TRAINING_DAG,
        run_id="-",
        task_id="train",
        cause="crash",
        log_url="",
        next_step="-",
    )

    def night(by: str) -> bool:
        found = announced(s3, conf, failure, by)
        told = run(s3, by).claim(found, "slack")
        if told:
            run(s3, by).sent(found, "slack")
        return told

    assert [night("1"), night("2"), night("3")] == [True, False, False]
    run(s3, "4").settle(about(conf))
    assert [night("5"), night("6")] == [True, False]


def test_a_notice_says_what_failed_and_what_to_do() -> None:
    message = noticed(NOTICE)
    assert message.subject == "phishing-url: Endpoint web-safety--phishing-url is RollingBack"
    for fact in ("no capacity", "https://console.example/endpoint", "Deploy the model again."):
        assert fact in message.body
        assert fact in str(message.blocks)
    assert "SageMaker Endpoint State Change" in message.body
