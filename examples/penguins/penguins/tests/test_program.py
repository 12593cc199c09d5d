"""The entry point as SageMaker runs it, and archives: broken ones and hostile ones."""

from __future__ import annotations

import io
import json
import pickle
import sys
import tarfile
from collections.abc import Callable
from typing import Any

import pytest
import skops.io
from sklearn.dummy import DummyClassifier

from penguins import artifact
from penguins.columns import Row
from penguins.container import Identity, ModelError, Paths
from penguins.program import FAILURE_LIMIT, Program, main


@pytest.fixture(name="program")
def fixture_program() -> Program:
    """A model that always says `Adelie`."""

    def train(rows: list[Row], _: Paths, identity: Identity) -> artifact.Model:
        estimator = DummyClassifier().fit([[0.0]], ["Adelie"])
        metadata = {"name": identity.name, "version": identity.version, "rows": len(rows)}
        return artifact.Model(estimator, metadata)

    def report(_: artifact.Model, rows: list[Row]) -> dict[str, Any]:
        return {"schema_version": 1, "metrics": {"accuracy": 0.4}, "counts": {"penguins": len(rows)}}

    return Program(name="dummy", label="species", train=train, report=report, predict=lambda *_: [])


@pytest.fixture(name="run")
def fixture_run(paths: Paths, program: Program, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], int]:
    def run(verb: str) -> int:
        monkeypatch.setattr(sys, "argv", ["dummy", verb])
        return main(program)

    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(paths.base))
    return run


def write_archive(paths: Paths, files: dict[str, bytes]) -> None:
    paths.model_archive.parent.mkdir(parents=True)
    with tarfile.open(paths.model_archive, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def test_the_identity_comes_from_the_environment(
    run: Callable[[str], int], paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_MODEL_VERSION", "1.2.3+retrain.4")
    assert run("train") == 0
    metadata = json.loads((paths.model / artifact.METADATA).read_text(encoding="utf-8"))
    assert metadata == {"name": "dummy", "version": "1.2.3+retrain.4", "rows": 239}


def test_an_evaluation_is_written(run: Callable[[str], int], paths: Paths) -> None:
    run("train")
    write_archive(paths, {file.name: file.read_bytes() for file in paths.model.iterdir()})
    assert run("evaluate") == 0
    assert json.loads(paths.evaluation.read_text(encoding="utf-8"))["counts"] == {"penguins": 103}


def test_a_failed_training_leaves_its_reason(run: Callable[[str], int], paths: Paths) -> None:
    for file in paths.training_data.iterdir():
        file.write_text("colour\nblack\n", encoding="utf-8")
    assert run("train") == 1
    assert "line 2: unknown column 'colour'" in paths.failure.read_text(encoding="utf-8")


def test_a_failed_evaluation_leaves_its_reason(run: Callable[[str], int], paths: Paths) -> None:
    assert run("evaluate") == 1
    assert "no readable model archive" in paths.message.read_text(encoding="utf-8")


def test_an_unexpected_error_leaves_its_type(
    run: Callable[[str], int], paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: object) -> None:
        raise RuntimeError("exploded " + "x" * 2000)

    monkeypatch.setattr(artifact, "save", explode)
    assert run("train") == 1
    reason = paths.failure.read_text(encoding="utf-8")
    assert reason.startswith("RuntimeError: exploded") and len(reason) == FAILURE_LIMIT


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"other.txt": b"?"}, "holds no model.skops"),
        ({artifact.MODEL: pickle.dumps({}), artifact.METADATA: b"{}"}, "is broken"),
        (
            {artifact.MODEL: skops.io.dumps(ModelError()), artifact.METADATA: b"{}"},
            "not known to be harmless",
        ),
    ],
    ids=["no model", "a pickle, never run", "an unknown type, never built"],
)
def test_an_archive_that_cannot_be_trusted_is_refused(
    paths: Paths, files: dict[str, bytes], message: str
) -> None:
    write_archive(paths, files)
    with pytest.raises(ModelError, match=message):
        artifact.load_archive(paths.model_archive)


def test_a_directory_without_a_model_is_an_error(paths: Paths) -> None:
    with pytest.raises(ModelError, match="There is no model in"):
        artifact.load(paths.model)
