"""What a job's variables say about its pipeline.

https://docs.gitlab.com/ci/variables/predefined_variables/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

from mlops.base.errors import SettingsError
from mlops.contracts.runs import MERGE_REQUEST_SOURCE, Origin
from mlops.contracts.upstream import PREFIX, Change

Kind = Literal["merge_request", "default_branch", "branch", "tag", "schedule", "local"]


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """The pipeline of this job; `local` kind when there is none."""

    kind: Kind
    pipeline_id: str
    pipeline_iid: int
    merge_request_iid: int | None
    commit_sha: str
    ref: str
    default_branch: str
    server_url: str
    project_id: str
    origin: Origin
    downstream: bool = False
    """Whether another project started it; commit, ref, merge request and origin are then that project's."""
    upstream_pipeline_id: str = ""

    @classmethod
    def from_environment(cls, variables: Mapping[str, str]) -> Pipeline:
        """Read the predefined variables.

        Raises:
            SettingsError: when a variable that must be a number is none.
        """
        found = cls._read(variables)
        if found.kind != "merge_request":
            return found
        # GitLab calls a child pipeline of a merge request's parent_pipeline.
        return replace(found, origin=replace(found.origin, pipeline_source=MERGE_REQUEST_SOURCE))

    @classmethod
    def _read(cls, variables: Mapping[str, str]) -> Pipeline:
        ours = cls._own(variables)
        if variables.get("CI_PIPELINE_SOURCE") != "pipeline" or not variables.get(f"{PREFIX}CHANGE"):
            return ours
        # The job fetch has asked GitLab for these. Numbers of pipelines and jobs stay ours.
        upstream = {
            name: variables.get(f"{PREFIX}{name}", "") for name in ("COMMIT", "REF", "CHANGE", "TITLE")
        }
        if upstream["CHANGE"] not in get_args(Change):
            raise SettingsError(
                f"{PREFIX}CHANGE is {upstream['CHANGE']!r}", next_step="Leave it to the job fetch."
            )
        return replace(
            ours,
            kind=cast(Kind, upstream["CHANGE"]),
            merge_request_iid=_number(variables, f"{PREFIX}MERGE_REQUEST"),
            commit_sha=upstream["COMMIT"],
            ref=upstream["REF"],
            downstream=True,
            upstream_pipeline_id=variables.get(f"{PREFIX}PIPELINE_ID", ""),
            origin=replace(
                ours.origin,
                project_path=variables.get(f"{PREFIX}PROJECT_PATH", ""),
                ref=upstream["REF"],
                commit_sha=upstream["COMMIT"],
                commit_title=upstream["TITLE"],
                pipeline_source=variables.get(f"{PREFIX}SOURCE", ""),
            ),
        )

    @classmethod
    def _own(cls, variables: Mapping[str, str]) -> Pipeline:
        return cls(
            kind=_kind(variables),
            pipeline_id=variables.get("CI_PIPELINE_ID", "0"),
            pipeline_iid=_number(variables, "CI_PIPELINE_IID") or 0,
            merge_request_iid=_number(variables, "CI_MERGE_REQUEST_IID"),
            commit_sha=variables.get("CI_COMMIT_SHA", ""),
            ref=variables.get("CI_COMMIT_REF_NAME", ""),
            default_branch=variables.get("CI_DEFAULT_BRANCH", "main"),
            server_url=variables.get("CI_SERVER_URL", ""),
            project_id=variables.get("CI_PROJECT_ID", ""),
            origin=Origin(
                project_path=variables.get("CI_PROJECT_PATH", ""),
                ref=variables.get("CI_COMMIT_REF_NAME", ""),
                commit_sha=variables.get("CI_COMMIT_SHA", ""),
                commit_title=variables.get("CI_COMMIT_TITLE", "")[:200],
                pipeline_url=variables.get("CI_PIPELINE_URL", ""),
                pipeline_source=variables.get("CI_PIPELINE_SOURCE", ""),
                job_url=variables.get("CI_JOB_URL", ""),
                user=variables.get("GITLAB_USER_LOGIN", ""),
            ),
        )


def _kind(variables: Mapping[str, str]) -> Kind:
    if not variables.get("CI_PIPELINE_SOURCE"):
        return "local"
    if variables["CI_PIPELINE_SOURCE"] == "schedule":
        return "schedule"
    if variables.get("CI_MERGE_REQUEST_IID"):
        return "merge_request"
    if variables.get("CI_COMMIT_TAG"):
        return "tag"
    if variables.get("CI_COMMIT_BRANCH") == variables.get("CI_DEFAULT_BRANCH", "main"):
        return "default_branch"
    return "branch"


def _number(variables: Mapping[str, str], name: str) -> int | None:
    text = variables.get(name, "")
    if text and not text.isdecimal():
        raise SettingsError(f"{name} is not a number", cause=f"found {text!r}")
    return int(text) if text else None
