"""The DAG `model_retraining` in a real Airflow: it decides by the recipe, and has `model_training` train what is due."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from .stack import BUCKET, MODEL, PROJECT, Run, Stack

RETRAINING, TRAINING = "model_retraining", "model_training"
OURS = "retrained"
HOME = f"{PROJECT}/{OURS}"
ALARM = f"ml-ops-drift-{PROJECT}--{OURS}"


def event(reason: str = "data", model: str = OURS) -> dict[str, Any]:
    occurrence = {
        "id": "e-1",
        "source": "aws.s3",
        "detail_type": "Object Created",
        "time": "2026-01-02T03:04:05Z",
    }
    return {
        "schema_version": 1,
        "project": PROJECT,
        "model": model,
        "reason": reason,
        "occurrence": occurrence,
    }


def put_data(stack: Stack, key: str, content: bytes = b"1,0\n0,1\n") -> None:
    stack.client("s3").put_object(Bucket=BUCKET, Key=f"data/{OURS}/{key}", Body=content)


def change_rules(stack: Stack, **rules: Any) -> None:
    recipe = stack.document(f"{HOME}/recipe.json")
    recipe["retraining"] |= rules
    text = json.dumps(recipe).encode()
    stack.client("s3").put_object(Bucket=BUCKET, Key=f"{HOME}/recipe.json", Body=text)


def trainings(stack: Stack) -> dict[str, str]:
    """State by id of all trainings of our model."""
    runs = stack.call("GET", f"/dags/{TRAINING}/dagRuns?limit=100")[1]["dag_runs"]
    return {run["dag_run_id"]: run["state"] for run in runs if run["conf"].get("model") == OURS}


def finished(stack: Stack, run_id: str, version: str) -> None:
    run = stack.wait(TRAINING, run_id)
    assert run.state == "success", stack.document(f"{HOME}/{version.replace('+', '_')}/failure.json") or run


def reason(stack: Stack, run: Run) -> str:
    return stack.log(RETRAINING, run.run_id, "validate")


@pytest.fixture(scope="module")
def released(stack: Stack) -> Stack:
    """A model of which 1.0.0 was released and trained."""
    image = stack.push(f"{PROJECT}/{OURS}")
    stack.client("sagemaker").create_model_package_group(ModelPackageGroupName=f"{PROJECT}--{OURS}")
    put_data(stack, "train/train.csv")
    put_data(stack, "test/test.csv")
    conf = json.loads(json.dumps(stack.training_conf("1.0.0+retrain.0", f1="0.9")).replace(MODEL, OURS))
    conf |= {"image_uri": image}
    run = stack.run(TRAINING, "retrained-first", conf)
    assert run.state == "success", run.tasks
    return stack


def test_a_training_leaves_the_recipe_of_its_release(released: Stack) -> None:
    recipe = released.document(f"{HOME}/recipe.json")
    assert (recipe["image_version"], recipe["model_version"]) == ("1.0.0", "1.0.0+retrain.0")
    assert recipe["training"]["channels"] == {"train": f"s3://{BUCKET}/data/{OURS}/train/"}
    assert recipe["origin"]["commit_title"] == "feat: more"


def test_what_is_not_due_is_skipped_with_the_reason(released: Stack) -> None:
    run = released.run(RETRAINING, "not-due", event())
    assert run.state == "success"
    assert run.tasks | {"validate": "skipped", "train": "skipped"} == run.tasks
    assert "retrained is not due: trained" in reason(released, run)
    assert "at most every 20 h" in reason(released, run)


def test_a_model_that_was_never_released_is_none_of_our_business(released: Stack) -> None:
    run = released.run(RETRAINING, "stranger", event(model="stranger"))
    assert (run.state, run.tasks["train"]) == ("success", "skipped")
    assert "no release of it was ever trained" in reason(released, run)


def test_two_events_at_once_make_one_training_under_the_next_number(released: Stack) -> None:
    change_rules(released, min_interval_seconds=0)
    put_data(released, "train/more.csv")
    for name in ("at-once-1", "at-once-2"):
        released.trigger(RETRAINING, name, event())
    runs = [released.wait(RETRAINING, name) for name in ("at-once-1", "at-once-2")]
    assert [run.state for run in runs] == ["success", "success"]
    # Who came second found the run, by its state or when it tried to start it.
    assert {run.tasks["train"] for run in runs} <= {"success", "skipped"}
    assert "success" in {run.tasks["train"] for run in runs}
    (training,) = set(trainings(released)) - {"retrained-first"}
    finished(released, training, "1.0.0+retrain.1")
    lineage = released.document(f"{HOME}/1.0.0_retrain.1/lineage.json")
    assert lineage["dag_run_id"] == training
    assert lineage["origin"]["pipeline_source"] == "event"
    assert released.document(f"{HOME}/recipe.json")["model_version"] == "1.0.0+retrain.1"
    assert released.document(f"{HOME}/recipe.json")["origin"]["commit_title"] == "feat: more"


def test_a_drift_alarm_since_the_training_is_a_reason(released: Stack) -> None:
    """The training that comes of it fails, since its data is away: the next test goes on from there."""
    change_rules(released, min_interval_seconds=0, on_drift=True)
    cloudwatch = released.client("cloudwatch")
    before = set(trainings(released))

    def alarm(state: str) -> None:
        cloudwatch.put_metric_alarm(
            AlarmName=ALARM,
            MetricName="Drift",
            Namespace="ml-ops/models",
            Period=60,
            EvaluationPeriods=1,
            Threshold=0.5,
            ComparisonOperator="GreaterThanThreshold",
            Statistic="Maximum",
        )
        cloudwatch.set_alarm_state(AlarmName=ALARM, StateValue=state, StateReason="rehearsal")

    alarm("OK")
    run = released.run(RETRAINING, "calm", event("drift"))
    assert "there is no drift, its data is the same" in reason(released, run)
    time.sleep(1.1)  # times of SageMaker's list are in seconds here
    alarm("ALARM")
    released.client("s3").delete_object(Bucket=BUCKET, Key=f"data/{OURS}/test/test.csv")
    run = released.run(RETRAINING, "drifted", event("drift"))
    assert (run.state, run.tasks["train"]) == ("success", "success"), reason(released, run)
    (failed,) = set(trainings(released)) - before
    assert released.wait(TRAINING, failed).state == "failed"


def test_a_failed_retraining_is_tried_again_under_its_version_by_the_next_event(released: Stack) -> None:
    put_data(released, "test/test.csv")
    before = trainings(released)
    (failed,) = (run_id for run_id, state in before.items() if state == "failed")
    assert released.run(RETRAINING, "again", event("drift")).tasks["train"] == "success"
    (again,) = set(trainings(released)) - set(before)
    assert (failed[:-1], failed[-1], again[-1]) == (again[:-1], "1", "2")
    finished(released, again, "1.0.0+retrain.2")
    assert released.document(f"{HOME}/1.0.0_retrain.2/lineage.json")["dag_run_id"] == again
    assert released.document(f"{HOME}/1.0.0_retrain.2/comparison.json")["challenger"] == "1.0.0+retrain.2"


def test_a_drift_that_was_answered_by_a_training_is_no_reason_any_more(released: Stack) -> None:
    run = released.run(RETRAINING, "answered", event("drift"))
    assert (run.state, run.tasks["train"]) == ("success", "skipped")
    assert "it is the answer to the drift of" in reason(released, run)
