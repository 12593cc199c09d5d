"""The entry point as SageMaker runs it: verbs, exit codes and the texts it reads."""

from __future__ import annotations

import json
import sys

import pytest

from phishing_url import __main__ as entry_point
from phishing_url.container import ModelError, Paths


@pytest.fixture(name="container")
def fixture_container(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> Paths:
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(paths.base))
    return paths


def run(monkeypatch: pytest.MonkeyPatch, verb: str) -> int:
    monkeypatch.setattr(sys, "argv", ["phishing_url", verb])
    return entry_point.main()


def test_train_takes_its_identity_from_the_environment(
    container: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_MODEL_VERSION", "1.2.3+retrain.4")
    monkeypatch.setenv("MLOPS_DATA_FINGERPRINT", "c0ffee")
    assert run(monkeypatch, "train") == 0
    metadata = json.loads((container.model / "metadata.json").read_text(encoding="utf-8"))
    assert metadata["version"] == "1.2.3+retrain.4"
    assert metadata["training_data"]["fingerprint"] == "c0ffee"


def test_a_failed_training_leaves_its_reason(container: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    container.hyper_parameters.parent.mkdir(parents=True)
    container.hyper_parameters.write_text('{"colour": "red"}', encoding="utf-8")
    assert run(monkeypatch, "train") == 1
    assert "Unknown hyper-parameter 'colour'" in container.failure.read_text(encoding="utf-8")


def test_an_unexpected_error_leaves_its_type(container: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(verb: str, paths: Paths) -> None:
        raise RuntimeError(f"{verb} exploded " + "x" * 2000 + str(paths))

    monkeypatch.setattr(entry_point, "run", explode)
    assert run(monkeypatch, "train") == 1
    reason = container.failure.read_text(encoding="utf-8")
    assert reason.startswith("RuntimeError: train exploded")
    assert len(reason) == entry_point.FAILURE_LIMIT


def test_a_failed_evaluation_leaves_its_reason(container: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "evaluate") == 1
    assert "no readable model archive" in container.message.read_text(encoding="utf-8")


def test_a_server_that_cannot_start_says_so_and_leaves_no_note(
    container: Paths, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(paths: Paths) -> None:
        raise ModelError(f"There is no model in {paths.model}")

    monkeypatch.setattr("phishing_url.serve.serve", refuse)
    assert run(monkeypatch, "serve") == 1
    assert "error: There is no model in" in caplog.text
    assert not container.failure.exists()
    assert not container.message.exists()


def test_an_unknown_verb_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, "predict")
