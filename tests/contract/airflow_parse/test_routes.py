"""What the local stack changes in how Airflow's web servers make their routes: when it is done, and nothing else."""

from __future__ import annotations

import ast
from pathlib import Path

from mlops_local.base import paths

from .drivers import drive


def test_a_route_is_built_when_it_is_used_and_is_the_same(tmp_path: Path) -> None:
    seen = drive("routes_driver.py", tmp_path)
    whole, late = seen["whole"], seen["late"]
    assert whole["before"] == ["one", "several", "stream", "other"]
    assert (late["before"], late["after"]) == ([], ["one", "several"])
    assert [status for status, _ in whole["answers"]] == [200, 403, 422, 422, 201, 405, 200, 200, 404]
    assert late["answers"] == whole["answers"]
    assert len(whole["description"]["paths"]) == 3
    assert late["description"] == whole["description"]


def test_tasks_ask_for_the_newest_version_of_the_workers_api() -> None:
    (airflow,) = paths.airflow_python().parents[1].glob("lib/python3*/site-packages/airflow")
    asked = [
        node.value.value
        for node in ast.walk(ast.parse((airflow / "sdk/api/datamodels/_generated.py").read_bytes()))
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and node.target.id == "API_VERSION"
        and isinstance(node.value, ast.Constant)
    ]
    served = [
        node.args[0].value
        for node in ast.walk(
            ast.parse((airflow / "api_fastapi/execution_api/versions/__init__.py").read_bytes())
        )
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Version"
        and isinstance(node.args[0], ast.Constant)
    ]
    assert asked == served[:1]
