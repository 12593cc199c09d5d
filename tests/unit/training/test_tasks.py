"""What happens between the jobs of a training; S3 and Parameter Store are moto's, SageMaker's answers are stubbed."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.stub import Stubber
from moto import mock_aws

from mlops.base.errors import (
    ContractError,
    EvidenceError,
    MlopsError,
    RunFailedError,
    SettingsError,
    StorageError,
)
from mlops.base.strict_json import encode
from mlops.clients.aws.s3 import Storage
from mlops.clients.aws.sagemaker import ServedModel
from mlops.contracts.evidence import COMPARISON, FAILURE, LINEAGE, Comparison, Lineage
from mlops.contracts.platform_settings import PlatformSettings
from mlops.contracts.runs import TrainingConf
from mlops.evaluation.tasks import judge
from mlops.training.tasks import TrainingPlan, check_training, delete_stale_model, prepare, publish

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_ssm import SSMClient

NOW = "2026-01-02T03:04:05+00:00"
ARN = "arn:aws:sagemaker:eu-west-1:123456789012:"
SETTINGS = PlatformSettings(
    environment="test",
    region="eu-west-1",
    bucket="ml-ops-test",
    execution_role_arn="arn:aws:iam::123456789012:role/x",
    topic_arn="arn:aws:sns:eu-west-1:123456789012:t",
    trigger_function="f",
    airflow_environment="a",
    slack_secret="s",
)
GONE = "Could not find endpoint."
ARTIFACT = "s3://ml-ops-test/web-safety/phishing-url/1.3.0_retrain.0/model/j/output/model.tar.gz"
TRAINED = {
    "TrainingJobName": "j",
    "TrainingJobStatus": "Completed",
    "ModelArtifacts": {"S3ModelArtifacts": ARTIFACT},
}


@dataclass
class Cloud:
    s3: S3Client
    ssm: SSMClient
    sagemaker: SageMakerClient
    stub: Stubber

    def put(self, uri: str, content: bytes) -> None:
        self.s3.put_object(Bucket="ml-ops-test", Key=uri.removeprefix("s3://ml-ops-test/"), Body=content)

    def prepare(self, conf: dict[str, Any]) -> TrainingPlan:
        return prepare(conf, "run.1", ssm=self.ssm, storage=Storage(self.s3), sagemaker=self.sagemaker)

    def serves(self, model: str, *, exists: bool = True) -> None:
        """Stub the three calls that find the champion."""
        times = {"CreationTime": datetime(2026, 1, 2, tzinfo=UTC)}
        self.stub.add_response(
            "describe_endpoint",
            {
                "EndpointName": "e",
                "EndpointArn": ARN + "endpoint/e",
                "EndpointConfigName": "c",
                "EndpointStatus": "InService",
                "LastModifiedTime": times["CreationTime"],
                **times,
            },
        )
        self.stub.add_response(
            "describe_endpoint_config",
            {
                "EndpointConfigName": "c",
                "EndpointConfigArn": ARN + "endpoint-config/c",
                "ProductionVariants": [{"VariantName": "AllTraffic", "ModelName": model}],
                **times,
            },
        )
        if exists:
            container = {"Image": "i", "ModelDataUrl": "s3://ml-ops-test/old.tar.gz"}
            self.stub.add_response(
                "describe_model",
                {
                    "ModelName": model,
                    "ModelArn": ARN + "model/m",
                    "PrimaryContainer": container,
                    **times,
                },
            )
        else:
            self.stub.add_client_error("describe_model", "ValidationException", "Could not find model.")


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with mock_aws():
        session = boto3.Session(region_name="us-east-1")
        sagemaker: SageMakerClient = session.client("sagemaker")
        made = Cloud(session.client("s3"), session.client("ssm"), sagemaker, Stubber(sagemaker))
        made.s3.create_bucket(Bucket="ml-ops-test")
        made.put("s3://ml-ops-test/data/phishing-url/train/a.csv", b"1")
        made.put("s3://ml-ops-test/data/phishing-url/test/a.csv", b"1")
        text = json.dumps(encode(SETTINGS))
        made.ssm.put_parameter(Name="/ml-ops/settings", Type="String", Value=text)
        with made.stub:
            yield made
            made.stub.assert_no_pending_responses()


@pytest.fixture
def plan(training: TrainingConf) -> TrainingPlan:
    return TrainingPlan(conf=training, settings=SETTINGS, run_id="run.1", fingerprint="f" * 64, champion=None)


def report(**metrics: float) -> bytes:
    return json.dumps({"schema_version": 1, "metrics": metrics}).encode()


def test_a_first_training_has_no_champion_and_clears_what_is_left(
    cloud: Cloud, training: TrainingConf
) -> None:
    cloud.stub.add_client_error("describe_endpoint", "ValidationException", GONE)
    for name in (COMPARISON, FAILURE):
        cloud.put(training.evidence_uri + name, b"{}")
    plan = cloud.prepare(encode(training))
    assert (plan.champion, plan.conf, plan.run_id) == (None, training, "run.1")
    assert len(plan.fingerprint) == 64
    assert not Storage(cloud.s3).exists(training.evidence_uri + COMPARISON)
    assert not Storage(cloud.s3).exists(training.evidence_uri + FAILURE)


def test_the_champion_is_found(cloud: Cloud, training: TrainingConf) -> None:
    cloud.serves("web-safety--phishing-url--1-2-0--r0")
    plan = cloud.prepare(encode(training))
    assert plan.champion is not None
    assert (plan.champion.version, plan.champion.artifact) == (
        "1.2.0+retrain.0",
        "s3://ml-ops-test/old.tar.gz",
    )


def test_what_is_in_production_is_not_trained_over(cloud: Cloud, training: TrainingConf) -> None:
    cloud.serves("web-safety--phishing-url--1-3-0--r0")
    cloud.put(training.evidence_uri + COMPARISON, b"{}")
    with pytest.raises(EvidenceError, match="is in production"):
        cloud.prepare(encode(training))
    assert Storage(cloud.s3).exists(training.evidence_uri + COMPARISON)


def test_a_champion_whose_model_was_deleted_is_named(cloud: Cloud, training: TrainingConf) -> None:
    cloud.serves("web-safety--phishing-url--1-2-0--r0", exists=False)
    with pytest.raises(EvidenceError, match=r"champion 1\.2\.0\+retrain\.0 cannot be evaluated") as caught:
        cloud.prepare(encode(training))
    assert "--override" in caught.value.next_step


@pytest.mark.parametrize(
    ("change", "error", "what"),
    [
        ({"evidence_uri": "s3://ml-ops-test/other/"}, ContractError, "evidence_uri is not where"),
        (
            {"image_uri": "r/web-safety/phishing-url:latest"},
            ContractError,
            "image_uri is not an image of this model",
        ),
        (
            {"image_uri": "r/evil/model@sha256:" + "a" * 64},
            ContractError,
            "image_uri is not an image of this model",
        ),
        ({"image_version": "1.2.0"}, ContractError, "contradict each other"),
        ({"schema_version": 2}, ContractError, "schema version 2"),
        ({"project": "Web Safety"}, MlopsError, "not valid"),
        (
            {
                "deployment": {
                    "endpoint_name": "web-safety--phishing-url",
                    "instance_type": "ml.m5.large",
                    "instance_count": 1,
                    "startup_timeout_seconds": 60,
                    "smoke_test": {"content_type": "application/json", "body": "{}"},
                    "data_capture": {"sampling_percent": 100, "destination": "s3://somebody-else/capture/"},
                }
            },
            ContractError,
            "is not where this platform keeps what endpoints are asked",
        ),
    ],
)
def test_a_conf_that_asks_for_what_is_not_allowed_is_refused(
    cloud: Cloud, training: TrainingConf, change: dict[str, Any], error: type[MlopsError], what: str
) -> None:
    with pytest.raises(error, match=what):
        cloud.prepare(encode(training) | change)


def test_no_test_data_is_found_before_a_machine_is_rented(cloud: Cloud, training: TrainingConf) -> None:
    cloud.stub.add_client_error("describe_endpoint", "ValidationException", GONE)
    conf = encode(training)
    conf["evaluation"]["data"] = "s3://ml-ops-test/none/"
    with pytest.raises(StorageError, match="There is no test data"):
        cloud.prepare(conf)


def test_a_merge_request_trains_no_release(cloud: Cloud, training: TrainingConf) -> None:
    unmerged = replace(training, origin=replace(training.origin, pipeline_source="merge_request_event"))
    with pytest.raises(ContractError, match="does not train a release") as caught:
        cloud.prepare(encode(unmerged))
    assert "1.3.0" in caught.value.cause
    assert "Merge it" in caught.value.next_step
    version, folder = "1.3.0-mr4.2", "/1.3.0-mr4.2_retrain.0/"
    candidate = replace(
        unmerged,
        model_version=f"{version}+retrain.0",
        image_version=version,
        evidence_uri=training.evidence_uri.replace("/1.3.0_retrain.0/", folder),
    )
    cloud.stub.add_client_error("describe_endpoint", "ValidationException", GONE)
    assert cloud.prepare(encode(candidate)).conf == candidate


@pytest.mark.parametrize("place", ["training", "evaluation"])
def test_data_of_another_bucket_are_refused_with_advice_that_can_be_followed(
    cloud: Cloud, training: TrainingConf, place: str
) -> None:
    cloud.stub.add_client_error("describe_endpoint", "ValidationException", GONE)
    conf = encode(training)
    conf[place] |= (
        {"channels": {"train": "s3://shared-data/train/"}}
        if place == "training"
        else {"data": "s3://shared-data/"}
    )
    with pytest.raises(StorageError, match="s3://shared-data/") as caught:
        cloud.prepare(conf)
    assert "Copy the data below s3://ml-ops-test/data/" in caught.value.next_step
    assert "Grant" not in caught.value.next_step


def test_no_settings_is_said_with_what_to_do(cloud: Cloud, training: TrainingConf) -> None:
    cloud.ssm.delete_parameter(Name="/ml-ops/settings")
    with pytest.raises(SettingsError) as caught:
        cloud.prepare(encode(training))
    assert "Terraform" in caught.value.next_step


def test_a_pointer_is_followed_within_the_bucket_and_checked(cloud: Cloud, training: TrainingConf) -> None:
    text = json.dumps(encode(training)).encode()
    cloud.put("s3://ml-ops-test/conf.json", text)
    pointer = {"conf_uri": "s3://ml-ops-test/conf.json", "conf_sha256": hashlib.sha256(text).hexdigest()}
    cloud.stub.add_client_error("describe_endpoint", "ValidationException", GONE)
    assert cloud.prepare(pointer).conf == training
    with pytest.raises(ContractError, match="is not the conf that was sent"):
        cloud.prepare(pointer | {"conf_sha256": "0" * 64})
    with pytest.raises(ContractError, match="leads out of the platform's bucket"):
        cloud.prepare(pointer | {"conf_uri": "s3://elsewhere/conf.json"})
    cloud.put("s3://ml-ops-test/list.json", b"[]")
    listed = {
        "conf_uri": "s3://ml-ops-test/list.json",
        "conf_sha256": hashlib.sha256(b"[]").hexdigest(),
    }
    with pytest.raises(ContractError, match="must be an object"):
        cloud.prepare(listed)


def archive(*names: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
        folder = tarfile.TarInfo(".")
        folder.type = tarfile.DIRTYPE
        packed.addfile(folder)
        for name in names:
            packed.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [None, b"", archive(), b"no archive", archive()[:20]],
    ids=["missing", "nothing", "empty", "broken", "cut off"],
)
def test_a_training_without_a_model_has_failed(cloud: Cloud, content: bytes | None) -> None:
    if content is not None:
        cloud.put(ARTIFACT, content)
    with pytest.raises(RunFailedError, match="wrote no model") as caught:
        check_training(TRAINED, Storage(cloud.s3))
    assert caught.value.next_step


def test_a_training_with_a_model_is_well(cloud: Cloud) -> None:
    cloud.put(ARTIFACT, archive("model.json"))
    check_training(TRAINED, Storage(cloud.s3))


def test_a_large_artifact_is_not_downloaded(cloud: Cloud) -> None:
    cloud.put(ARTIFACT, b"x" * 5000)
    check_training(TRAINED, Storage(cloud.s3))


def test_a_stopped_job_is_no_success(cloud: Cloud) -> None:
    stopped = TRAINED | {"TrainingJobStatus": "Stopped", "SecondaryStatus": "MaxRuntimeExceeded"}
    with pytest.raises(RunFailedError, match="ended as Stopped") as caught:
        check_training(stopped, Storage(cloud.s3))
    assert caught.value.cause == "MaxRuntimeExceeded"


def test_room_is_made_only_where_a_model_is_in_the_way(cloud: Cloud, plan: TrainingPlan) -> None:
    name = "web-safety--phishing-url--1-3-0--r0"
    cloud.stub.add_client_error("describe_model", "ValidationException", "Could not find model.")
    delete_stale_model(plan, cloud.sagemaker)
    when = datetime(2026, 1, 2, tzinfo=UTC)
    found = {"ModelName": name, "ModelArn": ARN + "model/m", "CreationTime": when}
    cloud.stub.add_response("describe_model", found, {"ModelName": name})
    cloud.stub.add_response("delete_model", {}, {"ModelName": name})
    delete_stale_model(plan, cloud.sagemaker)


def conclude(
    plan: TrainingPlan, description: dict[str, Any], storage: Storage, now: str
) -> tuple[Comparison, Lineage]:
    """As the task `compare` does."""
    champion = plan.champion.version if plan.champion else None
    comparison = judge(plan.conf, champion, storage, now)
    return comparison, publish(plan, comparison, description, storage)


def test_evidence_is_published_and_an_old_failure_is_gone(cloud: Cloud, plan: TrainingPlan) -> None:
    evidence, storage = plan.conf.evidence_uri, Storage(cloud.s3)
    cloud.put(evidence + "challenger/evaluation.json", report(f1=0.9, log_loss=0.2))
    cloud.put(evidence + FAILURE, b"{}")
    comparison, lineage = conclude(plan, TRAINED, storage, NOW)
    assert storage.read_record(Comparison, evidence + COMPARISON) == comparison
    assert (comparison.gate, lineage.model_artifact, lineage.dag_run_id) == ("passed", ARTIFACT, "run.1")
    assert storage.exists(evidence + LINEAGE)
    assert not storage.exists(evidence + FAILURE)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "The challenger's evaluation cannot be read"),
        (b"{", "The challenger's evaluation is broken"),
        (b'{"schema_version": 1, "metrics": {"f1": NaN}}', "The challenger's evaluation is broken"),
        (b'{"schema_version": 1, "metrics": {"f1": "high"}}', "The challenger's evaluation is broken"),
        (b'{"schema_version": 1, "metrics": {}}', "has no metrics"),
        (report(f1=0.9), "has no metric 'log_loss'"),
    ],
)
def test_a_broken_evaluation_publishes_nothing(
    cloud: Cloud, plan: TrainingPlan, content: bytes | None, what: str
) -> None:
    evidence, storage = plan.conf.evidence_uri, Storage(cloud.s3)
    if content is not None:
        cloud.put(evidence + "challenger/evaluation.json", content)
    with pytest.raises(EvidenceError, match=what) as caught:
        conclude(plan, TRAINED, storage, NOW)
    assert caught.value.next_step
    assert not storage.exists(evidence + COMPARISON)
    assert not storage.exists(evidence + LINEAGE)


def test_a_broken_champion_is_named_as_such(cloud: Cloud, plan: TrainingPlan) -> None:
    champion = ServedModel(
        name="m", version="1.2.0+retrain.0", image_uri="i", artifact="a", endpoint_config="c"
    )
    cloud.put(plan.conf.evidence_uri + "challenger/evaluation.json", report(f1=0.9, log_loss=0.2))
    with pytest.raises(EvidenceError, match="The champion's evaluation cannot be read"):
        conclude(replace(plan, champion=champion), TRAINED, Storage(cloud.s3), NOW)


METRICS = b'"schema_version": 1, "metrics": {"f1": 0.9, "log_loss": 0.2}'
# What cannot be right, with where it is.
WRONG = [
    (
        b'{"schema_version": 1, "metrics": {"f1": 0.05, "f1": 0.99, "log_loss": 0.2}}',
        ".metrics",
        "'f1' twice",
    ),
    (b"{" + METRICS + b', "counts": {"caf\\udce9": 1}}', ".counts", r"caf\udce9"),
    (b"{" + METRICS + b', "slices": {"a": {"\\ud83d": 1}}}', ".slices.a", r"\ud83d"),
    (
        b"{"
        + METRICS
        + b', "confusion_matrix": {"labels": ["a", "caf\\udce9"], "matrix": [[1, 2], [3, 4]]}}',
        ".confusion_matrix.labels[1]",
        r"caf\udce9",
    ),
    (
        b"{" + METRICS + b', "confusion_matrix": {"labels": ["a", "b"], "matrix": [[1, 2], [-5, 4]]}}',
        ".confusion_matrix.matrix[1][0]",
        "-5",
    ),
    (
        b"{" + METRICS + b', "confusion_matrix": {"labels": ["a", "b", "a"], "matrix": '
        b"[[1, 2, 3], [3, 4, 5], [6, 7, 8]]}}",
        ".confusion_matrix.labels[2]",
        "labels[0]",
    ),
]


def test_a_new_evaluation_that_cannot_be_right_is_refused_with_the_path_of_the_key(
    cloud: Cloud, plan: TrainingPlan
) -> None:
    uri, storage = plan.conf.evidence_uri + "challenger/evaluation.json", Storage(cloud.s3)
    for content, where, found in WRONG:
        cloud.put(uri, content)
        with pytest.raises(EvidenceError, match="The challenger's evaluation is broken") as caught:
            conclude(plan, TRAINED, storage, NOW)
        assert uri + where in caught.value.cause
        assert found in caught.value.cause
        assert "`evaluate`" in caught.value.next_step
        assert not storage.exists(plan.conf.evidence_uri + COMPARISON)


def test_what_the_champion_in_production_always_wrote_stops_no_training(
    cloud: Cloud, plan: TrainingPlan
) -> None:
    champion = ServedModel(
        name="m", version="1.2.0+retrain.0", image_uri="i", artifact="a", endpoint_config="c"
    )
    cloud.put(plan.conf.evidence_uri + "challenger/evaluation.json", report(f1=0.99, log_loss=0.2))
    for content, _, _ in WRONG:
        cloud.put(plan.conf.evidence_uri + "champion/evaluation.json", content)
        comparison, _ = conclude(replace(plan, champion=champion), TRAINED, Storage(cloud.s3), NOW)
        assert comparison.gate == "passed"


def test_a_name_that_only_looks_odd_is_accepted(cloud: Cloud, plan: TrainingPlan) -> None:
    odd = "\x00 \u202e \u2066 https://evil.example :bomb: \ud83d\ude00"
    content = json.dumps(json.loads(report(f1=0.9, log_loss=0.2)) | {"counts": {odd: -1}})
    cloud.put(plan.conf.evidence_uri + "challenger/evaluation.json", content.encode())
    comparison, _ = conclude(plan, TRAINED, Storage(cloud.s3), NOW)
    assert comparison.gate == "passed"


def test_an_evaluation_without_a_version_is_of_the_first_format(cloud: Cloud, plan: TrainingPlan) -> None:
    uri = plan.conf.evidence_uri + "challenger/evaluation.json"
    cloud.put(uri, b'{"metrics": {"f1": 0.9, "log_loss": 0.2}}')
    comparison, _ = conclude(plan, TRAINED, Storage(cloud.s3), NOW)
    assert comparison.gate == "passed"
