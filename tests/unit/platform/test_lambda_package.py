"""The zip that Terraform uploads."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import boto3
import pytest

from mlops.base.errors import PrerequisiteError
from mlops.platform import lambda_package

SITE_PACKAGES = Path(boto3.__file__).parent.parent
# What Lambda's Python runtime brings along.
RUNTIME = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "urllib3", "six.py")


def test_the_zip_holds_the_lambda_the_contract_and_nothing_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(lambda_package.build(tmp_path / "new" / "dag-trigger.zip")) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [
            "airflow_api.py",
            "event_shapes.py",
            "events.py",
            "handler.py",
            "mlops/__init__.py",
            "mlops/base/__init__.py",
            "mlops/base/errors.py",
            "mlops/base/strict_json.py",
            "mlops/contracts/__init__.py",
            "mlops/contracts/runs.py",
        ]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["dag-trigger.zip"]


def test_the_same_source_gives_the_same_bytes(tmp_path: Path) -> None:
    first = lambda_package.build(tmp_path / "a.zip")
    handler = Path(lambda_package.__file__).parents[3] / "lambda_trigger" / "handler.py"
    os.utime(handler)
    assert lambda_package.build(tmp_path / "b.zip").read_bytes() == first.read_bytes()


def test_an_installed_package_without_the_source_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        lambda_package, "__file__", str(tmp_path / "lib" / "mlops" / "platform" / "lambda_package.py")
    )
    with pytest.raises(PrerequisiteError, match="dag-trigger"):
        lambda_package.build(tmp_path / "dag-trigger.zip")
    assert not (tmp_path / "dag-trigger.zip").exists()


def test_the_handler_answers_from_the_zip_with_nothing_but_boto3_installed(tmp_path: Path) -> None:
    target = lambda_package.build(tmp_path / "dag-trigger.zip")
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    for name in RUNTIME:
        (runtime / name).symlink_to(SITE_PACKAGES / name)
    program = (
        "import json, types, handler\n"
        "context = types.SimpleNamespace(aws_request_id='1', invoked_function_arn='', get_remaining_time_in_millis=lambda: 60000)\n"
        "answer = handler.handler({'schema_version': 1}, context)\n"
        "assert handler._client() is handler._client()\n"
        "assert json.loads(json.dumps(answer))['problem']['kind'] == 'malformed', answer\n"
    )
    python = shutil.which("python3", path=str(Path(sys.base_prefix) / "bin")) or sys.executable
    result = subprocess.run(
        # -S: no site-packages; -E: no PYTHONPATH of the caller.
        [python, "-S", "-E", "-c", f"import sys; sys.path[1:1] = {[str(target), str(runtime)]}\n{program}"],
        env={"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
