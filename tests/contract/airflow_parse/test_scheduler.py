"""What the local stack expects of Airflow's scheduler, which it wakes instead of letting it sleep."""

from __future__ import annotations

import ast

from mlops_local.base import paths


def test_the_schedulers_loop_uses_the_module_time_for_its_sleep_alone() -> None:
    (source,) = (
        paths.airflow_python()
        .parents[1]
        .glob("lib/python3*/site-packages/airflow/jobs/scheduler_job_runner.py")
    )
    nodes = list(ast.walk(ast.parse(source.read_bytes())))
    imported = [
        alias.name
        for node in nodes
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name == "time" and alias.asname is None
    ]
    used = [
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "time"
    ]
    assert (imported, used) == (["time"], ["sleep"])
