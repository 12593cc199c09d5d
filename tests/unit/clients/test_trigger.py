"""The client of the Lambda, against boto3's own client with canned answers."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
from botocore.response import StreamingBody
from botocore.stub import ANY, Stubber

from mlops.base.errors import TriggerError
from mlops.base.strict_json import encode
from mlops.clients.aws.trigger import PATIENCE, Trigger
from mlops.contracts.runs import (
    CONF_LIMIT,
    Deployment,
    DeploymentConf,
    Override,
    RunAnswer,
    RunProblem,
    SmokeTest,
    canonical,
    conf_pointer,
)

FUNCTION = "ml-ops-dag-trigger"
DAG, RUN = "model_deployment", "phishing-url.1234567890.1"
SPILL = "s3://ml-ops-test/conf.json"


@dataclass
class FakeStorage:
    written: dict[str, bytes] = field(default_factory=dict)

    def write(self, content: bytes, uri: str, content_type: str = "") -> None:
        assert content_type == "application/json"
        self.written[uri] = content


def conf(body: str = "{}") -> DeploymentConf:
    return DeploymentConf(
        schema_version=1,
        project="web-safety",
        model="phishing-url",
        model_version="1.3.0+retrain.0",
        evidence_uri="s3://ml-ops-test/e/",
        deployment=Deployment(
            endpoint_name="web-safety--phishing-url",
            instance_type="ml.t2.medium",
            instance_count=1,
            startup_timeout_seconds=60,
            smoke_test=SmokeTest(content_type="application/json", body=body),
        ),
        override=Override(reason="hotfix", user="ann"),
    )


class Lambda:
    """boto3's client; requests and answers are checked against the service model."""

    def __init__(self) -> None:
        self.client: Any = boto3.client(
            "lambda", region_name="eu-west-1", aws_access_key_id="t", aws_secret_access_key="t"
        )
        self.stub = Stubber(self.client)
        self.stub.activate()
        self.storage = FakeStorage()
        self.slept: list[float] = []
        self.trigger = Trigger(self.client, FUNCTION, self.storage, self.slept.append)  # type: ignore[arg-type]

    def answers(self, document: object, request: object = None, **more: Any) -> None:
        payload = document if isinstance(document, bytes) else json.dumps(encode(document)).encode()
        expected = {
            "FunctionName": f"{FUNCTION}:{DAG}",
            "InvocationType": "RequestResponse",
            "Payload": ANY if request is None else json.dumps(request).encode(),
        }
        body = StreamingBody(io.BytesIO(payload), len(payload))
        self.stub.add_response("invoke", {"StatusCode": 200, "Payload": body, **more}, expected)


@pytest.fixture
def function() -> Lambda:
    return Lambda()


def run(problem: RunProblem | None = None, **changes: Any) -> RunAnswer:
    return RunAnswer(dag_id=DAG, run_id=RUN, problem=problem, **changes)


BUSY = RunProblem(kind="throttled", message="too fast", next_step="wait", retryable=True)


def test_a_run_request_reaches_the_lambda_as_the_contract_says(function: Lambda) -> None:
    request = {"schema_version": 1, "action": "trigger", "dag_id": DAG, "run_id": RUN, "conf": encode(conf())}
    function.answers(run(created=True, state="queued"), request)
    assert function.trigger.start(DAG, RUN, conf(), SPILL) == run(created=True, state="queued")
    request = {"schema_version": 1, "action": "status", "dag_id": DAG, "run_id": RUN, "conf": {}}
    function.answers(run(state="running"), request)
    assert function.trigger.status(DAG, RUN).state == "running"
    function.stub.assert_no_pending_responses()
    assert not function.storage.written


def test_a_conf_that_is_too_large_travels_as_a_pointer(function: Lambda) -> None:
    large = conf("x" * CONF_LIMIT)
    text = canonical(encode(large))
    pointer = conf_pointer(SPILL, hashlib.sha256(text).hexdigest())
    request = {"schema_version": 1, "action": "trigger", "dag_id": DAG, "run_id": RUN, "conf": pointer}
    function.answers(run(created=True, state="queued"), request)
    function.trigger.start(DAG, RUN, large, SPILL)
    assert function.storage.written == {SPILL: text}


def test_start_waits_for_trouble_to_pass_and_status_leaves_that_to_its_caller(function: Lambda) -> None:
    function.answers(run(BUSY))
    function.stub.add_client_error("invoke", "TooManyRequestsException", http_status_code=429)
    function.answers(run(created=True, state="queued"))
    assert function.trigger.start(DAG, RUN, conf(), SPILL).created
    assert len(function.slept) == 2
    function.answers(run(BUSY))
    assert function.trigger.status(DAG, RUN).problem == BUSY
    assert len(function.slept) == 2


def test_start_gives_up_after_a_while_with_the_problem(capsys: pytest.CaptureFixture[str]) -> None:
    clock = [0.0]
    asked: list[float] = []

    class Busy:
        """A Lambda that Airflow keeps waiting."""

        def invoke(self, **_: object) -> dict[str, Any]:
            clock[0] += 3.0
            asked.append(clock[0])
            return {"Payload": io.BytesIO(json.dumps(encode(run(BUSY))).encode())}

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    trigger = Trigger(Busy(), FUNCTION, FakeStorage(), sleep, lambda: clock[0])  # type: ignore[arg-type]
    assert trigger.start(DAG, RUN, conf(), SPILL).problem == BUSY
    assert 240 < clock[0] <= PATIENCE + 3
    pauses = [later - earlier - 3.0 for earlier, later in itertools.pairwise(asked)]
    assert all(0.5 <= pause <= 10 for pause in pauses)
    assert len(set(pauses)) == len(pauses)  # nobody comes back with the others
    assert capsys.readouterr().err.count("throttled: asking again in") == len(pauses)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("Sandbox.Timedout", "RequestId: 1 Error: Task timed out after 60.00 seconds"),
        ("Runtime.ExitError", "RequestId: 1 Error: Runtime exited with error: signal: killed"),
    ],
)
def test_a_lambda_that_was_cut_off_may_be_asked_again(function: Lambda, kind: str, message: str) -> None:
    function.answers({"errorType": kind, "errorMessage": message}, FunctionError="Unhandled")
    problem = function.trigger.status(DAG, RUN).problem
    assert problem is not None
    assert problem.retryable
    assert message in problem.message


@pytest.mark.parametrize(
    "payload", [b'{"errorType": "ImportError", "errorMessage": "no handler"}', b"[]", b"oops"]
)
def test_a_lambda_that_crashed_is_an_error_with_its_log_group(function: Lambda, payload: bytes) -> None:
    function.answers(payload, FunctionError="Unhandled")
    with pytest.raises(TriggerError, match=f"{FUNCTION} failed") as caught:
        function.trigger.status(DAG, RUN)
    assert f"/aws/lambda/{FUNCTION}" in caught.value.next_step


@pytest.mark.parametrize("payload", [b"null", b'{"ok": true}', b"<html>"])
def test_an_answer_of_another_release_is_an_error(function: Lambda, payload: bytes) -> None:
    function.answers(payload)
    with pytest.raises(TriggerError) as caught:
        function.trigger.status(DAG, RUN)
    assert "one release" in caught.value.next_step


@pytest.mark.parametrize(
    ("code", "step"),
    [
        ("ResourceNotFoundException", "Terraform"),
        ("AccessDeniedException", "lambda:InvokeFunction"),
        ("InvalidParameterValueException", "console"),
    ],
)
def test_a_lambda_that_cannot_be_invoked(function: Lambda, code: str, step: str) -> None:
    function.stub.add_client_error("invoke", code, "no", 400)
    with pytest.raises(TriggerError, match="cannot be invoked") as caught:
        function.trigger.start(DAG, RUN, conf(), SPILL)
    assert step in caught.value.next_step


def test_no_connection_to_the_lambda_may_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.config import Config

    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    client = boto3.client(
        "lambda",
        region_name="eu-west-1",
        aws_access_key_id="t",
        aws_secret_access_key="t",
        endpoint_url="http://127.0.0.1:9",
        config=Config(retries={"total_max_attempts": 1}),
    )
    problem = Trigger(client, FUNCTION, FakeStorage()).status(DAG, RUN).problem  # type: ignore[arg-type]
    assert problem is not None
    assert (problem.kind, problem.retryable) == ("airflow_unavailable", True)
