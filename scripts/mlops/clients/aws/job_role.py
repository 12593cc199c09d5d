"""The IAM role of a CI job, taken with the token that GitLab gives it.

Every SDK of AWS takes such a role by itself when two variables name the role and the file of the token:
https://docs.aws.amazon.com/sdkref/latest/guide/feature-assume-role-credentials.html
"""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path

TOKEN = "MLOPS_ID_TOKEN"  # noqa: S105  # a variable's name
ROLE = "MLOPS_AWS_ROLE_ARN"
# Keys win over a token: https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html
_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


@contextmanager
def job_role(variables: MutableMapping[str, str]) -> Iterator[None]:
    """Let a command and the programs that it starts work in the job's role.

    The token lies in a folder that nobody else may enter, and is deleted when the command ends, by SIGTERM
    too. The programs do not find it in their environment.

    What is not an ARN is a CI variable that nobody set: the runner's own credentials stay.

    Args:
        variables: The environment, which is as it was afterwards.
    """
    token, role = variables.get(TOKEN, ""), variables.get(ROLE, "")
    if not token or not role.startswith("arn:"):
        yield
        return
    before = dict(variables)
    terminate = signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        with tempfile.TemporaryDirectory(prefix="mlops-") as folder:
            file = Path(folder) / "token"
            file.touch(mode=0o600)
            file.write_text(token, encoding="utf-8")
            for name in (*_KEYS, TOKEN):
                variables.pop(name, None)
            variables["AWS_ROLE_ARN"] = role
            # CloudTrail names the job by it.
            job = f"{before.get('CI_PROJECT_ID')}-{before.get('CI_JOB_ID')}"
            variables["AWS_ROLE_SESSION_NAME"] = f"gitlab-{job}"
            variables["AWS_WEB_IDENTITY_TOKEN_FILE"] = str(file)
            yield
    finally:
        signal.signal(signal.SIGTERM, terminate)
        variables.clear()
        variables.update(before)
