"""A group's CI variables, as python-gitlab and its command set them, and as pipelines get them.

https://docs.gitlab.com/api/group_level_variables/
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gitlab
import pytest
import requests
from gitlab.exceptions import GitlabCreateError, GitlabUpdateError

from mlops_local.gitlab.variables import for_pipeline
from mlops_local.stack.stack import Stack

KEYS = {
    "variable_type", "key", "value", "protected", "masked", "hidden", "raw", "environment_scope", "description",
}  # fmt: skip


def groups(stack: Stack, group: str = "models") -> gitlab.v4.objects.Group:
    return gitlab.Gitlab(stack.gitlab_url, private_token="x").groups.get(group, lazy=True)


def home(stack: Stack) -> Path:
    return stack.folder / "gitlab"


def test_a_variable_is_made_changed_and_listed(stack: Stack) -> None:
    made = groups(stack).variables.create({"key": "ROLE", "value": "first", "protected": True})
    assert set(made.attributes) - {"group_id"} == KEYS
    made.value = "second"
    made.save()
    (found,) = groups(stack).variables.list(get_all=True)
    assert (found.key, found.value, found.protected) == ("ROLE", "second", True)


def test_the_command_of_python_gitlab_makes_one(stack: Stack) -> None:
    command = [
        str(Path(sys.executable).with_name("gitlab")),
        *("group-variable", "create", "--group-id", "models", "--key", "ROLE", "--value", "arn:aws:iam::1:role/x"),
    ]  # fmt: skip
    who = {"GITLAB_URL": stack.gitlab_url, "GITLAB_PRIVATE_TOKEN": "x"}
    subprocess.run(command, check=True, capture_output=True, env=who)
    assert for_pipeline(home(stack), "models/spam", protected=True) == {"ROLE": "arn:aws:iam::1:role/x"}


def test_trouble_is_answered_as_gitlab_does(stack: Stack) -> None:
    variables = groups(stack).variables
    variables.create({"key": "ROLE", "value": "x"})
    with pytest.raises(GitlabCreateError, match="already been taken"):
        variables.create({"key": "ROLE", "value": "y"})
    with pytest.raises(GitlabCreateError, match="key is invalid"):
        variables.create({"key": "NO KEY", "value": "y"})
    with pytest.raises(GitlabUpdateError, match="Not Found"):
        variables.update("OTHER", {"value": "y"})


def test_a_job_token_may_not(stack: Stack) -> None:
    url = f"{stack.gitlab_url}/api/v4/groups/models/variables"
    assert requests.get(url, headers={"JOB-TOKEN": "x"}, timeout=10).status_code == 401


def test_the_nearest_group_and_the_ref_decide_what_a_pipeline_gets(stack: Stack) -> None:
    groups(stack).variables.create({"key": "ROLE", "value": "group"})
    groups(stack).variables.create({"key": "SECRET", "value": "main only", "protected": True})
    groups(stack, "models/web").variables.create({"key": "ROLE", "value": "subgroup"})
    at = home(stack)
    assert for_pipeline(at, "models/spam", protected=True) == {"ROLE": "group", "SECRET": "main only"}
    assert for_pipeline(at, "models/web/spam", protected=False) == {"ROLE": "subgroup"}
    assert for_pipeline(at, "models-of-others/spam", protected=True) == {}
