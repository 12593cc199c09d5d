"""What a pipeline that another project started is about: what its trigger claims, and what GitLab says.

The trigger's inputs are words of the author of the upstream's `.gitlab-ci.yml`, on any branch. Only what
GitLab says reaches the stages, by way of the variables below.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Change = Literal["default_branch", "merge_request", "branch"]

PREFIX = "MLOPS_UPSTREAM_"
TOKEN = "MLOPS_UPSTREAM_TOKEN"  # noqa: S105  # the variable's name
_TITLE_LIMIT = 200
# Runners fill variables in where a dotenv report's value names one: a commit called "$MLOPS_ID_TOKEN" would
# send that of each later job to every recipient of messages about the model.
_REFERENCE = re.compile(r"[$%](?=[A-Za-z_{])")


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What the trigger says; zero or empty if it says nothing."""

    project_id: int
    project_path: str
    commit: str
    ref: str
    change: Change
    merge_request: int = 0
    pipeline_id: int = 0
    artifact_job: str = "code"
    artifact_job_id: int = 0
    artifact_sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class Upstream:
    """What GitLab says; `merge_request` is zero if there is none, `pipeline_id` empty if it is not known."""

    project_id: int
    project_path: str
    commit: str
    title: str
    ref: str
    change: Change
    source: str
    merge_request: int = 0
    pipeline_id: int = 0

    def variables(self) -> dict[str, str]:
        """For the other jobs' environment."""
        title = _inert(" ".join(self.title.split()))[:_TITLE_LIMIT]
        return {
            f"{PREFIX}PROJECT_ID": str(self.project_id),
            f"{PREFIX}PROJECT_PATH": self.project_path,
            f"{PREFIX}COMMIT": self.commit,
            f"{PREFIX}TITLE": title,
            f"{PREFIX}REF": _inert(self.ref),
            f"{PREFIX}CHANGE": self.change,
            f"{PREFIX}SOURCE": self.source,
            f"{PREFIX}MERGE_REQUEST": str(self.merge_request or ""),
            f"{PREFIX}PIPELINE_ID": str(self.pipeline_id or ""),
        }


def _inert(text: str) -> str:
    return _REFERENCE.sub(r"\g<0> ", text)


def passed_in(variables: Mapping[str, str]) -> list[str]:
    """Names that only `fetch` may set, or that decide on roles, and which are there before it ran.

    A variable of the trigger would win over those of every job.
    """
    ours = {f"{PREFIX}{name}" for name in _FACTS} | {
        "MLOPS_AWS_ROLE_ARN",
        "MLOPS_OVERRIDE",
        "BASH_ENV",
    }
    return sorted(name for name in ours if variables.get(name))


_FACTS = (
    *("PROJECT_ID", "PROJECT_PATH", "COMMIT", "TITLE", "REF", "CHANGE", "SOURCE"),
    *("MERGE_REQUEST", "PIPELINE_ID"),
)
