"""Two models of one repository, through real engines: three pushes, on the stack that the demo left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from mlops_local.command.inbox import messages
from mlops_local.command.run import push, upload_data
from mlops_local.pipelines import pipeline
from mlops_local.pipelines.pipeline import PipelineRun
from mlops_local.stack import sdk
from mlops_local.stack.stack import Stack
from tests.e2e.conftest import Demo, change, commit, repository

CHECKS = ("lint", "test")
CHAIN = (*CHECKS, "containerize", "train", "evaluate", "deploy", "notify")
TRAINED = dict.fromkeys((*CHECKS, "containerize", "train", "evaluate"), "success")
GREEN = {**TRAINED, "deploy": "manual", "notify": "skipped"}
STOPPED = dict.fromkeys(("containerize", "train", "evaluate", "deploy"), "skipped")


@dataclass(frozen=True)
class Pushes:
    """What three pushes came to, and what was told after the second."""

    stack: Stack
    both: PipelineRun
    one_broken: PipelineRun
    repaired: PipelineRun
    told: list[str]


@pytest.fixture(scope="module")
def pushes(in_processes: Demo, tmp_path_factory: pytest.TempPathFactory) -> Pushes:
    """Both models; a better `species` and a `body-mass` whose tests fail; a `body-mass` that works again."""
    stack = in_processes.stack
    linted = {
        "lint-paths: conftest.py penguins species": "lint-paths: conftest.py",
        "lint-paths: conftest.py penguins body_mass": "lint-paths: conftest.py",
    }
    penguins = repository("penguins", tmp_path_factory.mktemp("pushes"), linted)
    upload_data(stack, penguins)
    both = _push(stack, penguins, "feat: tell species and body mass of penguins")
    before = len(messages(stack))
    change(penguins / "species" / "model.py", '("bill_length_mm",', '("bill_length_mm", "bill_depth_mm",')
    change(penguins / "body_mass" / "model.py", 'LABEL = "body_mass_g"', 'LABEL = "body_mass_kg"')
    one_broken = _push(stack, penguins, "feat: look at the depth of the bill, and weigh in kilograms")
    told = [message["subject"] for message in messages(stack)[before:]]
    change(penguins / "body_mass" / "model.py", 'LABEL = "body_mass_kg"', 'LABEL = "body_mass_g"')
    change(penguins / "body_mass" / "model.py", '"sex")', '"sex", "species")')
    repaired = _push(stack, penguins, "fix: weigh in grams again, and look at the species")
    return Pushes(stack, both, one_broken, repaired, told)


def _push(stack: Stack, folder: Path, message: str) -> PipelineRun:
    commit(folder, message)
    return pipeline.run(stack, *push(stack, folder), echo=lambda _: None)


def states(done: PipelineRun) -> dict[str, str]:
    return {job.name: job.state for job in done.jobs}


def of(model: str, wanted: dict[str, str]) -> dict[str, str]:
    return {f"{model}:{job}": state for job, state in wanted.items()}


def test_one_push_trains_both_models(pushes: Pushes) -> None:
    done = pushes.both

    assert states(done) == of("species", GREEN) | of("body-mass", GREEN)
    for model in ("species", "body-mass"):
        assert done.job(f"{model}:containerize").variables["MODEL_NAME"] == model
        assert done.job(f"{model}:containerize").variables["IMAGE_VERSION"] == "1.0.0"
        # Of this model's own training, though both have variables of the same names.
        assert done.job(f"{model}:evaluate").variables["GATE"] == "passed"
        assert f"/penguins/{model}/1.0.0_" in done.job(f"{model}:train").variables["EVIDENCE_URI"]


def test_each_report_is_of_its_kind(pushes: Pushes) -> None:
    reports = {
        model: (pushes.both.job(f"{model}:evaluate").artifacts / "evaluation" / "evaluation.md").read_text()
        for model in ("species", "body-mass")
    }

    assert "| Chinstrap " in reports["species"] and "| f1\\_macro " in reports["species"]
    assert "Confusion" not in reports["body-mass"]
    for metric in ("mse", "rmse", "mae", "r2"):
        assert f"| {metric} " in reports["body-mass"]


def test_a_model_that_fails_leaves_the_other_green(pushes: Pushes) -> None:
    done = pushes.one_broken
    broken = {"lint": "success", "test": "failed", **STOPPED, "notify": "success"}

    found = states(done)
    # The pipeline has failed, so GitLab offers each model's notify; that of `species` has nothing to tell.
    assert found.pop("species:notify") == "success"
    assert found == of("species", {**TRAINED, "deploy": "manual"}) | of("body-mass", broken)
    assert not done.succeeded
    assert done.job("species:train").variables["MODEL_VERSION"] == "1.1.0+retrain.0"
    failures = [subject for subject in pushes.told if "FAILED" in subject]
    assert failures and all("body-mass:test" in subject for subject in failures)
    assert not any(subject.startswith("species") for subject in failures)


def test_a_push_that_touches_one_model_builds_only_that(pushes: Pushes) -> None:
    done = pushes.repaired

    assert states(done) == of("body-mass", GREEN)
    assert done.job("body-mass:containerize").variables["IMAGE_BUILT"] == "true"
    assert done.job("body-mass:containerize").variables["IMAGE_VERSION"] == "1.1.0"
    models = sdk.client(pushes.stack, "sagemaker").list_models(NameContains="penguins--")["Models"]
    assert {model["ModelName"] for model in models} == {
        "penguins--species--1-0-0--r0",
        "penguins--species--1-1-0--r0",
        "penguins--body-mass--1-0-0--r0",
        "penguins--body-mass--1-1-0--r0",
    }
