"""What it costs to decide, in an account of ten thousand models: every call counted as botocore makes it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mlops.cli import main

from . import crowd
from .conftest import Crowd

MODEL = """\
  {name}:
    training: {{channels: {{train: data/{name}/train/}}}}
    evaluation: {{data: data/{name}/test/, metrics: [{{name: f1}}]}}
    deployment: {{smoke_test: {{body: {{}}}}}}
    retraining: {{max_age: 30d, on_new_data: false, on_drift: {drift}}}
"""


def decide(folder: Path, *names: str, drift: str = "false") -> dict[str, Any]:
    """Run `mlops retrain --dry-run`; what it says of each model."""
    text = "project: shop\nmodels:\n" + "".join(MODEL.format(name=name, drift=drift) for name in names)
    (folder / "mlops.yml").write_text(text, encoding="utf-8")
    table = folder / "retraining.md"
    arguments = ["retrain", "--dry-run", "--manifest", str(folder / "mlops.yml"), "--table", str(table)]
    assert main(arguments) == 0
    return {
        line["model"]: line for line in json.loads(table.with_suffix(".json").read_text(encoding="utf-8"))
    }


def test_there_are_ten_thousand(crowded: Crowd) -> None:
    pages = (
        crowded.client("sagemaker").get_paginator("list_models").paginate(PaginationConfig={"PageSize": 100})
    )
    assert sum(len(page["Models"]) for page in pages) == crowd.TOTAL


@pytest.mark.parametrize(
    ("name", "due", "last", "calls"),
    [
        ("m10", False, "1.2.0+retrain.7", 1),
        # the newest ten that contain the name are another project's, or pre-releases of merge requests
        ("m00", False, "1.2.0+retrain.7", 2),
        ("m01", False, "1.2.0+retrain.7", 2),
        # somebody ran an old pipeline again
        ("m02", False, "1.2.0+retrain.7", 1),
        ("m03", True, "1.1.0+retrain.11", 1),
    ],
)
def test_one_model_takes_two_calls_at_most(
    crowded: Crowd, tmp_path: Path, name: str, due: bool, last: str, calls: int
) -> None:
    line = decide(tmp_path, name)[name]
    assert (line["due"], line["last_version"]) == (due, last)
    assert crowded.asked("sagemaker") == ["ListModels"] * calls


def test_fifty_models_take_sixty_calls_at_most(crowded: Crowd, tmp_path: Path) -> None:
    lines = decide(tmp_path, *(f"m{number:02}" for number in range(crowd.MODELS)), drift="true")
    assert len(lines) == 50
    assert [name for name, line in lines.items() if line["due"]] == ["m03"]
    assert Counter(crowded.calls) == {
        "sagemaker ListModels": 52,
        "ecr DescribeImages": 50,
        "s3 HeadObject": 98,  # the comparison of each, and no report of monitoring
        "cloudwatch DescribeAlarms": 1,
        "ssm GetParameter": 1,
    }
    assert len(crowded.asked("sagemaker")) <= 60


def test_a_clock_that_is_an_hour_off_changes_nothing(
    crowded: Crowd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datetime as standard

    known = decide(tmp_path, "m10", "m03")
    for hours in (-1, 1):
        shift = standard.timedelta(hours=hours)

        class Skewed(standard.datetime):
            @classmethod
            def now(cls, tz: Any = None, shift: standard.timedelta = shift) -> Any:
                return standard.datetime.fromtimestamp(standard.datetime.now().timestamp(), tz) + shift

        with monkeypatch.context() as patch:
            for module in (
                "mlops.training.retraining_rules",
                "mlops.training.retrain",
                "mlops.clients.aws.sagemaker",
            ):
                patch.setattr(f"{module}.datetime", Skewed)
            assert decide(tmp_path, "m10", "m03") == known
    assert set(crowded.asked("sagemaker")) == {"ListModels"}
