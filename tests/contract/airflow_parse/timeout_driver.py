"""Run by Airflow's own Python: a run took too long, as the DAG processor tells `announce_timeout`.

Prints, as JSON, what was sent, what S3 holds then, and what a second call sends: by the trouble that e-mail has at
first, which are all further arguments.
"""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from importlib import import_module
from types import SimpleNamespace
from typing import Any

folder, *troubles = sys.argv[1:]
sys.path.append(folder)
run_tasks = import_module("run_tasks")
storage = import_module("mlops.clients.aws.s3")
decode = import_module("mlops.base.strict_json")
aws = import_module("mlops.clients.aws.session")
sns = import_module("airflow.providers.amazon.aws.hooks.sns")
slack = import_module("airflow.providers.slack.hooks.slack_webhook")

objects: dict[str, str] = {}
sent: list[str] = []
trouble = ""


class Bucket:
    """What is needed of Storage."""

    def __init__(self, _client: object) -> None:
        pass

    def exists(self, uri: str) -> bool:
        return uri in objects

    def write_record(self, record: object, uri: str) -> None:
        objects[uri] = decode.dumps(record)

    def create_record(self, record: object, uri: str) -> bool:
        if uri in objects:
            return False
        self.write_record(record, uri)
        return True

    def read_record(self, record: type, uri: str) -> Any:
        return decode.loads(record, objects[uri], uri)


class Topic:
    """SnsHook."""

    def __init__(self, **_: object) -> None:
        pass

    def publish_to_target(self, *, target_arn: str, message: str, subject: str) -> None:
        if trouble:
            raise ConnectionError(trouble)
        sent.append(f"{target_arn}: {subject}\n{message}")


class Webhook:
    """SlackWebhookHook."""

    def __init__(self, *, slack_webhook_conn_id: str, retry_handlers: list[object]) -> None:
        assert retry_handlers
        self.connection = slack_webhook_conn_id

    def send(self, *, text: str, blocks: list[object]) -> None:
        assert blocks
        sent.append(f"{self.connection}: {text}")


vars(storage)["Storage"], vars(aws)["client"] = Bucket, str
vars(sns)["SnsHook"], vars(slack)["SlackWebhookHook"] = Topic, Webhook
PLAN = {
    "conf": {
        "project": "web",
        "model": "url",
        "model_version": "1.3.0+retrain.0",
        "evidence_uri": "s3://b/web/url/1.3.0_retrain.0/",
        "notifications": {"channel": "default"},
        "origin": {"project_path": "models/url", "pipeline_source": "push"},
    },
    "settings": {
        "environment": "test",
        "region": "eu-west-1",
        "bucket": "b",
        "execution_role_arn": "role",
        "topic_arn": "topic",
        "trigger_function": "f",
        "airflow_environment": "a",
        "slack_secret": "airflow/connections/slack",
    },
}


def pull(task_ids: str, **_: str) -> Any:
    """What tasks left as XCom."""
    return PLAN if task_ids == "validate" else None


context = {
    "reason": "timed_out",
    "dag": SimpleNamespace(dagrun_timeout=timedelta(days=7)),
    "dag_run": SimpleNamespace(dag_id="model_training", run_id="r.1", conf={}),
    "ti": SimpleNamespace(xcom_pull=pull, log_url="log"),
}


def play(at_first: str) -> dict[str, Any]:
    """What comes of a run that is told of twice; e-mail has its trouble only the first time."""
    global trouble
    objects.clear()
    sent.clear()
    trouble = at_first
    run_tasks.announce_timeout(context)
    first = list(sent)
    trouble = ""
    run_tasks.announce_timeout(context)
    states = {
        uri.rpartition(".json")[0].rpartition(".")[2]: text
        for uri, text in objects.items()
        if "/told/" in uri
    }
    return {
        "first": first,
        "then": sent[len(first) :],
        "failure": json.loads(objects["s3://b/web/url/1.3.0_retrain.0/failure.json"]),
        "states": {way: json.loads(text)["state"] for way, text in states.items()},
    }


sys.stdout.write(json.dumps({each: play(each) for each in troubles}))
