"""Tasks that wait for SageMaker's jobs: SageMaker that cannot be asked is not a verdict, and a stopped job is one."""

from __future__ import annotations

from typing import Any

import pytest

from .drivers import drive

# How the driver reads them: kind, whether the task gives its worker back, and the trouble.
TROUBLES = (
    "Training-deferred-503",
    "Training-deferred-throttled",
    "Training-deferred-dropped",
    "Training-waiting-503",
    "Training-waiting-dropped",
    "Processing-deferred-dropped",
    "Processing-waiting-throttled",
)
# And here the job's end, and whether this try made it or an earlier one.
BAD_ENDS = (
    "Training-deferred-Failed-new",
    "Training-deferred-Stopped-new",
    "Training-waiting-Stopped-found",
    "Processing-deferred-Stopped-new",
    "Processing-deferred-Stopped-found",
    "Processing-waiting-Stopped-found",
    "Processing-waiting-Stopped-new",
)
FOUND = ("Training-deferred-Completed-found", "Processing-waiting-Completed-found")
ENDPOINTS = ("Endpoint-waiting-503", "Endpoint-waiting-Failed-found")


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """How each scenario of jobs_driver.py ended."""
    home = tmp_path_factory.mktemp("airflow")
    return drive("jobs_driver.py", home, *TROUBLES, *BAD_ENDS, *FOUND, *ENDPOINTS)


@pytest.mark.parametrize("name", TROUBLES)
def test_a_task_outlives_twelve_seconds_without_sagemaker(ended: Any, name: str) -> None:
    found, kind = ended[name], name.partition("-")[0]
    assert found["outcome"] == "ended", found["result"]
    assert found["result"][kind][f"{kind}JobStatus"] == "Completed"
    assert found["created"] == 1
    assert bool(found["deferred"]) == ("deferred" in name)


@pytest.mark.parametrize("name", BAD_ENDS)
def test_a_job_that_ended_badly_fails_its_task_for_good(ended: Any, name: str) -> None:
    """Its reason is there, and it is not paid for twice."""
    found, (_, _, status, made) = ended[name], name.split("-")
    assert found["outcome"] == "failed for good", found["result"]
    assert f"ended as {status}: " in found["result"]
    assert found["created"] == (0 if made == "found" else 1)


@pytest.mark.parametrize("name", FOUND)
def test_a_job_of_an_earlier_try_is_waited_for(ended: Any, name: str) -> None:
    assert (ended[name]["outcome"], ended[name]["created"]) == ("ended", 0), ended[name]["result"]


def test_the_wait_for_an_endpoint_outlives_it_too(ended: Any) -> None:
    found = ended["Endpoint-waiting-503"]
    assert found["outcome"] == "ended", found["result"]
    first, *more, last = found["result"]
    assert (first, any(more), last) == (False, False, True)
    assert more, "it was asked while there was no answer"


def test_a_failed_endpoint_is_left_to_the_task_that_explains_it(ended: Any) -> None:
    assert ended["Endpoint-waiting-Failed-found"] == {"outcome": "ended", "result": [True]}
