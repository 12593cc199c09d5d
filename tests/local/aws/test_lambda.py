"""Functions run from their real zip, and fail as Lambda's own runtime says."""

from __future__ import annotations

import base64
import io
import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from .harness import LocalAws, wait_for

HANDLER = """
import json, os, sys, time
import helper

calls = 0

def handler(event, context):
    global calls
    calls += 1
    do = event.get("do")
    print("doing", do)
    if do == "raise":
        raise ValueError("no such thing")
    if do == "sleep":
        time.sleep(30)
    if do == "exit":
        os._exit(3)
    if do == "object":
        return object()
    if do == "environment":
        return dict(os.environ)
    if do == "read":
        return sys.stdin.read()
    if do == "aws":
        import boto3
        return boto3.client("s3").list_buckets()["ResponseMetadata"]["HTTPStatusCode"]
    return {
        "calls": calls, "pid": os.getpid(), "helper": helper.NAME, "id": context.aws_request_id,
        "left": context.get_remaining_time_in_millis(), "arn": context.invoked_function_arn, "echo": event,
    }
"""


def archive(**files: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        for name, text in files.items():
            target.writestr(f"{name}.py", text)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def client(aws: LocalAws) -> Any:
    return aws.client("lambda")


@pytest.fixture(scope="module")
def create(aws: LocalAws, client: Any) -> Callable[..., str]:
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role = aws.client("iam").create_role(RoleName="dag-trigger", AssumeRolePolicyDocument=policy)
    arn = role["Role"]["Arn"]

    def make(name: str, code: bytes, **more: Any) -> str:
        client.create_function(
            FunctionName=name,
            Runtime="python3.12",
            Role=arn,
            Handler="handler.handler",
            Code={"ZipFile": code},
            **{"Timeout": 5, "Environment": {"Variables": {"ALLOWED_DAGS": "a,b"}}, **more},
        )
        return name

    return make


@pytest.fixture(scope="module")
def function(create: Callable[..., str]) -> str:
    return create("trigger", archive(handler=HANDLER, helper="NAME = 'zip'"))


def invoke(client: Any, name: str, event: object, **more: Any) -> tuple[Any, str | None, str]:
    answer = client.invoke(FunctionName=name, Payload=json.dumps(event).encode(), LogType="Tail", **more)
    log = base64.b64decode(answer.get("LogResult", "")).decode()
    return json.loads(answer["Payload"].read() or b"null"), answer.get("FunctionError"), log


def test_a_function_is_told_by_which_alias_it_was_called(client: Any, function: str) -> None:
    # https://docs.aws.amazon.com/lambda/latest/dg/configuration-aliases.html
    client.create_alias(FunctionName=function, Name="training", FunctionVersion="$LATEST")
    by_name, _, _ = invoke(client, f"{function}:training", {})
    assert by_name["arn"].endswith(":function:trigger:training")
    client.delete_alias(FunctionName=function, Name="training")


def test_the_zip_runs_and_stays_warm(client: Any, function: str) -> None:
    first, error, log = invoke(client, function, {"n": 1})
    assert error is None
    assert first["helper"] == "zip"
    assert first["echo"] == {"n": 1}
    assert first["arn"].endswith(":function:trigger")
    assert 0 < first["left"] <= 5000
    assert f"START RequestId: {first['id']}" in log
    assert "doing None" in log
    second, _, log = invoke(client, function, {"n": 2})
    assert (second["pid"], second["calls"]) == (first["pid"], first["calls"] + 1)
    assert first["id"] not in log


def test_its_environment_is_its_own_and_leads_back_here(aws: LocalAws, client: Any, function: str) -> None:
    environment, _, _ = invoke(client, function, {"do": "environment"})
    assert environment["ALLOWED_DAGS"] == "a,b"
    assert environment["AWS_ENDPOINT_URL"] == aws.endpoint
    assert environment["AWS_ENDPOINT_URL_MWAA"] == "http://airflow.local"
    assert environment["HTTP_PROXY"] == aws.endpoint
    assert environment["AWS_LAMBDA_FUNCTION_NAME"] == "trigger"
    assert "CANARY" not in environment
    assert invoke(client, function, {"do": "aws"})[0] == 200


def test_an_exception_is_an_unhandled_error_without_our_frames(client: Any, function: str) -> None:
    payload, error, log = invoke(client, function, {"do": "raise"})
    assert error == "Unhandled"
    assert (payload["errorType"], payload["errorMessage"]) == ("ValueError", "no such thing")
    assert "handler.py" in payload["stackTrace"][0]
    assert not any("functions/bootstrap" in frame for frame in payload["stackTrace"])
    assert "Traceback" in log


def test_a_function_that_hangs_is_stopped_at_its_timeout(client: Any, create: Callable[..., str]) -> None:
    name = create("slow", archive(handler=HANDLER, helper="NAME = ''"), Timeout=1)
    pid = invoke(client, name, {})[0]["pid"]
    started = time.monotonic()
    payload, error, _ = invoke(client, name, {"do": "sleep"})
    assert time.monotonic() - started < 4
    assert (error, payload["errorType"]) == ("Unhandled", "Sandbox.Timedout")
    assert payload["errorMessage"].endswith("Task timed out after 1.00 seconds")
    assert not psutil.pid_exists(pid)
    assert invoke(client, name, {})[0]["calls"] == 1


@pytest.mark.parametrize(
    ("event", "kind", "message"),
    [
        ({"do": "exit"}, "Runtime.ExitError", "exit status 3"),
        ({"do": "object"}, "Runtime.MarshalError", "Unable to marshal response"),
    ],
)
def test_what_is_no_answer_is_an_error(
    client: Any, function: str, event: dict[str, str], kind: str, message: str
) -> None:
    payload, error, _ = invoke(client, function, event)
    assert (error, payload["errorType"]) == ("Unhandled", kind)
    assert message in payload["errorMessage"]
    assert invoke(client, function, {})[1] is None


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ({"other": ""}, "Runtime.ImportModuleError"),
        ({"handler": "import nothing_like_it"}, "Runtime.ImportModuleError"),
        ({"handler": "x = 1"}, "Runtime.HandlerNotFound"),
        ({"handler": "def"}, "Runtime.UserCodeSyntaxError"),
        ({"handler": "1/0"}, "ZeroDivisionError"),
    ],
)
def test_code_that_does_not_load_says_so_every_time(
    client: Any, create: Callable[..., str], code: dict[str, str], kind: str
) -> None:
    name = create(f"broken-{kind.replace('.', '-')}-{len(str(code))}", archive(**code))
    for _ in range(2):
        payload, error, _ = invoke(client, name, {})
        assert (error, payload["errorType"]) == ("Unhandled", kind)


def test_new_code_and_new_settings_reach_the_next_event(client: Any, create: Callable[..., str]) -> None:
    name = create("changing", archive(handler=HANDLER, helper="NAME = 'old'"))
    old = invoke(client, name, {})[0]
    client.update_function_code(FunctionName=name, ZipFile=archive(handler=HANDLER, helper="NAME = 'new'"))
    new = invoke(client, name, {})[0]
    assert (old["helper"], new["helper"]) == ("old", "new")
    assert not psutil.pid_exists(old["pid"])
    client.update_function_configuration(FunctionName=name, Environment={"Variables": {"MORE": "yes"}})
    assert invoke(client, name, {"do": "environment"})[0]["MORE"] == "yes"


def test_logs_reach_the_function_s_group(aws: LocalAws, client: Any, create: Callable[..., str]) -> None:
    name = create("logging", archive(handler=HANDLER, helper="NAME = ''"))
    invoke(client, name, {"do": "say this"})
    logs = aws.client("logs")
    group = f"/aws/lambda/{name}"
    stream = logs.describe_log_streams(logGroupName=group)["logStreams"][0]["logStreamName"]
    events = logs.get_log_events(logGroupName=group, logStreamName=stream)["events"]
    assert "doing say this" in [event["message"] for event in events]


def test_an_asynchronous_event_is_accepted_and_runs(aws: LocalAws, client: Any, function: str) -> None:
    marker = f"later {time.time()}"
    answer = client.invoke(
        FunctionName=function, InvocationType="Event", Payload=json.dumps({"do": marker}).encode()
    )
    assert (answer["StatusCode"], answer["Payload"].read()) == (202, b"")
    logs = aws.client("logs")
    wait_for(
        lambda: logs.filter_log_events(logGroupName="/aws/lambda/trigger", filterPattern=f'"{marker}"')[
            "events"
        ]
    )
    dry = client.invoke(FunctionName=function, InvocationType="DryRun", Payload=b"{}")
    assert dry["StatusCode"] == 204


def test_a_payload_that_is_no_json_is_refused(client: Any, function: str) -> None:
    with pytest.raises(client.exceptions.InvalidRequestContentException):
        client.invoke(FunctionName=function, Payload=b"{no")


def test_it_does_not_read_the_next_event_as_its_input(client: Any, function: str) -> None:
    assert invoke(client, function, {"do": "read"})[0] == ""


def test_a_zip_cannot_write_outside_its_folder(
    aws: LocalAws, client: Any, create: Callable[..., str]
) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        target.writestr("handler.py", "def handler(event, context):\n    return 'ran'\n")
        target.writestr("../../escaped.txt", "out")
        target.writestr("/escaped.txt", "out")
    name = create("escaping", buffer.getvalue())
    assert invoke(client, name, {})[0] == "ran"
    for found in aws.home.parent.rglob("escaped.txt"):
        assert "lambda" in found.parts
    assert not Path("/escaped.txt").exists()
