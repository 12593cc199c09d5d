"""Many callers at once: the real code of the Lambda, a real Airflow, and MWAA's own limits."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import boto3
import pytest
from botocore.config import Config

from airflow_api import AirflowApi, RunCache
from handler import LambdaConfig, respond
from mlops.clients.aws.trigger import Trigger
from mlops.contracts.runs import RunAnswer, RunProblem, make_run_id
from mlops.platform import lambda_package

from .stack import ACCOUNT, REGION, Stack

DAG = "nothing"
# Not the name of the one that other tests of this Airflow make.
FUNCTION = "busy-dag-trigger"
# Half of what MWAA takes, so that a busy machine meets the limit as well.
CALLS_PER_SECOND = 5
RESERVED = 2
# So many that the last waits for longer than the longest pause between two calls.
MANY = 60
CONFIG = LambdaConfig(airflow_environment="ml-ops-local", allowed_dags=frozenset({DAG}), airflow_url="")


def post(stack: Stack, page: str, document: object) -> None:
    urlopen(Request(stack.aws + page, json.dumps(document).encode(), method="POST"), timeout=10).close()


@contextmanager
def limited(stack: Stack) -> Iterator[None]:
    """MWAA takes so many calls a second, for everybody together."""
    post(stack, "/_mlops/mwaa/limit", {"calls_per_second": CALLS_PER_SECOND})
    try:
        yield
    finally:
        post(stack, "/_mlops/mwaa/limit", {"calls_per_second": None})


def client(stack: Stack, service: str, **more: Any) -> Any:
    session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=REGION)
    config = Config(inject_host_prefix=False, proxies={}, max_pool_connections=200, read_timeout=90, **more)
    return session.client(service, endpoint_url=stack.aws, config=config)  # type: ignore[call-overload]


def at_once(count: int, call: Callable[[int], Any]) -> list[Any]:
    """The answers of so many callers that all begin in one moment."""
    barrier = threading.Barrier(count)

    def one(number: int) -> Any:
        barrier.wait(120)
        return call(number)

    with ThreadPoolExecutor(count) as callers:
        return list(callers.map(one, range(count)))


def runs(stack: Stack, prefix: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        query = f"?run_id_pattern={prefix}&limit=100&offset={len(found)}"
        page = stack.call("GET", f"/dags/{DAG}/dagRuns{query}")[1]["dag_runs"]
        found += page
        if len(page) < 100:
            return found


@dataclass
class Context:
    """What Lambda tells one invocation; its time begins when the function does."""

    aws_request_id: str
    invoked_function_arn: str = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{FUNCTION}"
    began: float = field(default_factory=time.monotonic)

    def get_remaining_time_in_millis(self) -> int:
        return int((60 - (time.monotonic() - self.began)) * 1000)


def test_two_hundred_triggers_of_one_run_start_one_run(stack: Stack) -> None:
    slots = threading.Semaphore(RESERVED)  # the others wait, as for a busy Lambda
    mwaa, memory = client(stack, "mwaa", retries={"total_max_attempts": 1}), RunCache()
    request = {"schema_version": 1, "action": "trigger", "dag_id": DAG, "run_id": "same.1", "conf": {"n": 1}}

    deadline = time.monotonic() + 300

    def call(number: int) -> Any:
        while True:
            with slots:
                answer = respond(request, Context(str(number)), mwaa, CONFIG, memory=memory)
            problem = answer["problem"]
            if problem is None or not problem["retryable"] or time.monotonic() > deadline:
                return answer

    with redirect_stdout(io.StringIO()):
        answers = at_once(200, call)
    assert [one for one in answers if one["problem"]] == []
    assert {one["run_id"] for one in answers} == {"same.1"}
    # whose request was carried out without an answer counts as well
    assert 1 <= sum(one["created"] for one in answers) <= RESERVED
    assert len(runs(stack, "same")) == 1
    assert stack.wait(DAG, "same.1").state == "success"
    other = respond(request | {"conf": {"n": 2}}, Context("other"), mwaa, CONFIG)
    assert other["problem"]["kind"] == "conflict"


@pytest.fixture(scope="module")
def function(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The Lambda as Terraform makes it: the real zip, an alias a DAG, and few at once: SQLite locks many out."""
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role = client(stack, "iam").create_role(RoleName=FUNCTION, AssumeRolePolicyDocument=policy)["Role"]["Arn"]
    package: Path = lambda_package.build(tmp_path_factory.mktemp("lambda") / "dag-trigger.zip")
    functions = client(stack, "lambda")
    functions.create_function(
        FunctionName=FUNCTION,
        Runtime="python3.13",
        Role=role,
        Handler="handler.handler",
        Code={"ZipFile": package.read_bytes()},
        Timeout=60,
        Environment={"Variables": {"AIRFLOW_ENVIRONMENT": "ml-ops-local", "ALLOWED_DAGS": DAG}},
    )
    functions.put_function_concurrency(FunctionName=FUNCTION, ReservedConcurrentExecutions=RESERVED)
    functions.create_alias(FunctionName=FUNCTION, Name=DAG, FunctionVersion="$LATEST")
    return FUNCTION


def test_many_runs_all_arrive_whatever_mwaa_refuses(stack: Stack, function: str) -> None:
    # as clients.aws makes it for CI jobs
    functions = client(stack, "lambda", retries={"mode": "standard", "total_max_attempts": 4})
    trigger = Trigger(functions, function, storage=None)  # type: ignore[arg-type]
    wanted = [make_run_id(f"many-{number}", str(number)) for number in range(MANY)]

    def call(number: int) -> RunAnswer:
        return trigger.start(DAG, wanted[number], Conf(number), "")  # type: ignore[arg-type]

    began = time.monotonic()
    with limited(stack):
        answers: list[RunAnswer] = at_once(MANY, call)
    seconds = time.monotonic() - began
    problems: list[RunProblem] = [one.problem for one in answers if one.problem]
    assert problems == []
    assert all(one.created for one in answers)
    assert sorted(one["dag_run_id"] for one in runs(stack, "many-")) == sorted(wanted)
    assert seconds > MANY / CALLS_PER_SECOND - 1, "the limit was not there"

    lines = logged(stack)
    waits = [line for line in lines if "wait_seconds" in line]
    done = [line for line in lines if "outcome" in line]
    assert {line["run_id"] for line in done if line["created"]} == set(wanted)
    assert waits, "nobody was refused"
    assert {line["kind"] for line in waits} <= {"throttled", "airflow_unavailable"}
    assert all(line["attempt"] >= 1 and 0 < line["wait_seconds"] <= 4 for line in waits)
    assert all(f"waiting {line['wait_seconds']} s" in line["message"] for line in waits)
    assert max(line["waited_seconds"] for line in done) > 0


@dataclass(frozen=True)
class Conf:
    """A conf of a DAG that is not ours."""

    number: int


def logged(stack: Stack) -> list[dict[str, Any]]:
    """The function's own lines; Lambda's begin otherwise."""
    pages = client(stack, "logs").get_paginator("filter_log_events")
    messages = [
        event["message"]
        for page in pages.paginate(logGroupName=f"/aws/lambda/{FUNCTION}")
        for event in page["events"]
    ]
    return [json.loads(message) for message in messages if message.startswith("{")]


def test_a_run_of_later_waits_for_its_time(stack: Stack) -> None:
    """New data is one run at the end of its window: what `run_after` does in Airflow."""
    mwaa = client(stack, "mwaa", retries={"total_max_attempts": 1})
    due = time.time() + 6
    api = AirflowApi(mwaa, "ml-ops-local", lambda: 60.0)
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(due))
    run, created = api.ensure(DAG, "later.1", {}, moment)
    assert (run.state, created) == ("queued", True)
    again, created = api.ensure(DAG, "later.1", {"other": True}, moment)
    assert (again.run_id, created) == ("later.1", False)
    ended = stack.wait(DAG, "later.1")
    assert ended.state == "success"
    assert time.time() >= int(due)
