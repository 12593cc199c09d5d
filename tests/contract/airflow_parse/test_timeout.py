"""A run that Airflow ended because it took too long: only the DAG's callback can tell of it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mlops.local import paths

DAGS = Path(__file__).parents[3] / "dags"


@pytest.fixture
def told(tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    """What timeout_driver.py saw; the parameter is the trouble that e-mail has at first."""
    driver = Path(__file__).with_name("timeout_driver.py")
    done = subprocess.run(
        [str(paths.airflow_python()), "-P", str(driver), str(DAGS), request.param],
        env={
            "PATH": os.environ["PATH"],
            "AIRFLOW_HOME": str(tmp_path),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("told", [""], indirect=True)
def test_a_run_that_took_too_long_is_told_once(told: Any) -> None:
    email, slack = told["first"]
    assert email.startswith("topic: url 1.3.0+retrain.0: model_training FAILED at run\n")
    assert "took longer than 7 days" in email
    assert slack == "slack: url 1.3.0+retrain.0: model_training FAILED at run"
    assert told["then"] == []
    assert told["failure"]["run_id"] == "r.1"
    assert told["states"] == {"email": "sent", "slack": "sent"}


@pytest.mark.parametrize("told", ["SNS is away"], indirect=True)
def test_a_way_that_is_closed_keeps_no_other_back(told: Any) -> None:
    (slack,) = told["first"]
    assert slack.startswith("slack: ")
    assert [one.partition(":")[0] for one in told["then"]] == ["topic"], "whoever tells it next may try"
