"""What the DAG `model_retraining` decides, and the recipe it decides by."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import boto3
import pytest

from mlops.base.errors import ContractError
from mlops.contracts.evidence import LINEAGE, RECIPE, Lineage, Recipe
from mlops.contracts.runs import Origin, Retraining, TrainingConf, make_run_id
from mlops.contracts.versions import ModelVersion
from mlops.manifest import reader
from mlops.manifest.reader import Model
from mlops.runs.airflow_runs import find_run, start_or_join
from mlops.training import request, retraining_rules
from mlops.training.lineage import data_fingerprint
from mlops.training.retraining_tasks import RetrainingPlan, prepare
from mlops.training.tasks import keep_recipe
from tests.unit.world import BUCKET, MODEL, PROJECT, SETTINGS, World

HOME = f"s3://{BUCKET}/{PROJECT}/{MODEL}/"
PUSH = Origin(pipeline_source="push", commit_title="feat: more", pipeline_url="https://gitlab.example/p/1")
UNMERGED = Origin(pipeline_source="merge_request_event")
EVENT = {
    "schema_version": 1,
    "project": PROJECT,
    "model": MODEL,
    "reason": "data",
    "occurrence": {
        "id": "e",
        "source": "aws.s3",
        "detail_type": "Object Created",
        "time": "2026-01-02T03:04:05Z",
    },
}


class NoAlarms:
    """A project without drift alarms."""

    def for_model(self, model: str) -> None:
        del model


def trained_as(model: Model, world: World, version: str, origin: Origin = PUSH) -> TrainingConf:
    parsed = ModelVersion.parse(version)
    uri = world.image(str(parsed.image))
    return request.of_manifest(model, uri, parsed, BUCKET, origin)


def released(world: World, model: Model, version: str = "1.3.0+retrain.0", **rules: Any) -> TrainingConf:
    """A model that was trained from a release, and due as soon as its data changes."""
    evidence = world.model(version)
    conf = replace(
        trained_as(model, world, version),
        retraining=Retraining(min_interval_seconds=0) if not rules else Retraining(**rules),
    )
    keep_recipe(conf, BUCKET, world.storage, "2026-01-02T03:04:05+00:00")
    world.s3.put_object(Bucket=BUCKET, Key="data/train/a.csv", Body=b"1")
    listing = list(world.storage.listing(f"s3://{BUCKET}/data/train/"))
    lineage = world.storage.read_record(Lineage, evidence + LINEAGE)
    fingerprint = data_fingerprint({"train": listing})
    world.storage.write_record(replace(lineage, data_fingerprint=fingerprint), evidence + LINEAGE)
    return conf


def decide(world: World, conf: Any = None, **states: str) -> RetrainingPlan:
    ssm = boto3.client("ssm", "eu-west-1", aws_access_key_id="test", aws_secret_access_key="test")
    ssm.put_parameter(Name="/ml-ops/settings", Type="String", Value=json.dumps(SETTINGS), Overwrite=True)
    return prepare(
        conf or EVENT,
        ssm=ssm,
        storage=world.storage,
        sagemaker=world.sagemaker,
        alarms=lambda _project: NoAlarms(),
        state_of=lambda name: states.get(name.rpartition(".")[2], ""),
    )


def test_without_a_release_there_is_nothing_to_do(world: World) -> None:
    plan = decide(world)
    assert (plan.training, plan.starts) == (None, False)
    assert plan.why == "no release of it was ever trained: its push does that"


def test_what_is_not_due_says_why(world: World, model: Model) -> None:
    released(world, model)
    assert decide(world).training is None
    assert "its data is the same" in decide(world).why


def test_what_is_due_is_asked_for_as_a_pipeline_would(world: World, model: Model) -> None:
    conf = released(world, model)
    world.s3.put_object(Bucket=BUCKET, Key="data/train/b.csv", Body=b"2")
    plan = decide(world)
    assert plan.training is not None and plan.starts
    wanted = replace(trained_as(model, world, "1.3.0+retrain.1"), retraining=conf.retraining)
    assert replace(plan.training, origin=Origin()) == replace(wanted, origin=Origin())
    assert plan.training.origin == replace(PUSH, pipeline_source="event", pipeline_url="")
    work = request.work(wanted, "77")
    assert plan.training_run == make_run_id(work.label, work.identity, 1)


@pytest.mark.parametrize(
    ("states", "attempt", "starts"),
    [
        ({"1": "running"}, "1", False),
        ({"1": "queued"}, "1", False),
        ({"1": "failed"}, "2", True),
        ({"1": "success"}, "2", True),
    ],
)
def test_a_run_of_that_version_is_joined_and_a_failed_one_repeated(
    world: World, model: Model, states: dict[str, str], attempt: str, starts: bool
) -> None:
    released(world, model)
    world.s3.put_object(Bucket=BUCKET, Key="data/train/b.csv", Body=b"2")
    plan = decide(world, **states)
    assert (plan.training_run.rpartition(".")[2], plan.starts) == (attempt, starts)


@pytest.mark.parametrize("states", [{}, {"1": "failed"}, {"1": "failed", "2": "running"}])
def test_both_ways_find_the_same_run(world: World, model: Model, states: dict[str, str]) -> None:
    work = request.work(trained_as(model, world, "1.3.0+retrain.1"), "77")
    world.airflow.runs = {
        make_run_id(work.label, work.identity, int(key)): state for key, state in states.items()
    }
    found, starts = find_run(work, lambda name: states.get(name.rpartition(".")[2], ""), lambda: False)
    answer = start_or_join(world.airflow, work, lambda: False)
    assert (answer.run_id, answer.created) == (found, starts)


def test_a_conf_of_another_kind_is_refused(world: World) -> None:
    with pytest.raises(ContractError):
        decide(world, {**EVENT, "surprise": 1})


def recipe(world: World) -> Recipe:
    return world.storage.read_record(Recipe, HOME + RECIPE)


def test_a_merge_requests_pre_release_leaves_no_recipe(world: World, model: Model) -> None:
    keep_recipe(
        trained_as(model, world, "1.3.0-mr42.7+retrain.0"), BUCKET, world.storage, "2026-01-02T03:04:05+00:00"
    )
    assert not world.storage.exists(HOME + RECIPE)


def test_a_merge_request_leaves_no_recipe_whatever_its_version_says(world: World, model: Model) -> None:
    unmerged = trained_as(model, world, "1.3.0+retrain.0", UNMERGED)
    keep_recipe(unmerged, BUCKET, world.storage, "2026-01-02T03:04:05+00:00")
    assert not world.storage.exists(HOME + RECIPE)


def test_a_merge_requests_recipe_of_old_retrains_nothing_and_is_replaced(world: World, model: Model) -> None:
    released(world, model)
    world.s3.put_object(Bucket=BUCKET, Key="data/train/b.csv", Body=b"2")
    assert decide(world).starts
    world.storage.write_record(replace(recipe(world), origin=UNMERGED), HOME + RECIPE)
    plan = decide(world)
    assert (plan.training, plan.starts) == (None, False)
    assert "merge request's" in plan.why
    nightly = Origin(pipeline_source="schedule")
    again = trained_as(model, world, "1.3.0+retrain.1", nightly)
    keep_recipe(again, BUCKET, world.storage, "2026-01-03T03:04:05+00:00")
    assert recipe(world).origin == nightly


def test_an_old_pipeline_that_is_run_again_does_not_bring_its_recipe_back(world: World, model: Model) -> None:
    for version in ("1.9.0+retrain.0", "1.10.0+retrain.0", "1.9.0+retrain.1"):
        keep_recipe(trained_as(model, world, version), BUCKET, world.storage, "2026-01-02T03:04:05+00:00")
    assert recipe(world).model_version == "1.10.0+retrain.0"


def test_a_retraining_keeps_who_pushed(world: World, model: Model) -> None:
    keep_recipe(
        trained_as(model, world, "1.3.0+retrain.0"), BUCKET, world.storage, "2026-01-02T03:04:05+00:00"
    )
    again = trained_as(model, world, "1.3.0+retrain.1", Origin(pipeline_source="schedule"))
    keep_recipe(again, BUCKET, world.storage, "2026-01-03T03:04:05+00:00")
    assert (recipe(world).model_version, recipe(world).origin) == ("1.3.0+retrain.1", PUSH)


def test_a_recipe_nobody_can_read_any_more_is_replaced(world: World, model: Model) -> None:
    world.storage.write(b'{"schema_version": 0}', HOME + RECIPE)
    keep_recipe(
        trained_as(model, world, "1.3.0+retrain.0"), BUCKET, world.storage, "2026-01-02T03:04:05+00:00"
    )
    assert recipe(world).training == reader.training(model, BUCKET)


def test_the_subject_is_the_same_from_recipe_and_manifest(world: World, model: Model) -> None:
    keep_recipe(
        trained_as(model, world, "1.3.0+retrain.0"), BUCKET, world.storage, "2026-01-02T03:04:05+00:00"
    )
    assert retraining_rules.of_recipe(recipe(world)) == retraining_rules.of_manifest(
        model, "1.3.0", None, BUCKET
    )
