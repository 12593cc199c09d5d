"""What `mlops terraform` tells a person to set in GitLab is what the pipelines read."""

from __future__ import annotations

import re

from mlops.platform import terraform
from mlops_local.base import paths

ROLES = {
    purpose: f"arn:aws:iam::111111111111:role/ml-ops-{purpose}"
    for purpose in ("build", "train", "deploy", "plan", "apply")
}


def test_the_pipelines_read_the_variables_that_people_are_told_to_set() -> None:
    steps = terraform._after("stage", {"role_arns": ROLES})
    told = dict(re.findall(r"GitLab (?:group|project) variable (\w+) = (\S+)", "\n".join(steps)))
    own = (paths.checkout() / ".gitlab-ci.yml").read_text(encoding="utf-8")
    templates = (paths.checkout() / "ci-templates" / "model-pipeline.yml").read_text(encoding="utf-8")

    assert set(told.values()) == set(ROLES.values())
    for name, arn in told.items():
        place = own if arn.endswith(("-plan", "-apply")) else templates
        assert f"${name}" in place, name


def test_an_environment_without_roles_needs_no_variables() -> None:
    assert terraform._after("dev", {}) == ()
