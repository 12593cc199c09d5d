"""Inputs are typed, described and validated; a wrong one stops the pipeline before a job starts."""

from __future__ import annotations

import re
from typing import Any

import pytest

from mlops.base.errors import LocalStackError

ROLES = (
    "apply-role-arn",
    "aws-role-arn",
    "build-role-arn",
    "deploy-role-arn",
    "merge-request-build-role-arn",
    "merge-request-role-arn",
    "merge-request-train-role-arn",
    "plan-role-arn",
    "train-role-arn",
)

# What must not get past an input's pattern: a shell's own characters, options, other folders.
REFUSED = {
    "model": ["", "Phishing", "a b", "a;b", "$(id)", "a--b", "-a", "a/b"],
    "manifest": ["", "mlops.json", "-x.yml", "a b.yml", "$(id).yml", "a.yml;id", "/etc/a.yml"],
    "environment": ["", "Prod", "a b", "a;b", "$X", "-a"],
    "job-prefix": ["A:", "a b:", "$x:", "a;", "a"],
    "requirements": ["", "-r", "a b", "a;b", "$(id)", "../a$"],
    "paths": ["", "a;b", "$(id)", "a|b", "`id`", "a&b"],
    "lint-paths": ["", "a;b", "$(id)", "a|b", "`id`", "a&b"],
    "arguments": ["a;b", "$(id)", "a|b", "`id`", "a&b", "a\nb", "a>b"],
    "containerize-arguments": ["a;b", "$(id)", "a|b", "`id`", "a&b", "a\nb", "a>b"],
    "test-arguments": ["a;b", "$(id)", "a|b", "`id`", "a&b", "a\nb", "a>b"],
    "docker-host": ["", "http://a", "tcp://a b", "tcp://$X"],
    **{
        key: ["role", "arn:aws:iam::12:role/x", "arn:aws:iam::123456789012:user/x", "$(id)", "$A$B"]
        for key in ROLES
    },
    "aws-audience": ["", "https://gitlab.example.com/", "a b", "$CI_SERVER_URL/"],
    "evaluate-timeout": ["", "-1 day", "0", "1 hour;id", "$X", "3.5h"],
    "deploy-timeout": ["", "-1 day", "0", "1 hour;id", "$X", "3.5h"],
    "directory": ["", "-x", "a b", "a;b", "$(id)", "/etc"],
    "after": ["Prod", "a b", "$X", "-a"],
    "branch": ["", "-a", "a b", "$X", "a;b"],
    "project": ["", "ml-ops", "a b/c", "$X/c", "/a/b"],
    "python-image": ["", "-a", "a b", "$X", "a;b"],
    "model-path": ["a", "/a/", "a b/", "$X/", "a//"],
    "project-id": ["", "a", "-1", "1 2", "$CI_PROJECT_ID"],
    "project-path": ["", "a", "a b/c", "$CI_PROJECT_PATH", "a/b;c", "../a"],
    "commit": ["", "main", "HEAD", "A" * 40, "a" * 39, "$CI_COMMIT_TITLE"],
    "ref": ["", "-a", "a b", "$X", "a'b", 'a"b', "`id`", "a\\b"],
    "pipeline-id": ["", "a", "-1", "$CI_PIPELINE_ID", "$(id)"],
    "merge-request": ["a", "-1", "!3", "$(id)", "1;2"],
    "artifact-job": ["", "-a", "a b", "$X", "a;b", "a/b"],
    "artifact-job-id": ["a", "-1", "1 2", "$CI_JOB_ID"],
    "artifact-sha256": ["a" * 63, "A" * 64, "$X"],
    "token-environment": ["", "Upstream", "a/*", "$X"],
    "environment-url": ["", "ftp://a", "https://a b", "javascript:alert(1)"],
}
ACCEPTED = {
    "model": ["phishing-url", "a1"],
    "manifest": ["mlops.yml", "models/spam/mlops.yaml"],
    "environment": ["prod", "stage-2"],
    "job-prefix": ["", "spam:", "spam-", "spam."],
    "requirements": ["requirements.txt", "requirements/dev.txt"],
    "paths": [".", "src tests"],
    "lint-paths": [".", "src tests"],
    "arguments": ["", "--build-arg BASE=registry.example.com/python:3.11@sha256:00", "-k slow tests/"],
    "containerize-arguments": ["", "--build-arg BASE=python:3.12"],
    "test-arguments": ["", "-k slow wine"],
    "docker-host": ["tcp://docker:2375", "unix:///run/user/1000/docker.sock"],
    **{
        key: ["", "arn:aws:iam::123456789012:role/ml/ci", "arn:aws-cn:iam::123456789012:role/ci", "$ROLE"]
        for key in ROLES
    },
    "aws-audience": ["https://gitlab.example.com", "$CI_SERVER_URL", "sts.amazonaws.com"],
    "evaluate-timeout": ["3 days", "3h 30m", "90 minutes"],
    "deploy-timeout": ["3 hours"],
    "directory": ["terraform", "platform/terraform"],
    "after": ["", "stage"],
    "branch": ["main", "1.2.x", "models/next"],
    "project": ["platform/ml-ops", "a/b/c"],
    "python-image": ["python:3.12-slim", "registry.example.com:5000/python@sha256:00"],
    "model-path": ["", "models/phishing-url/"],
    "project-id": ["7"],
    "project-path": ["models/phishing-url"],
    "commit": ["a" * 40, "0" * 64, "$CI_COMMIT_SHA"],
    "ref": ["main", "refs/heads/main", "feature/größer"],
    "pipeline-id": ["12", "$CI_UPSTREAM_PIPELINE_ID"],
    "merge-request": ["", "42", "$CI_MERGE_REQUEST_IID"],
    "artifact-job": ["code", "spam:code"],
    "artifact-job-id": ["", "77"],
    "artifact-sha256": ["", "a" * 64],
    "token-environment": ["upstream"],
    "environment-url": ["https://example.com/$ENDPOINT_NAME"],
}


def test_every_input_is_described_used_and_typed(templates: Any) -> None:
    for template in templates.values():
        assert set(template.inputs) == template.used
        for name, spec in template.inputs.items():
            where = f"{template.name}: {name}"
            assert spec["description"].endswith("."), where
            assert set(spec) <= {"description", "default", "type", "regex", "options"}, where
            kind = {"boolean": bool, "number": int, "array": list}.get(spec.get("type", "string"), str)
            assert isinstance(spec.get("default", kind()), kind), where


def test_every_string_that_reaches_a_script_has_a_pattern(stages: Any) -> None:
    for template in stages.values():
        job = template.job
        filled = template.filled(**{name.replace("-", "_"): f"<{name}>" for name in template.inputs})
        (marked,) = filled.values()
        scripts = "\n".join([*marked.get("before_script", ()), *marked["script"]])
        assert job["script"]
        for name, spec in template.inputs.items():
            if f"<{name}>" in scripts and spec.get("type", "string") == "string":
                assert "regex" in spec, f"{template.name}: {name}"


def test_patterns_accept_and_refuse(templates: Any) -> None:
    seen = set()
    for template in templates.values():
        for name, spec in template.inputs.items():
            if "regex" not in spec:
                continue
            seen.add(name)
            pattern = re.compile(spec["regex"])
            where = f"{template.name}: {name}"
            assert pattern.search(spec.get("default", ACCEPTED[name][0])), where
            assert [text for text in ACCEPTED[name] if not pattern.search(text)] == [], where
            refused = [text for text in REFUSED[name] if text or spec.get("default") != ""]
            assert [text for text in refused if pattern.search(text)] == [], where
    assert seen == set(ACCEPTED) == set(REFUSED)


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ({}, "`model` input: required value has not been provided"),
        ({"model": "Phishing"}, "does not match required regex"),
        ({"model": "phishing-url", "train-on-merge-request": "yes"}, "provided value is not a boolean"),
        ({"model": "phishing-url", "services": "docker"}, "provided value is not a array"),
        ({"model": "phishing-url", "aws-audience": "https://gitlab.example.com/"}, "does not match required"),
    ],
)
def test_a_wrong_input_stops_the_pipeline(planner: Any, inputs: dict[str, object], told: str) -> None:
    include = {"local": "/ci-templates/model-pipeline.yml", "inputs": inputs}

    with pytest.raises(LocalStackError, match="CI file is not valid") as caught:
        planner({"include": [include]})

    assert told in caught.value.cause


def test_the_whole_pipeline_hands_its_inputs_on(templates: Any, stages: Any) -> None:
    whole = templates["model-pipeline"]
    for include in whole.filled()["include"]:
        stage = templates[include["local"].removeprefix("/ci-templates/").removesuffix(".yml")]
        assert set(include["inputs"]) <= set(stage.inputs)
        missing = {name for name, spec in stage.inputs.items() if "default" not in spec}
        assert missing <= set(include["inputs"])
        for name, value in include["inputs"].items():
            if name == "variables-of":  # the jobs of the other stages, which a stage alone cannot name
                continue
            if (stage.name, name) == ("retrain", "model"):  # which alone does without one, for all of them
                continue
            # The same default, or including one stage and including all would differ.
            assert value == stage.inputs[name].get("default", "phishing-url"), f"{stage.name}: {name}"
    shared = {"job-prefix", "aws-role-arn", "merge-request-role-arn", "aws-audience", "manifest", "model"}
    shared |= {"environment", "deployment-tier", "changed-paths", "change", "directory", "model-path"}
    for name, stage in stages.items():
        given = next(one for one in whole.filled()["include"] if one["local"].endswith(f"/{name}.yml"))
        assert shared & set(stage.inputs) <= set(given["inputs"])
