"""Every request to SageMaker against botocore's service model: members, types, lengths and patterns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator

from mlops.clients.aws import sagemaker_requests as requests
from mlops.contracts.runs import DataCapture, Evaluation, Metric, SmokeTest, Training, TrainingConf
from mlops.contracts.runs import Deployment as Wanted
from mlops.deployment import approval

ROLE = "arn:aws:iam::123456789012:role/sagemaker-execution"
FINGERPRINT = "f" * 64
SERVICE = botocore.session.get_session().get_service_model("sagemaker")


def conf(
    project: str = "web-safety", model: str = "phishing-url", version: str = "1.3.0+retrain.0"
) -> TrainingConf:
    return TrainingConf(
        schema_version=1,
        project=project,
        model=model,
        model_version=version,
        image_version=version.partition("+")[0],
        image_uri=f"123456789012.dkr.ecr.eu-west-1.amazonaws.com/{project}/{model}@sha256:{'a' * 64}",
        evidence_uri=f"s3://ml-ops/{project}/{model}/{version.replace('+', '_')}/",
        training=Training(
            channels={"train": "s3://ml-ops/data/train/", "validation": "s3://ml-ops/data/validation/"},
            instance_type="ml.m5.large",
            instance_count=1,
            volume_gb=10,
            max_runtime_seconds=600,
            spot=False,
            max_wait_seconds=0,
            hyper_parameters={"depth": "3"},
        ),
        evaluation=Evaluation(
            data="s3://ml-ops/data/test/",
            instance_type="ml.m5.large",
            volume_gb=10,
            max_runtime_seconds=600,
            metrics=(Metric(name="f1", goal="maximize"),),
        ),
    )


LONGEST = conf("p" * 14, "m" * 15, "999.999.999-mr99999.9999+retrain.999")
CONFS = [conf(), LONGEST, replace(conf(), training=replace(conf().training, spot=True))]


def evaluation_job(one: TrainingConf, who: str = "challenger") -> dict[str, Any]:
    return requests.evaluation_job(
        one,
        who=who,
        image_uri=one.image_uri,
        artifact="s3://ml-ops/m/model.tar.gz",
        variables={**requests.environment(one, FINGERPRINT), "LONG": "x" * 1000},
        role=ROLE,
        run_id="r.1",
        attempt=1,
    )


def endpoint_config(one: TrainingConf) -> dict[str, Any]:
    name = requests.model(one, role=ROLE, fingerprint=FINGERPRINT, artifact="s3://b/m")["ModelName"]
    wanted = Wanted(
        endpoint_name="e",
        instance_type="ml.m5.large",
        instance_count=1,
        startup_timeout_seconds=120,
        smoke_test=SmokeTest(content_type="application/json", body="{}"),
        data_capture=DataCapture(sampling_percent=20, destination="s3://ml-ops/web/url/capture/"),
    )
    return requests.renamed(requests.endpoint_config(name, wanted, requests.tags(one)))


def model_package(one: TrainingConf) -> dict[str, Any]:
    wanted = Wanted(
        endpoint_name="e",
        instance_type="ml.m5.large",
        instance_count=1,
        startup_timeout_seconds=120,
        smoke_test=SmokeTest(content_type="application/json", body="{}"),
    )
    # A bucket's name has at most 63 characters.
    uri = one.evidence_uri.replace("s3://ml-ops/", f"s3://{'b' * 63}/")
    return requests.model_package(
        replace(one, deployment=wanted, evidence_uri=uri),
        artifact="s3://b/m.tar.gz",
        fingerprint=FINGERPRINT,
        approval="Rejected",
        metadata={
            approval.MODEL_VERSION: one.model_version,
            approval.EVIDENCE_URI: uri,
            approval.DEPLOYMENT_URI: f"{uri}deployment.json",
            approval.DEPLOYMENT_SHA256: "f" * 64,
            approval.COMMIT: "",
        },
    )


REQUESTS = {
    "CreateTrainingJob": lambda one: requests.training_job(
        one, role=ROLE, fingerprint=FINGERPRINT, run_id="r.1", attempt=1
    ),
    "CreateModel": lambda one: requests.model(
        one, role=ROLE, fingerprint=FINGERPRINT, artifact="s3://b/m.tar.gz"
    ),
    "CreateProcessingJob": evaluation_job,
    "CreateEndpointConfig": endpoint_config,
    "CreateModelPackage": model_package,
}


def problems(shape: Any, value: Any, where: str) -> Iterator[str]:
    """What botocore itself does not look at: patterns and upper limits."""
    if shape.type_name == "structure":
        for name, item in value.items():
            yield from problems(shape.members[name], item, f"{where}.{name}")
    elif shape.type_name == "list":
        for index, item in enumerate(value):
            yield from problems(shape.member, item, f"{where}[{index}]")
    elif shape.type_name == "map":
        for key, item in value.items():
            yield from problems(shape.key, key, f"{where} key")
            yield from problems(shape.value, item, f"{where}.{key}")
    if isinstance(value, (str, list, dict)) and len(value) > shape.metadata.get("max", len(value)):
        yield f"{where} is longer than {shape.metadata['max']}"
    if isinstance(value, str):
        # Python's re has no Unicode classes; letters, digits and blanks stand in for them
        pattern = re.sub(
            r"\\p\{[LMNPSZ]\}",
            lambda found: {"L": "a-zA-Z", "Z": " ", "N": "0-9", "P": r"!-/:-@", "S": "+<=>", "M": ""}[
                found[0][3]
            ],
            re.sub(r"\$\{1,\d+\}$", "$", shape.metadata.get("pattern", "")),
        )
        if pattern and not re.fullmatch(pattern, value):
            yield f"{where} is {value!r}, which does not match {pattern}"
        if shape.enum and value not in shape.enum:
            yield f"{where} is {value!r}, none of the service's"


@pytest.mark.parametrize("operation", sorted(REQUESTS))
@pytest.mark.parametrize("one", CONFS, ids=["plain", "longest", "spot"])
def test_a_request_fits_the_service_model(operation: str, one: TrainingConf) -> None:
    request = REQUESTS[operation](one)
    shape = SERVICE.operation_model(operation).input_shape
    assert shape is not None
    report = ParamValidator().validate(request, shape)
    assert not report.has_errors(), report.generate_report()
    assert list(problems(shape, request, operation)) == []


def test_the_check_itself_finds_what_is_wrong() -> None:
    request = REQUESTS["CreateModel"](conf()) | {"ModelName": "a--" + "b" * 63 + "_"}
    shape = SERVICE.operation_model("CreateModel").input_shape
    found = list(problems(shape, request, "CreateModel"))
    assert len(found) == 2


def test_jobs_of_two_tries_and_two_steps_never_share_a_name() -> None:
    names = {
        REQUESTS["CreateTrainingJob"](conf())["TrainingJobName"],
        requests.training_job(conf(), role=ROLE, fingerprint="f", run_id="r.1", attempt=2)["TrainingJobName"],
        requests.training_job(conf(), role=ROLE, fingerprint="f", run_id="r.2", attempt=1)["TrainingJobName"],
        evaluation_job(conf())["ProcessingJobName"],
        evaluation_job(conf(), "champion")["ProcessingJobName"],
    }
    assert len(names) == 5


def test_spot_waits_at_least_as_long_as_it_may_run() -> None:
    stopping = REQUESTS["CreateTrainingJob"](CONFS[2])["StoppingCondition"]
    assert stopping == {"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 600}
