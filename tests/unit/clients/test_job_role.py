"""The role of a CI job: the file of its token, and what programs see of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mlops.clients.aws.job_role import job_role

ROLE = "arn:aws:iam::123456789012:role/ci"
JOB = {
    "MLOPS_ID_TOKEN": "header.claims.signature",
    "MLOPS_AWS_ROLE_ARN": ROLE,
    "CI_PROJECT_ID": "3",
    "CI_JOB_ID": "77",
    "AWS_ACCESS_KEY_ID": "own",
    "AWS_SECRET_ACCESS_KEY": "own",
    "AWS_SESSION_TOKEN": "own",
}


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_the_token_lies_in_a_file_that_only_the_job_reads(tmp_path: Path) -> None:
    variables = dict(JOB)
    with job_role(variables):
        file = Path(variables["AWS_WEB_IDENTITY_TOKEN_FILE"])
        assert file.read_text(encoding="utf-8") == "header.claims.signature"
        assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
        assert (variables["AWS_ROLE_ARN"], variables["AWS_ROLE_SESSION_NAME"]) == (ROLE, "gitlab-3-77")
        # Keys would win over the role, and no program that a command starts needs the token itself.
        assert "own" not in variables.values()
        assert "MLOPS_ID_TOKEN" not in variables
    assert variables == JOB
    assert list(tmp_path.iterdir()) == []


def test_it_is_gone_when_the_command_fails(tmp_path: Path) -> None:
    variables = dict(JOB)
    with pytest.raises(ValueError, match="no"), job_role(variables):
        raise ValueError("no")
    assert variables == JOB
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "variables",
    [
        {"MLOPS_ID_TOKEN": "a.b.c"},
        {"MLOPS_ID_TOKEN": "a.b.c", "MLOPS_AWS_ROLE_ARN": ""},
        # as a runner that leaves unknown variables alone would write it
        {"MLOPS_ID_TOKEN": "a.b.c", "MLOPS_AWS_ROLE_ARN": "$MLOPS_TRAIN_ROLE_ARN"},
        {"MLOPS_AWS_ROLE_ARN": ROLE},
    ],
)
def test_without_a_role_or_a_token_the_runners_own_credentials_stay(
    tmp_path: Path, variables: dict[str, str]
) -> None:
    given = {"AWS_ACCESS_KEY_ID": "own", **variables}
    with job_role(given):
        assert given == {"AWS_ACCESS_KEY_ID": "own", **variables}
        assert list(tmp_path.iterdir()) == []


# In place of a command: a program that it starts, which looks for the token, and waits.
COMMAND = """
import importlib, os, subprocess, sys
from types import SimpleNamespace
from mlops import cli

def run(arguments):
    subprocess.run(
        ["sh", "-c", 'cat "$AWS_WEB_IDENTITY_TOKEN_FILE"; echo " ${MLOPS_ID_TOKEN-none}"; exec sleep "$SECONDS_LEFT"'],
        check=True,
    )
    raise SystemExit(7)

cli.importlib = SimpleNamespace(import_module=lambda name: SimpleNamespace(run=run))
sys.exit(cli.main(["notify"]))
"""


@pytest.mark.parametrize(("seconds", "code"), [(0, 7), (60, 143)])
def test_no_token_outlives_a_command(tmp_path: Path, seconds: int, code: int) -> None:
    """As GitLab's runner ends a job: a signal to all its processes."""
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND],
        env={"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path), "SECONDS_LEFT": str(seconds), **JOB},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as job:
        assert job.stdout is not None
        assert job.stdout.readline() == "header.claims.signature none\n"
        if code == 143:
            os.killpg(job.pid, signal.SIGTERM)
        assert job.wait(30) == code
    assert list(tmp_path.iterdir()) == []
