from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlops.base.errors import SettingsError, TriggerError, UsageError, VersionError
from mlops.base.result import Outcome
from mlops.contracts.evidence import COMPARISON, LINEAGE, OVERRIDE, Lineage
from mlops.contracts.runs import Origin, RunProblem, TrainingConf
from mlops.manifest.reader import Model
from mlops.training.train import TrainingImage, train
from tests.unit.world import World, asked_by_manifest, dotenv_of, pipeline

URI = f"127.0.0.1:5000/web-safety/phishing-url@sha256:{'a' * 64}"
IMAGE = TrainingImage(uri=URI, version="1.3.0")
EVIDENCE = "s3://ml-ops-test/web-safety/phishing-url/1.3.0_retrain.0/"
Start = Callable[..., Outcome]


@pytest.fixture
def start(world: World, model: Model, tmp_path: Path) -> Start:
    def start(image: TrainingImage = IMAGE, **origin: Any) -> Outcome:
        return train(
            model,
            image,
            pipeline(**origin),
            world.platform,
            report=tmp_path / "train.env",
        )

    return start


def test_a_new_image_is_trained_as_its_first_model_version(
    world: World, start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = start()
    (run_id,) = world.airflow.runs
    assert dotenv_of(tmp_path / "train.env") == {
        "MODEL_VERSION": "1.3.0+retrain.0",
        "DAG_ID": "model_training",
        "DAG_RUN_ID": run_id,
        "EVIDENCE_URI": EVIDENCE,
        "TRAINED": "true",
        "TRAINING_REQUEST": asked_by_manifest(),
    }
    conf = world.airflow.confs[run_id]
    assert isinstance(conf, TrainingConf)
    assert (conf.image_uri, conf.image_version, conf.evidence_uri) == (URI, "1.3.0", EVIDENCE)
    assert conf.training.channels == {"train": "s3://ml-ops-test/data/train/"}
    assert conf.training.hyper_parameters == {"depth": "3"}
    assert conf.origin.user == "ann"
    assert outcome.summary == f"Training of phishing-url 1.3.0+retrain.0: run {run_id} started"
    assert "https://airflow.example/run" in capsys.readouterr().err
    assert f"--run-id {run_id}" in outcome.next_steps[0]


def test_an_image_that_was_trained_is_not_trained_again(world: World, start: Start, tmp_path: Path) -> None:
    world.model("1.3.0+retrain.0")
    outcome = start()
    assert not world.airflow.runs
    assert (
        outcome.summary == "phishing-url 1.3.0+retrain.0 is trained and evaluated already: nothing to train"
    )
    variables = dotenv_of(tmp_path / "train.env")
    assert (variables["TRAINED"], variables["DAG_RUN_ID"]) == ("false", "")
    assert variables["MODEL_VERSION"] == "1.3.0+retrain.0"


def test_a_push_that_asks_for_another_training_trains_the_same_image_again(
    world: World, start: Start, tmp_path: Path
) -> None:
    world.model("1.3.0+retrain.0", asked="0" * 64)
    start()
    assert dotenv_of(tmp_path / "train.env")["MODEL_VERSION"] == "1.3.0+retrain.1"
    (conf,) = world.airflow.confs.values()
    assert isinstance(conf, TrainingConf)
    assert conf.evidence_uri.endswith("/1.3.0_retrain.1/")


def test_the_last_training_counts_not_the_first(world: World, start: Start, tmp_path: Path) -> None:
    world.model("1.3.0+retrain.0", asked="0" * 64)
    world.model("1.3.0+retrain.1")
    start()
    assert not world.airflow.runs
    assert dotenv_of(tmp_path / "train.env")["MODEL_VERSION"] == "1.3.0+retrain.1"


def test_trainings_of_other_images_do_not_count(world: World, start: Start, tmp_path: Path) -> None:
    world.model("1.2.0+retrain.4")
    start()
    assert dotenv_of(tmp_path / "train.env")["MODEL_VERSION"] == "1.3.0+retrain.0"


@pytest.mark.parametrize(
    ("champion", "served", "expected"),
    [
        (None, None, "1.3.0+retrain.0"),
        ("1.2.0+retrain.0", "1.2.0+retrain.0", "1.3.0+retrain.0"),
        ("1.2.0+retrain.0", "1.3.0+retrain.0", "1.3.0+retrain.0"),
        # somebody deployed another model since: the comparison says nothing of that one
        ("1.2.0+retrain.0", "1.2.1+retrain.0", "1.3.0+retrain.1"),
        (None, "1.2.1+retrain.0", "1.3.0+retrain.1"),
        ("1.2.0+retrain.0", None, "1.3.0+retrain.1"),
    ],
)
def test_a_comparison_with_what_is_no_longer_in_production_is_made_anew(
    world: World, start: Start, tmp_path: Path, champion: str | None, served: str | None, expected: str
) -> None:
    world.model("1.3.0+retrain.0", champion=champion)
    if served:
        if not served.startswith("1.3.0"):
            world.model(served)
        world.serve(served)
    start()
    variables = dotenv_of(tmp_path / "train.env")
    assert variables["MODEL_VERSION"] == expected
    assert variables["TRAINED"] == ("true" if expected.endswith("1") else "false")


@pytest.mark.parametrize("missing", ["model", "comparison"])
def test_half_of_a_result_is_no_result(world: World, start: Start, missing: str) -> None:
    world.model("1.3.0+retrain.0")
    if missing == "model":
        world.sagemaker.delete_model(ModelName="web-safety--phishing-url--1-3-0--r0")
    else:
        world.storage.delete(EVIDENCE + COMPARISON)
    start()
    assert len(world.airflow.runs) == 1


@pytest.mark.parametrize(("overridden", "expected"), [(False, "1.3.0+retrain.0"), (True, "1.3.0+retrain.1")])
def test_what_somebody_deployed_without_an_evaluation_keeps_its_number(
    world: World, start: Start, tmp_path: Path, overridden: bool, expected: str
) -> None:
    world.model("1.3.0+retrain.0")
    world.storage.delete(EVIDENCE + COMPARISON)
    if overridden:
        world.storage.write(b"{}", EVIDENCE + OVERRIDE, "application/json")
    start()
    assert dotenv_of(tmp_path / "train.env")["MODEL_VERSION"] == expected


def test_a_retried_job_and_another_pipeline_find_the_run(world: World, start: Start, tmp_path: Path) -> None:
    start()
    first = dotenv_of(tmp_path / "train.env")
    outcome = start(number="13")
    assert dotenv_of(tmp_path / "train.env") == first
    assert len(world.airflow.runs) == 1
    assert "joined" in outcome.summary


def test_after_a_failed_run_a_retry_starts_anew(world: World, start: Start) -> None:
    start()
    (first,) = world.airflow.runs
    world.airflow.runs[first] = "failed"
    start()
    assert list(world.airflow.runs) == [first, first[:-1] + "2"]


def test_the_prerelease_of_a_merge_request_is_trained_under_its_own_version(
    world: World, start: Start
) -> None:
    outcome = start(TrainingImage(uri=URI, version="1.3.0-mr42.7"), kind="merge_request", merge_request=42)
    assert outcome.data["model_version"] == "1.3.0-mr42.7+retrain.0"
    assert next(iter(world.airflow.confs.values())).evidence_uri.endswith("/1.3.0-mr42.7_retrain.0/")


def test_a_merge_request_does_not_train_a_release(world: World, start: Start) -> None:
    with pytest.raises(UsageError, match=r"does not train the release 1\.3\.0") as caught:
        start(kind="merge_request", merge_request=42)
    assert "containerize" in caught.value.next_step
    assert not world.airflow.runs


def test_what_a_merge_request_trained_as_a_release_is_trained_again(
    world: World, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    """An earlier release of the platform let it."""
    evidence = world.model("1.3.0+retrain.0")
    lineage = world.storage.read_record(Lineage, evidence + LINEAGE)
    origin = Origin(pipeline_source="merge_request_event")
    world.storage.write_record(replace(lineage, origin=origin), evidence + LINEAGE)
    assert start().data["model_version"] == "1.3.0+retrain.1"
    assert "1.3.0+retrain.0 is trained again: a merge request trained it" in capsys.readouterr().err


def test_a_merge_request_s_own_pre_release_is_not_trained_twice(world: World, start: Start) -> None:
    evidence = world.model("1.3.0-mr42.7+retrain.0")
    lineage = world.storage.read_record(Lineage, evidence + LINEAGE)
    origin = Origin(pipeline_source="merge_request_event")
    world.storage.write_record(replace(lineage, origin=origin), evidence + LINEAGE)
    start(TrainingImage(uri=URI, version="1.3.0-mr42.7"), kind="merge_request", merge_request=42)
    assert not world.airflow.runs


def test_a_schedule_trains_nothing(world: World, start: Start, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="schedule"):
        start(kind="schedule")
    assert not world.airflow.runs
    assert not (tmp_path / "train.env").exists()


def test_airflow_down_leaves_nothing_behind_and_a_retry_starts(
    world: World, start: Start, tmp_path: Path
) -> None:
    world.airflow.problem = RunProblem(
        kind="airflow_unavailable", message="Airflow answered 503", next_step="Try again.", retryable=True
    )
    with pytest.raises(TriggerError, match="airflow unavailable") as caught:
        start()
    assert (caught.value.cause, caught.value.next_step) == ("Airflow answered 503", "Try again.")
    assert not (tmp_path / "train.env").exists()
    world.airflow.problem = None
    start()
    assert len(world.airflow.runs) == 1


def _read(uri: str = "", version: str = "", **variables: str) -> TrainingImage:
    arguments = argparse.Namespace(image_uri=uri or None, image_version=version or None)
    return TrainingImage.read(arguments, variables)


def test_the_image_comes_from_the_job_containerize_or_the_command_line() -> None:
    assert _read(IMAGE_URI=URI, IMAGE_VERSION="1.3.0") == IMAGE
    assert _read(URI, "1.3.0", IMAGE_URI="other", IMAGE_VERSION="2.0.0") == IMAGE


@pytest.mark.parametrize("missing", ["IMAGE_URI", "IMAGE_VERSION"])
def test_without_an_image_the_job_that_makes_it_is_named(missing: str) -> None:
    variables = {"IMAGE_URI": URI, "IMAGE_VERSION": "1.3.0"}
    del variables[missing]
    with pytest.raises(SettingsError, match=f"{missing} is missing") as caught:
        _read(**variables)
    assert "containerize" in caught.value.cause


def test_an_image_must_be_named_by_digest_and_version() -> None:
    with pytest.raises(SettingsError, match="digest"):
        _read(IMAGE_URI="registry/web-safety/phishing-url:1.3.0", IMAGE_VERSION="1.3.0")
    with pytest.raises(VersionError):
        _read(IMAGE_URI=URI, IMAGE_VERSION="latest")
