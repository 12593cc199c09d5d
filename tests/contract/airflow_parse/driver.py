"""Run by Airflow's own Python: parses the DAGs and prints, as JSON, what they are and what parsing took."""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module
from pathlib import Path

folder = Path(sys.argv[1])
# As a worker has it: Airflow and the providers' packages are imported, the DAGs are not.
sys.path.append(str(folder))
dagbag = import_module("airflow.dag_processing.dagbag")
serialization = import_module("airflow.serialization.serialized_objects")
for provider in (
    "amazon.aws.operators.sagemaker",
    "amazon.aws.operators.sns",
    "slack.operators.slack_webhook",
):
    import_module(f"airflow.providers.{provider}")
before = set(sys.modules)

calls: list[str] = []


def note(event: str, arguments: tuple[object, ...]) -> None:
    """What a DAG must not do while it is parsed: reach out, start something, or look at the hour for a name."""
    if event in {"socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system"}:
        calls.append(f"{event} {arguments!r:.100}")


sys.addaudithook(note)
began = time.process_time()
bag = dagbag.DagBag(str(folder), include_examples=False)
seconds = time.process_time() - began
dags = {}
for name, dag in bag.dags.items():
    twice = [
        json.dumps(serialization.DagSerialization.to_dict(one), sort_keys=True, default=str)
        for one in (dag, dagbag.DagBag(str(folder), include_examples=False).dags[name])
    ]
    dags[name] = {
        "tasks": {
            task.task_id: {
                "operator": type(task).__name__,
                "downstream": sorted(task.downstream_task_ids),
                "trigger_rule": str(task.trigger_rule.value),
                "retries": task.retries,
                "teardown": task.is_teardown,
                "reports": bool(task.on_failure_callback),
                "connection": getattr(task, "aws_conn_id", None),
            }
            for task in dag.tasks
        },
        "timeout": dag.dagrun_timeout.total_seconds(),
        "reports": bool(dag.on_failure_callback),
        "schedule": str(dag.schedule),
        "same_twice": twice[0] == twice[1],
    }
sys.stdout.write(
    json.dumps(
        {
            "errors": bag.import_errors,
            "dags": dags,
            "seconds": seconds,
            "imported": sorted(name for name in set(sys.modules) - before),
            "calls": calls,
        }
    )
)
