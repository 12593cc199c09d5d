"""Run by Airflow's own Python: tasks that wait for SageMaker's jobs, with the provider's own hooks and trigger.

SageMaker is a small server here. Its jobs end as their scenario says, and while the scenario has trouble Describe gives
no answer. The arguments name the scenarios. What Airflow does with a deferred task is done here: the trigger is sent as text, runs, and the
task resumes with its event or with its failure. All scenarios run at once. Prints, as JSON, how each ended.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from types import SimpleNamespace
from typing import Any

NAMED = ("TrainingJob", "ProcessingJob", "Endpoint")
OUTAGE = 12.0
ROLE = {"RoleArn": "arn:aws:iam::123456789012:role/r"}
MACHINE = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}
REQUESTS: dict[str, dict[str, Any]] = {
    "Training": {
        "AlgorithmSpecification": {"TrainingImage": "image", "TrainingInputMode": "File"},
        "OutputDataConfig": {"S3OutputPath": "s3://b/model"},
        "ResourceConfig": MACHINE,
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        **ROLE,
    },
    "Processing": {
        "AppSpecification": {"ImageUri": "image"},
        "ProcessingResources": {"ClusterConfig": MACHINE},
        **ROLE,
    },
}
THROTTLED = {"__type": "ThrottlingException", "message": "Rate exceeded"}
UNAVAILABLE = {"__type": "ServiceUnavailableException", "message": "Service unavailable"}


@dataclass
class Scenario:
    """One job; `trouble` begins once it was seen to run, and lasts for OUTAGE seconds."""

    name: str
    kind: str
    deferrable: bool
    ending: str = "Completed"
    trouble: str = ""
    there: bool = False
    """Whether an earlier try created it."""
    created: int = 0
    began: float = 0.0
    over: bool = False

    def answer(self, operation: str) -> tuple[int, dict[str, Any]] | None:
        """HTTP status and body; None to hang up."""
        if operation.startswith("Create"):
            self.created += 1
            return 200, {f"{self.kind}JobArn": "arn"}
        if not self.created and not self.there and self.kind != "Endpoint":
            return 400, {"__type": "ValidationException", "message": "Requested resource not found."}
        # An endpoint's ends once a look has missed it, however often the SDK asks within one look.
        gone = not self.over if self.kind == "Endpoint" else time.monotonic() - self.began < OUTAGE
        if self.began and self.trouble and gone:
            return {"503": (503, UNAVAILABLE), "throttled": (400, THROTTLED)}.get(self.trouble)
        if self.kind == "Endpoint":
            self.began = self.began or time.monotonic()
            return 200, {"EndpointName": self.name, "EndpointStatus": self.ending.partition(",")[0]}
        status = self.ending if self.began or self.there else "InProgress"
        self.began = self.began or time.monotonic()
        reason = {"FailureReason": "AlgorithmError: exit code 1"} if status == "Failed" else {}
        return 200, {f"{self.kind}JobName": self.name, f"{self.kind}JobStatus": status, **reason}


def scenario(name: str) -> Scenario:
    """From `Training-deferred-503`: its kind, whether the task defers, the trouble; or the job's end, and who made it."""
    kind, mode, what, *made = name.split("-")
    deferrable = mode == "deferred"
    if made:
        return Scenario(name, kind, deferrable, ending=what, there=made == ["found"])
    ending = "Updating,InService" if kind == "Endpoint" else "Completed"
    return Scenario(name, kind, deferrable, ending=ending, trouble=what)


SCENARIOS = {name: scenario(name) for name in sys.argv[2:]}


class SageMaker(BaseHTTPRequestHandler):
    """Its JSON API."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """One call."""
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        operation = self.headers["X-Amz-Target"].rpartition(".")[2]
        name = next(request[f"{kind}Name"] for kind in NAMED if f"{kind}Name" in request)
        answer = SCENARIOS[name].answer(operation)
        if answer is None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        body = json.dumps(answer[1]).encode()
        self.send_response(answer[0])
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


server = ThreadingHTTPServer(("127.0.0.1", 0), SageMaker)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ |= {
    "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
}
sys.path.append(sys.argv[1])
jobs = import_module("sagemaker_jobs")
dag = import_module("model_training")
deployment = import_module("model_deployment")
exceptions = import_module("airflow.sdk.exceptions")
safeguard = import_module("airflow.sdk.bases.operator").ExecutorSafeguard


async def first(events: Any) -> Any:
    """What a trigger says."""
    return await anext(events)


def play(played: Scenario) -> dict[str, Any]:
    """Run the task as Airflow does."""
    operator = getattr(jobs, f"{played.kind}Job")
    settings = dag.JOB | {"deferrable": played.deferrable, "check_interval": 0.5}
    config = REQUESTS[played.kind] | {f"{played.kind}JobName": played.name}
    task = operator(task_id=played.name, config=config, **settings)
    safeguard.tracker.set(task)
    deferred, method = 0, ""
    context = {"ti": SimpleNamespace(xcom_push=lambda **_told: None)}
    arguments: dict[str, Any] = {}
    try:
        while True:
            try:
                result = (
                    task.resume_execution(method, arguments, context) if method else task.execute(context)
                )
                outcome = "ended"
                break
            except exceptions.TaskDeferred as wish:
                deferred += 1
                path, told = wish.trigger.serialize()
                module, _, name = path.rpartition(".")
                trigger = getattr(import_module(module), name)(**told)
                method = wish.method_name
                try:
                    event = asyncio.run(first(trigger.run()))
                    arguments = {**(wish.kwargs or {}), "event": event.payload}
                except Exception as error:  # pylint: disable=broad-exception-caught  # the triggerer's
                    method, arguments = "__fail__", {"error": "Trigger failure", "traceback": [repr(error)]}
    except exceptions.AirflowFailException as error:
        outcome, result = "failed for good", str(error)
    except Exception as error:  # pylint: disable=broad-exception-caught  # what fails the task
        outcome, result = "failed", repr(error)
    return {"outcome": outcome, "result": result, "created": played.created, "deferred": deferred}


def look(played: Scenario) -> dict[str, Any]:
    """Poke a sensor as Airflow does: what it saw, and every answer that it gave."""
    sensor = deployment.EndpointEnd(
        task_id=played.name, endpoint_name=played.name, aws_conn_id=None, poke_interval=0.5
    )
    seen: list[bool] = []
    try:
        while not any(seen):
            seen.append(sensor.poke({}))
            played.over = len(seen) > 1
            played.ending = played.ending.removeprefix("Updating,")
            time.sleep(0.5)
    except Exception as error:  # pylint: disable=broad-exception-caught  # what fails the task
        return {"outcome": "failed", "result": repr(error)}
    return {"outcome": "ended", "result": seen}


with ThreadPoolExecutor(len(SCENARIOS)) as tasks:
    played_all = tasks.map(lambda one: (look if one.kind == "Endpoint" else play)(one), SCENARIOS.values())
    found = dict(zip(SCENARIOS, played_all, strict=True))
sys.stdout.write(json.dumps(found))
