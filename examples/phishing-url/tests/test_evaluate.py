"""Evaluation of archives: real ones, broken ones and hostile ones."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
import zipfile

import pytest
import skops.io

from phishing_url import artifact
from phishing_url.container import ModelError, Paths
from phishing_url.evaluate import CURVE_POINTS, SLICES, evaluate


class Untrusted:  # a type skops has no reason to trust
    pass


def write_archive(paths: Paths, files: dict[str, bytes]) -> None:
    paths.model_archive.parent.mkdir(parents=True)
    with tarfile.open(paths.model_archive, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def test_the_report_is_complete_and_adds_up(trained: Paths) -> None:
    evaluate(trained)
    report = json.loads(trained.evaluation.read_text(encoding="utf-8"))
    assert report["schema_version"] == 1
    assert set(report["metrics"]) == {"f1", "accuracy", "precision", "recall", "roc_auc", "log_loss"}
    assert sum(map(sum, report["confusion_matrix"]["matrix"])) == report["counts"]["websites"] == 375
    assert set(report["slices"]) == set(SLICES)
    for curve in report["curves"].values():
        assert len(curve["x"]) == len(curve["y"]) <= CURVE_POINTS
    assert {report["curves"]["roc"][axis][end] for axis in "xy" for end in (0, -1)} == {0.0, 1.0}


def test_the_model_is_good_enough_to_start_with(trained: Paths) -> None:
    assert evaluate(trained)["metrics"]["f1"] > 0.75


def test_a_missing_archive_is_an_error(paths: Paths) -> None:
    with pytest.raises(ModelError, match=r"model\.tar\.gz is no readable model archive"):
        evaluate(paths)


def test_an_archive_without_a_model_is_an_error(paths: Paths) -> None:
    write_archive(paths, {"other.txt": b"?"})
    with pytest.raises(ModelError, match=r"holds no model\.skops"):
        evaluate(paths)


def test_a_truncated_archive_is_an_error(paths: Paths, trained: Paths) -> None:
    paths.model_archive.parent.mkdir(parents=True)
    whole = trained.model_archive.read_bytes()
    paths.model_archive.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="is no readable model archive"):
        evaluate(paths)


def test_a_pickle_is_never_run(paths: Paths) -> None:
    write_archive(paths, {artifact.MODEL: pickle.dumps({}), artifact.METADATA: b"{}"})
    with pytest.raises(ModelError, match="is broken") as caught:
        evaluate(paths)
    assert isinstance(caught.value.__cause__, zipfile.BadZipFile)


def test_an_unknown_type_is_never_built(paths: Paths) -> None:
    write_archive(paths, {artifact.MODEL: skops.io.dumps(Untrusted()), artifact.METADATA: b"{}"})
    with pytest.raises(ModelError, match="not known to be harmless"):
        evaluate(paths)
