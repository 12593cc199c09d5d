"""One Airflow and one local AWS for all tests here; the trainings run side by side before the first test looks."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .stack import BUCKET, MODEL, PROJECT, Run, Stack, checkout_dags

TRAINING = "model_training"

# (run id, version, what the model is to do)
TRAININGS: dict[str, tuple[str, dict[str, str]]] = {
    "good": ("1.0.0+retrain.0", {"f1": "0.9"}),
    "crash": ("2.0.0+retrain.0", {"f1": "0.9", "do": "crash"}),
    "no-model": ("2.1.0+retrain.0", {"f1": "0.9", "do": "nothing"}),
    "no-report": ("2.2.0+retrain.0", {"f1": "0.9", "report": "nothing"}),
    "nan": ("2.3.0+retrain.0", {"f1": "0.9", "report": '{"schema_version": 1, "metrics": {"f1": NaN}}'}),
    "no-metric": ("2.4.0+retrain.0", {"report": '{"schema_version": 1, "metrics": {"f2": 0.9}}'}),
    "bad-gate": ("2.5.0+retrain.0", {"f1": "0.3"}),
}

# A DAG whose runs cost Airflow next to nothing: the scheduler passes over its task.
NOTHING = """
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

with DAG("nothing", schedule=None):
    EmptyOperator(task_id="nothing")
"""


def variant(dags: Path, name: str, *changes: tuple[str, str]) -> None:
    """model_training under another name, changed in one respect."""
    text = (dags / "model_training.py").read_text()
    for old, new in (("model_dag(TRAINING_DAG,", f"model_dag({name!r},"), *changes):
        assert old in text
        text = text.replace(old, new)
    (dags / f"{name}.py").write_text(text)


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home = tmp_path_factory.mktemp("airflow")
    dags = home / "dags"
    shutil.copytree(checkout_dags(), dags, ignore=shutil.ignore_patterns("__pycache__"))
    tasks = dags / "run_tasks.py"
    text = tasks.read_text()
    assert "timedelta(seconds=10)" in text
    tasks.write_text(text.replace("timedelta(seconds=10)", "timedelta(seconds=1)"))
    variant(dags, "short_training", ("timedelta(days=7)", "timedelta(seconds=6)"))
    variant(dags, "deferring_training", ('"deferrable": GIVE_WORKER_BACK', '"deferrable": True'))
    (dags / "nothing.py").write_text(NOTHING)
    with Stack(home, dags).running() as running:
        yield running
    assert running.stopped() == [], "a request to stop leaves no process"


@pytest.fixture(scope="package")
def trainings(stack: Stack) -> dict[str, Run]:
    confs: dict[str, dict[str, Any]] = {
        name: stack.training_conf(version, **parameters) for name, (version, parameters) in TRAININGS.items()
    }
    confs["unknown-key"] = stack.training_conf("3.0.0+retrain.0") | {"instance": "ml.m5.large"}
    confs["no-data"] = stack.training_conf("3.1.0+retrain.0")
    confs["no-data"]["training"]["channels"]["train"] = f"s3://{BUCKET}/data/none/"
    confs["elsewhere"] = stack.training_conf("3.2.0+retrain.0")
    confs["elsewhere"]["evidence_uri"] = "s3://somebody-else/x/"
    confs["quiet"] = stack.training_conf("7.0.0+retrain.0", f1="0.9")
    confs["quiet"]["notifications"] = {"slack": False, "email": True}
    text = json.dumps(stack.training_conf("3.3.0-mr4.2+retrain.0", f1="0.8")).encode()
    key = f"{PROJECT}/{MODEL}/conf.json"
    stack.client("s3").put_object(Bucket=BUCKET, Key=key, Body=text)
    pointer = {"conf_uri": f"s3://{BUCKET}/{key}", "conf_sha256": hashlib.sha256(text).hexdigest()}
    confs["pointer"] = pointer
    confs["forged-pointer"] = pointer | {"conf_sha256": "0" * 64}
    dags = dict.fromkeys(confs, TRAINING) | {"deferring": "deferring_training"}
    confs["deferring"] = stack.training_conf("4.0.0+retrain.0", f1="0.9", do="slow")
    for name, dag in dags.items():
        stack.trigger(dag, name, confs[name])
    return {name: stack.wait(dag, name, 240) for name, dag in dags.items()}
