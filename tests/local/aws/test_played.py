"""What SageMaker is asked for and nobody here does is refused by name, and no list of it can be left behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from mlops_local.aws import shapes
from mlops_local.aws.sagemaker import played
from mlops_local.base.wire import ServiceError
from tests.local.aws.harness import REGION, LocalAws

MODEL = shapes.service_model("sagemaker")


def leaves(shape: Any, path: str, above: tuple[str, ...] = ()) -> Iterator[str]:
    """Every name that a request may have, as `played` writes it."""
    if shape.type_name == "structure" and shape.name not in above:
        for name, member in shape.members.items():
            yield from leaves(member, f"{path}.{name}" if path else name, (*above, shape.name))
    elif shape.type_name == "list":
        yield from leaves(shape.member, path, above)
    else:
        yield path


@pytest.mark.parametrize("operation", sorted(played.PLAYED))
def test_the_lists_name_fields_that_requests_have(operation: str) -> None:
    known = set(leaves(MODEL.operation_model(operation).input_shape, ""))
    every = known | {".".join(path.split(".")[:length]) for path in known for length in range(1, 9)}
    named = played.PLAYED[operation] | played.KEPT.get(operation, frozenset())
    assert named | set(played.VALUES.get(operation, {})) <= every
    assert not played.PLAYED[operation] & played.KEPT.get(operation, frozenset())


@pytest.mark.parametrize("operation", sorted(played.PLAYED))
def test_every_other_field_is_refused(operation: str) -> None:
    shape = MODEL.operation_model(operation).input_shape
    for path in leaves(shape, ""):
        named = played.PLAYED[operation] | played.KEPT.get(operation, frozenset())
        names = path.split(".")
        ours = any(".".join(names[:length]) in named for length in range(1, len(names) + 1))
        document: Any = "x"
        for name in reversed(names):
            document = {name: document}
        if ours and path not in played.VALUES.get(operation, {}):
            played.check(operation, document)
        else:
            with pytest.raises(ServiceError, match=f"{operation} is not played locally with {path}"):
                played.check(operation, document)


def test_a_value_that_is_not_played_is_refused_with_those_that_are() -> None:
    wanted = {"ResourceConfig": {"InstanceCount": 2}, "EnableNetworkIsolation": True, "RetryStrategy": {}}
    with pytest.raises(ServiceError, match=r"ResourceConfig.InstanceCount 2 \(only 1\)\."):
        played.check("CreateTrainingJob", wanted)
    played.check("CreateTrainingJob", {"ResourceConfig": {"InstanceCount": 1}})


def test_every_operation_is_played_or_refused_by_its_name(aws: LocalAws) -> None:
    """In one answer, which no SDK repeats; moto's own SageMaker answers none."""
    session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=REGION)
    # The requests need not be valid: what is not played is refused before anything is looked at.
    options = {"endpoint_url": aws.endpoint, "config": Config(proxies={}, parameter_validation=False)}
    sagemaker: Any = session.client("sagemaker", **options)  # type: ignore[call-overload]
    runtime: Any = session.client("sagemaker-runtime", **options)  # type: ignore[call-overload]
    for operation in MODEL.operation_names:
        if operation in played.PLAYED:
            continue
        with pytest.raises(ClientError) as caught:
            sagemaker._make_api_call(operation, {})
        error = caught.value.response
        assert error["Error"]["Code"] == "UnknownOperationException", (operation, error)
        assert f"sagemaker:{operation} is not played locally" in error["Error"]["Message"]
        assert error["ResponseMetadata"]["HTTPStatusCode"] == 400
        assert error["ResponseMetadata"]["RetryAttempts"] == 0
    for operation in ("invoke_endpoint_async", "invoke_endpoint_with_response_stream"):
        body = {"InputLocation": "s3://a/b"} if operation.endswith("async") else {"Body": b""}
        with pytest.raises(ClientError, match="is not played locally"):
            getattr(runtime, operation)(EndpointName="x", **body)


@pytest.mark.parametrize(
    ("service", "call", "parameters", "said"),
    [
        ("glue", "start_job_run", {"JobName": "x"}, "glue:StartJobRun"),
        ("batch", "submit_job", {"jobName": "x", "jobQueue": "q", "jobDefinition": "d"}, r"batch:\*"),
        ("ec2", "run_instances", {"MinCount": 1, "MaxCount": 1}, "ec2:RunInstances"),
        ("ssm", "send_command", {"DocumentName": "x"}, "ssm:SendCommand"),
    ],
)
def test_work_that_no_part_of_the_stack_does_is_refused(
    aws: LocalAws, service: str, call: str, parameters: dict[str, Any], said: str
) -> None:
    session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=REGION)
    client: Any = session.client(service, endpoint_url=aws.endpoint, config=Config(proxies={}))  # type: ignore[call-overload]
    with pytest.raises(ClientError, match=f"{said} is not played locally") as caught:
        getattr(client, call)(**parameters)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
