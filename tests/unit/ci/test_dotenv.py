from __future__ import annotations

from pathlib import Path

import pytest

from mlops.base.errors import ContractError, SettingsError, VersionError
from mlops.ci import dotenv


def test_variables_are_written_one_a_line(tmp_path: Path) -> None:
    dotenv.write(tmp_path / "out" / "train.env", {"MODEL_NAME": "phishing-url", "DAG_RUN_ID": ""})
    assert (tmp_path / "out" / "train.env").read_text() == "MODEL_NAME=phishing-url\nDAG_RUN_ID=\n"


@pytest.mark.parametrize(
    "variables",
    [
        {"A": "two\nlines"},
        {"A": "carriage\rreturn"},
        {"1A": "x"},
        {"A-B": "x"},
        {f"V{number}": "x" for number in range(dotenv.VARIABLE_LIMIT + 1)},
        {"A": "x" * dotenv.SIZE_LIMIT},
    ],
    ids=["newline", "return", "digit", "hyphen", "many", "large"],
)
def test_what_gitlab_would_refuse_is_refused_and_leaves_nothing(
    tmp_path: Path, variables: dict[str, str]
) -> None:
    with pytest.raises(ContractError):
        dotenv.write(tmp_path / "train.env", variables)
    assert list(tmp_path.iterdir()) == []


def test_a_report_is_replaced_in_one_step(tmp_path: Path) -> None:
    dotenv.write(tmp_path / "a.env", {"A": "1"})
    dotenv.write(tmp_path / "a.env", {"A": "2"})
    assert [file.read_text() for file in tmp_path.iterdir()] == ["A=2\n"]


def test_the_version_comes_from_the_job_train_or_the_command_line() -> None:
    new, old = "1.3.0+retrain.0", "1.2.0+retrain.0"
    assert str(dotenv.model_version(None, {"MODEL_VERSION": new})) == new
    assert str(dotenv.model_version(old, {"MODEL_VERSION": new})) == old
    with pytest.raises(SettingsError, match="MODEL_VERSION is missing"):
        dotenv.model_version(None, {})
    with pytest.raises(VersionError):
        dotenv.model_version(None, {"MODEL_VERSION": "latest"})
