"""The DAGs as Airflow sees them when it parses: they import little, do nothing, and are wired as they should be."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from .drivers import DAGS, drive

WORK = {
    "model_notice": ["validate", "compose_message"],
    "model_retraining": ["validate", "train"],
    "model_training": [
        "validate",
        "train",
        "register",
        "evaluate_challenger",
        "evaluate_champion",
        "compare",
        "register_package",
    ],
    "model_monitoring": ["validate", "measure"],
    "model_deployment": [
        "wait_for_turn",
        "validate",
        "endpoint_config",
        "change_endpoint",
        "wait_for_endpoint",
        "confirm",
    ],
}


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What driver.py found."""
    return drive("driver.py", tmp_path_factory.mktemp("airflow"))


def test_every_dag_is_there_and_nothing_else(parsed: Any) -> None:
    assert parsed["errors"] == {}
    assert sorted(parsed["dags"]) == sorted(WORK)


@pytest.mark.parametrize("dag_id", WORK)
def test_the_reference_names_the_tasks_in_their_order(dag_id: str) -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "dags.md").read_text(encoding="utf-8")
    chain = re.search(rf"^## {dag_id}\n\n`(.+)`$", page, re.MULTILINE)
    assert chain
    assert re.split(" → |, ", chain[1]) == WORK[dag_id]


def test_parsing_reaches_nobody(parsed: Any) -> None:
    assert parsed["calls"] == []


def test_parsing_imports_nothing_heavy(parsed: Any) -> None:
    ours = [name for name in parsed["imported"] if name.split(".")[0] == "mlops"]
    assert sorted(ours) == [
        "mlops",
        "mlops.base",
        "mlops.base.errors",
        "mlops.base.strict_json",
        "mlops.contracts",
        "mlops.contracts.runs",
    ]
    assert parsed["seconds"] < 2


@pytest.mark.parametrize("name", sorted(WORK))
def test_a_dag_is_the_same_whenever_it_is_parsed(parsed: Any, name: str) -> None:
    assert parsed["dags"][name]["same_twice"]


@pytest.mark.parametrize("name", sorted(WORK))
def test_every_failure_has_somebody_who_tells(parsed: Any, name: str) -> None:
    dag = parsed["dags"][name]
    assert dag["reports"]
    assert dag["timeout"] > 0
    for task in WORK[name]:
        assert "record_failure" in dag["tasks"][task]["downstream"], task
        assert dag["tasks"][task]["reports"], task
    assert dag["tasks"]["record_failure"]["trigger_rule"] == "one_failed"
    assert dag["tasks"]["record_failure"]["downstream"] == ["notify_email", "notify_slack"]


@pytest.mark.parametrize("name", sorted(WORK))
def test_the_work_alone_decides_the_result(parsed: Any, name: str) -> None:
    tasks = parsed["dags"][name]["tasks"]
    assert tasks[WORK[name][-1]]["downstream"] == ["done", "notify_email", "notify_slack", "record_failure"]
    assert [task for task in tasks if tasks[task]["teardown"]] == ["notify_email", "notify_slack"]
    assert tasks["done"]["operator"] == "EmptyOperator"


@pytest.mark.parametrize("name", sorted(WORK))
def test_runs_begin_only_when_asked_for(parsed: Any, name: str) -> None:
    assert parsed["dags"][name]["schedule"] == "None"


def test_what_may_be_a_passing_trouble_is_tried_again(parsed: Any) -> None:
    """A job that failed is not: `test_jobs`."""
    for dag, tasks in WORK.items():
        for task in tasks:
            assert parsed["dags"][dag]["tasks"][task]["retries"] == 4, (dag, task)


@pytest.mark.parametrize("file", sorted(DAGS.glob("*.py")), ids=lambda file: file.name)
def test_a_dag_file_imports_only_what_parsing_may_cost(file: Path) -> None:
    allowed = ("airflow.sdk", "airflow.providers", "mlops.contracts.runs", "run_tasks", "slack_sdk")
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in tree.body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        foreign = [name for name in names if name.split(".")[0] in {"airflow", "mlops", "boto3", "run_tasks"}]
        assert all(name.startswith(allowed) for name in foreign), foreign
