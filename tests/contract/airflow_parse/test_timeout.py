"""A run that Airflow ended because it took too long: only the DAG's callback can tell of it."""

from __future__ import annotations

from typing import Any

import pytest

from .drivers import drive

AWAY = "SNS is away"


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What timeout_driver.py saw, by the trouble that e-mail has at first."""
    return drive("timeout_driver.py", tmp_path_factory.mktemp("airflow"), "", AWAY)


def test_a_run_that_took_too_long_is_told_once(every: Any) -> None:
    told = every[""]
    email, slack = told["first"]
    assert email.startswith("topic: url 1.3.0+retrain.0: model_training FAILED at run\n")
    assert "took longer than 7 days" in email
    assert slack == "slack: url 1.3.0+retrain.0: model_training FAILED at run"
    assert told["then"] == []
    assert told["failure"]["run_id"] == "r.1"
    assert told["states"] == {"email": "sent", "slack": "sent"}


def test_a_way_that_is_closed_keeps_no_other_back(every: Any) -> None:
    told = every[AWAY]
    (slack,) = told["first"]
    assert slack.startswith("slack: ")
    assert [one.partition(":")[0] for one in told["then"]] == ["topic"], "the sender it next may try"
