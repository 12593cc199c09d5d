"""Variables for later jobs, as a GitLab dotenv report, and the one that several of them read.

No comments, blank lines or multi-line values; at most 20 variables and 5 KB
(https://docs.gitlab.com/ci/yaml/artifacts_reports/#artifactsreportsdotenv).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from mlops.base.errors import ContractError, SettingsError
from mlops.contracts.versions import ModelVersion

VARIABLE_LIMIT = 20
SIZE_LIMIT = 5 * 1024
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def write(path: Path, variables: Mapping[str, str]) -> None:
    """Write the report in one step: a killed job leaves the old file or the new one.

    Raises:
        ContractError: when GitLab would refuse the report.
    """
    for name, value in variables.items():
        if not _NAME.fullmatch(name) or "\n" in value or "\r" in value:
            raise ContractError(
                f"{name} cannot travel in {path.name}", cause="a name or a line break in the value"
            )
    text = "".join(f"{name}={value}\n" for name, value in variables.items())
    if len(variables) > VARIABLE_LIMIT or len(text.encode()) > SIZE_LIMIT:
        raise ContractError(
            f"{path.name} is too large for GitLab",
            cause=f"{len(variables)} variables in {len(text.encode())} bytes;"
            f" {VARIABLE_LIMIT} in {SIZE_LIMIT} are allowed",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".part")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def model_version(given: str | None, variables: Mapping[str, str]) -> ModelVersion:
    """The model version that a person gives, or that the job train handed over.

    Raises:
        SettingsError: when there is none.
        VersionError: when it is none.
    """
    text = given or variables.get("MODEL_VERSION", "")
    if not text:
        raise SettingsError(
            "MODEL_VERSION is missing",
            cause="it comes from the job train, in train.env",
            next_step="Have this job need train, or give --model-version.",
        )
    return ModelVersion.parse(text)
