"""Every request of the Lambda to MWAA, and every answer it reads, against botocore's service model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.stub import Stubber

from handler import LambdaConfig, respond
from mlops.contracts.runs import (
    DAG_ID_LIMIT,
    DEPLOYMENT_DAG,
    REST_PATH_LIMIT,
    RUN_ID_LIMIT,
    TRAINING_DAG,
    make_run_id,
)

NAME = "ml-ops-test"
CONFIG = LambdaConfig(airflow_environment=NAME, allowed_dags=frozenset("*"), airflow_url="")
RUN = make_run_id("phishing-url 1.3.0", "work")
DAG = "report"
DAG_PATH = f"/dags/{DAG}"
RUNS_PATH = f"/dags/{DAG}/dagRuns"
RUN_PATH = f"/dags/{DAG}/dagRuns/{RUN}"
STARTED = {"dag_run_id": RUN, "state": "queued", "conf": {"week": 3}}


@dataclass
class Context:
    aws_request_id: str = "1"
    invoked_function_arn: str = "arn:aws:lambda:eu-west-1:123456789012:function:ml-ops-dag-trigger"

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


class Mwaa:
    """boto3's own client; what it would send and what it gets is checked against the model."""

    def __init__(self) -> None:
        self.client = boto3.client(
            "mwaa",
            region_name="eu-west-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}),
        )
        self.stub = Stubber(self.client)

    def expect(self, method: str, path: str, body: object, **request: Any) -> None:
        self.stub.add_response(
            "invoke_rest_api",
            {"RestApiStatusCode": 200, "RestApiResponse": body},
            {"Name": NAME, "Path": path, "Method": method, **request},
        )

    def expect_error(self, status: int) -> None:
        self.stub.add_client_error(
            "invoke_rest_api",
            "RestApiClientException" if status < 500 else "RestApiServerException",
            http_status_code=400,
            modeled_fields={"RestApiStatusCode": status, "RestApiResponse": {"detail": "no"}},
        )

    def ask(self, action: str, conf: dict[str, Any] | None = None) -> dict[str, Any]:
        event = {"schema_version": 1, "action": action, "dag_id": DAG, "run_id": RUN, "conf": conf or {}}
        return respond(event, Context(), self.client, CONFIG, lambda _: None)


@pytest.fixture
def mwaa() -> Iterator[Mwaa]:
    mwaa = Mwaa()
    with mwaa.stub:
        yield mwaa
        mwaa.stub.assert_no_pending_responses()


def _body(conf: dict[str, Any]) -> dict[str, Any]:
    return {"dag_run_id": RUN, "logical_date": None, "conf": conf}


def test_trigger(mwaa: Mwaa) -> None:
    mwaa.expect("GET", DAG_PATH, {"is_paused": False})
    mwaa.expect("POST", RUNS_PATH, STARTED, Body=_body({"week": 3}))
    assert mwaa.ask("trigger", {"week": 3})["created"] is True


def test_trigger_of_a_run_that_exists(mwaa: Mwaa) -> None:
    mwaa.expect("GET", DAG_PATH, {"is_paused": False})
    mwaa.expect_error(409)
    mwaa.expect("GET", RUN_PATH, STARTED)
    answer = mwaa.ask("trigger", {"week": 3})
    assert (answer["created"], answer["state"], answer["problem"]) == (False, "queued", None)


def test_trigger_after_a_server_error(mwaa: Mwaa) -> None:
    mwaa.expect("GET", DAG_PATH, {"is_paused": False})
    mwaa.expect_error(502)
    mwaa.expect_error(404)
    mwaa.expect("POST", RUNS_PATH, STARTED, Body=_body({"week": 3}))
    assert mwaa.ask("trigger", {"week": 3})["created"] is True


def test_status(mwaa: Mwaa) -> None:
    mwaa.expect("GET", RUN_PATH, {**STARTED, "state": "running"})
    mwaa.expect(
        "POST",
        "/dags/~/dagRuns/~/taskInstances/list",
        {"task_instances": [{"task_id": "train", "state": "running", "try_number": 1}], "total_entries": 1},
        Body={"dag_ids": [DAG], "dag_run_ids": [RUN], "page_limit": 100},
    )
    assert mwaa.ask("status")["tasks"][0]["task_id"] == "train"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ResourceNotFoundException", "environment_missing"),
        ("AccessDeniedException", "access_denied"),
        ("ValidationException", "rejected"),
    ],
)
def test_errors_that_the_model_names(mwaa: Mwaa, code: str, kind: str) -> None:
    shapes = {
        shape.name for shape in mwaa.client.meta.service_model.operation_model("InvokeRestApi").error_shapes
    }
    assert code in shapes
    mwaa.stub.add_client_error("invoke_rest_api", code)
    assert mwaa.ask("trigger")["problem"]["kind"] == kind


def test_the_limits_we_count_on_are_the_models() -> None:
    model = boto3.client("mwaa", region_name="eu-west-1").meta.service_model
    path = model.operation_model("InvokeRestApi").input_shape.members["Path"]
    assert path.metadata["max"] == REST_PATH_LIMIT
    assert len(f"/dags/{'d' * DAG_ID_LIMIT}/dagRuns") <= REST_PATH_LIMIT
    for dag in (TRAINING_DAG, DEPLOYMENT_DAG):
        assert len(f"/dags/{dag}/dagRuns/{'r' * RUN_ID_LIMIT}") <= REST_PATH_LIMIT
