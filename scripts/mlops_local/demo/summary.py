"""demo-summary.json: what the demo saw, read from what the jobs left behind."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from mlops_local.base.environment import find_environment
from mlops_local.command.inbox import messages
from mlops_local.pipelines.job_board import JobResult
from mlops_local.pipelines.pipeline import PipelineRun
from mlops_local.stack import sdk
from mlops_local.stack.stack import Stack

STAGES = ("lint", "test", "containerize", "train", "evaluate", "deploy")


def push_document(done: PipelineRun, seconds: dict[str, float]) -> dict[str, Any]:
    """One push: from the dotenv reports of its jobs, and the comparison beside its evaluation."""
    models = model_pipeline(done)
    variables = models.variables
    comparison = _comparison(models)
    deploy = _stage(models, "deploy")
    return {
        "commit": done.commit,
        "project": done.project,
        "pipeline": models.url,
        "downstream": _downstream(done),
        "image_version": variables["IMAGE_VERSION"],
        "image_digest": variables["IMAGE_DIGEST"],
        "model_version": variables["MODEL_VERSION"],
        "built": variables["IMAGE_BUILT"] == "true",
        "trained": variables["TRAINED"] == "true",
        "dag_run_id": variables["DAG_RUN_ID"],
        "metrics": {line["name"]: line["challenger"] for line in comparison["metrics"]},
        "champion": comparison["champion"],
        "gate": comparison["gate"],
        "deployed": deploy.exit_code == 0,
        "deploy_exit_code": deploy.exit_code,
        "seconds": seconds,
    }


def endpoint_document(name: str, answer: dict[str, Any]) -> dict[str, Any]:
    """The endpoint, with what it answered."""
    return {
        "name": name,
        "model_version": answer["model"]["version"],
        "prediction": answer["predictions"][0],
        "manifest": answer["model"],
    }


def document(stack: Stack, pushes: Sequence[dict[str, Any]], endpoint: dict[str, Any]) -> dict[str, Any]:
    """The whole summary."""
    keys = ("at", "channel", "to", "subject")
    return {
        "pushes": list(pushes),
        "endpoint": endpoint,
        "inbox": [{key: message[key] for key in keys} for message in messages(stack)],
        "engine": stack.engine,
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("ml-ops", "moto", "boto3")},
            "airflow": _airflow_version(stack),
        },
    }


def table(pushes: Sequence[dict[str, Any]]) -> str:
    """Where the time went, one line a push, in seconds."""
    from tabulate import tabulate

    rows = [
        [number, push["model_version"], push["gate"], "yes" if push["deployed"] else "no"]
        + [f"{push['seconds'].get(stage, 0):.1f}" for stage in (*STAGES, "total")]
        for number, push in enumerate(pushes, 1)
    ]
    return tabulate(rows, headers=["push", "model version", "gate", "deployed", *STAGES, "total"])


def model_pipeline(done: PipelineRun) -> PipelineRun:
    """The pipeline with the model's own jobs: the one in the platform's project where that runs them."""
    return next(iter(done.downstream.values()), done)


def _downstream(done: PipelineRun) -> dict[str, Any] | None:
    """Where the model's jobs ran, and what the upstream's commit has of it."""
    for name, child in done.downstream.items():
        told = {str(one["name"]): one["status"] for one in done.statuses}
        return {"project": child.project, "trigger_job": name, "state": done.job(name).state, "told": told}
    return None


def _stage(done: PipelineRun, stage: str) -> JobResult:
    """The job of a stage, whatever prefix its name has."""
    return next(job for job in done.jobs if job.name.rpartition(":")[2] == stage)


def _comparison(done: PipelineRun) -> dict[str, Any]:
    (file,) = _stage(done, "evaluate").artifacts.rglob("comparison.json")
    comparison: dict[str, Any] = json.loads(file.read_bytes())
    return comparison


def _airflow_version(stack: Stack) -> str:
    name = find_environment(stack.environment_name).airflow_environment
    environment = sdk.client(stack, "mwaa").get_environment(Name=name)["Environment"]
    return str(environment["AirflowVersion"])
