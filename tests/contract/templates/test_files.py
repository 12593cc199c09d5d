"""What a template may hold: GitLab's schema, our rules, and what a pipeline engine on one machine cannot show."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlops.evaluation import evaluate
from mlops.manifest import reader
from mlops.runs import airflow_runs
from mlops_local.base import paths

from .conftest import Template

STAGES = ("containerize", "deploy", "evaluate", "lint", "notify", "retrain", "test", "train")
COMMANDS = ("containerize", "train", "evaluate", "retrain", "deploy", "notify")

DOTENV = {
    "containerize": "containerize.env",
    "train": "train.env",
    "evaluate": "evaluate.env",
    "deploy": "deploy.env",
}


def test_the_templates_there_are(templates: Any) -> None:
    others = ("model-pipeline", "terraform", "workflow", "downstream", "fetch", "answer")
    assert sorted(templates) == sorted((*STAGES, *others))


def test_every_file_fits_gitlabs_schema(templates: Any, tmp_path: Path) -> None:
    files = []
    for template in (*templates.values(), Template(paths.checkout() / ".gitlab-ci.yml")):
        for part, document in (("header", template.header), ("configuration", template.filled())):
            file = tmp_path / f"{template.name}-{part}.yml"
            file.write_text(yaml.safe_dump(document), encoding="utf-8")
            files.append(file)

    command = ["-m", "check_jsonschema", "--builtin-schema", "vendor.gitlab-ci", *map(str, files)]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


def test_a_file_that_does_not_fit_is_found(tmp_path: Path) -> None:
    file = tmp_path / "wrong.yml"
    file.write_text("lint: {script: [pylint], interruptable: true}\n", encoding="utf-8")

    command = ["-m", "check_jsonschema", "--builtin-schema", "vendor.gitlab-ci", str(file)]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)

    assert "interruptable" in done.stdout


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_is_one_job_with_the_stages_name_and_nothing_global(stages: Any, name: str) -> None:
    template = stages[name]

    assert list(template.filled()) == [name]
    assert list(template.filled(job_prefix="spam:")) == [f"spam:{name}"]
    # retrain stands in a stage that repositories with a list of their own have in it already.
    assert template.job["stage"] == {"notify": ".post", "retrain": "train"}.get(name, name)


@pytest.mark.parametrize("name", STAGES)
def test_a_job_survives_its_runner_but_never_hides_its_own_failure(stages: Any, name: str) -> None:
    job = stages[name].job

    assert job["retry"]["max"] == 2
    assert set(job["retry"]["when"]) == {
        "runner_system_failure",
        "stuck_or_timeout_failure",
        "scheduler_failure",
        "api_failure",
    }
    assert job["timeout"]
    # Stopping a started training or a deployment half-way helps nobody.
    assert job["interruptible"] is (name not in ("train", "retrain", "deploy", "notify"))


@pytest.mark.parametrize("name", STAGES)
def test_no_after_script(stages: Any, name: str) -> None:
    # Its exit code is ignored, and it does not see what before_script exported.
    assert "after_script" not in stages[name].job


@pytest.mark.parametrize("name", COMMANDS)
def test_a_job_takes_its_role_with_its_own_token(stages: Any, name: str) -> None:
    job = stages[name].job

    purpose = {"containerize": "build", "deploy": "deploy"}.get(name, "train")
    assert job["id_tokens"] == {"MLOPS_ID_TOKEN": {"aud": f"$CI_SERVER_URL/{purpose}"}}
    assert [part for part in ("before_script", "after_script") if part in job] == (
        ["before_script"] if name == "containerize" else []
    )
    assert stages[name].filled(aws_role_arn="$ROLE")[name]["variables"]["MLOPS_AWS_ROLE_ARN"] == "$ROLE"


OWN_ROLES = {
    "containerize": "$MLOPS_BUILD_ROLE_ARN",
    "train": "$MLOPS_TRAIN_ROLE_ARN",
    "evaluate": "$MLOPS_TRAIN_ROLE_ARN",
    "notify": "$MLOPS_TRAIN_ROLE_ARN",
    "retrain": "$MLOPS_TRAIN_ROLE_ARN",
    "deploy": "$MLOPS_DEPLOY_ROLE_ARN",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_merge_request_never_gets_the_role_of_the_default_branch(stages: Any, name: str) -> None:
    job = stages[name].job
    ours = job["variables"]["MLOPS_AWS_ROLE_ARN"]
    rules = [
        rule
        for rule in job["rules"]
        if "merge_request_event" in rule.get("if", "") and rule.get("when") != "never"
    ]

    assert ours == OWN_ROLES[name]
    assert bool(rules) is (name in ("containerize", "train", "evaluate"))
    for rule in rules:
        taken = rule["variables"]["MLOPS_AWS_ROLE_ARN"]
        assert taken == ours.replace("$MLOPS_", "$MLOPS_MERGE_REQUEST_")


@pytest.mark.parametrize(
    ("host", "verified"),
    [
        ("tcp://docker:2376", True),
        ("tcp://docker:2375", False),
        ("unix:///var/run/docker.sock", False),
    ],
)
def test_certificates_are_for_a_daemon_that_has_some(stages: Any, host: str, verified: bool) -> None:
    job = stages["containerize"].filled(docker_host=host)["containerize"]
    (script,) = job["before_script"]

    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"{script}\nenv"],
        env={"PATH": "/usr/bin:/bin", **job["variables"]},
        capture_output=True,
        text=True,
        check=True,
    )

    assert f"DOCKER_HOST={host}\n" in done.stdout
    assert ("DOCKER_TLS_VERIFY" in done.stdout) is verified
    assert ("DOCKER_CERT_PATH" in done.stdout) is verified


def _prepare(stages: Any, name: str, folder: Path, *, tools: Path) -> subprocess.Popen[str]:
    """Begin what a job does before its script, with programs of `tools` before the machine's."""
    (script,) = stages[name].filled(requirements="requirements/dev.txt")[name]["before_script"]
    return subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", f'{script}\necho "$venv"'],
        env={
            "PATH": f"{tools}:/usr/bin:/bin",
            "REQUIREMENTS": "requirements/dev.txt",
            "MLOPS_VENVS": str(folder / "venvs"),
            "CI_PROJECT_DIR": str(folder / "project"),
            "CI_JOB_NAME_SLUG": name,
        },
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_jobs_with_the_same_requirements_share_what_one_of_them_installed(
    stages: Any, tmp_path: Path
) -> None:
    (tmp_path / "requirements").mkdir()  # they may lie anywhere
    (tmp_path / "requirements" / "dev.txt").write_text("pytest\n")
    tools, calls = tmp_path / "tools", tmp_path / "calls"
    tools.mkdir()
    uv = tools / "uv"
    uv.write_text(
        "#!/bin/bash\n"
        f'echo "$*" >> {calls}; sleep 0.1\n'
        'if [ "$1" = venv ]; then mkdir -p "${@: -1}/bin"; touch "${@: -1}/bin/activate"; fi\n'
    )
    uv.chmod(0o755)

    begun = [_prepare(stages, name, tmp_path, tools=tools) for name in ("lint", "test")]
    ended = [(*job.communicate(timeout=30), job.returncode) for job in begun]

    (venv,) = {out.strip() for out, _, _ in ended}
    assert [(errors, code) for _, errors, code in ended] == [("", 0)] * 2
    assert venv.startswith(f"{tmp_path}/venvs/cpython-3.")
    done = calls.read_text().replace(venv, "VENV").splitlines()
    install = "pip install --quiet --python VENV"
    assert done[:2] == ["venv --quiet --clear VENV", f"{install} -r requirements/dev.txt"]
    assert sorted(done[2:]) == [f"{install} pylint", f"{install} pytest"]


def test_lint_and_test_prepare_the_same_environment(stages: Any) -> None:
    (lint,), (test,) = stages["lint"].job["before_script"], stages["test"].job["before_script"]

    assert lint.replace("pylint", "pytest") == test


@pytest.mark.parametrize("name", DOTENV)
def test_variables_travel_as_a_report(stages: Any, name: str) -> None:
    job = stages[name].job

    assert job["artifacts"]["reports"]["dotenv"] == DOTENV[name]
    assert f"--dotenv {DOTENV[name]}" in job["script"][-1]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_script_is_a_command_that_mlops_knows(stages: Any, name: str) -> None:
    from mlops.cli import build_parser

    (line,) = stages[name].job["script"]
    program, *words = line.removesuffix(" || exit $?").split()

    arguments = build_parser(name).parse_args(words)

    assert program == "mlops"
    assert (arguments.command, arguments.manifest) == (name, "mlops.yml")
    assert arguments.model == ("" if name == "retrain" else "phishing-url")


def test_tools_run_directly(stages: Any) -> None:
    assert stages["lint"].job["script"] == ['pylint --init-hook="import gc; gc.disable()" --recursive=y .']
    assert stages["test"].job["script"][-1].split()[0] == "pytest"


def test_the_report_is_kept_when_the_gate_fails(stages: Any) -> None:
    artifacts = stages["evaluate"].job["artifacts"]

    assert artifacts["when"] == "always"
    assert artifacts["expose_as"]
    assert "evaluation/" in artifacts["paths"]
    assert "--report evaluation " in stages["evaluate"].job["script"][0] + " "
    assert artifacts["reports"]["metrics"] == "evaluation/metrics.txt"
    assert artifacts["reports"]["annotations"] == "evaluation/annotations.json"


def test_one_deployment_at_a_time_for_a_model_and_environment(stages: Any) -> None:
    job = stages["deploy"].filled(environment="stage")["deploy"]

    assert job["resource_group"] == job["environment"]["name"] == "stage/phishing-url"
    assert job["environment"]["url"].endswith("$ENDPOINT_NAME")
    # GitLab would take prod/pre-approval for a staging environment.
    assert job["environment"]["deployment_tier"] == "production"


def test_test_reports_show_in_the_merge_request(stages: Any) -> None:
    job = stages["test"].job

    assert job["artifacts"]["when"] == "always"
    assert job["artifacts"]["reports"]["junit"] == "junit.xml"
    assert job["artifacts"]["reports"]["coverage_report"]["path"] == "coverage.xml"


def test_the_whole_pipeline_has_one_global_key(templates: Any) -> None:
    whole = templates["model-pipeline"].filled()

    assert set(whole) == {"stages", "include"}
    assert [one["local"] for one in whole["include"]] == [
        f"/ci-templates/{name}.yml"
        for name in ("lint", "test", "containerize", "train", "evaluate", "deploy", "retrain", "notify")
    ]


def seconds(timeout: str) -> int:
    """A `timeout` as our templates write it: numbers with a unit each."""
    units = {"minute": 60, "hour": 3600, "day": 86400}
    words = timeout.split()
    return sum(
        int(number) * units[unit.rstrip("s")] for number, unit in zip(words[::2], words[1::2], strict=True)
    )


def test_a_job_that_waits_may_take_as_long_as_what_it_waits_for(stages: Any, tmp_path: Path) -> None:
    _, full = re.findall(
        r"```yaml\n(project:.*?)```", (paths.checkout() / "docs/reference/manifest.md").read_text(), re.S
    )
    (tmp_path / "smoke-test.json").write_text("{}")
    (tmp_path / "mlops.yml").write_text(full)
    model = reader.load(tmp_path / "mlops.yml").model()
    assert model.training.max_runtime > 3600
    assert seconds(stages["evaluate"].job["timeout"]) > evaluate.longest(model) + airflow_runs.MARGIN
    longest_startup = 3600
    assert seconds(stages["deploy"].job["timeout"]) > longest_startup + airflow_runs.MARGIN


def test_a_wait_and_its_time_reach_the_jobs(templates: Any) -> None:
    job = templates["evaluate"].filled(wait_seconds=25200, environment="dev")["evaluate"]
    # The option of a release's wait is unknown to the image of the release before it.
    assert "--timeout" not in job["script"][0]
    assert str(job["variables"]["MLOPS_WAIT_SECONDS"]) == "25200"
    assert job["variables"]["MLOPS_ENVIRONMENT"] == "dev"
    assert 32 in job["retry"]["exit_codes"]
    inputs = {"wait_seconds": 25200, "evaluate_timeout": "3 days", "deploy_timeout": "3 hours"}
    included = {
        one["local"]: one["inputs"] for one in templates["model-pipeline"].filled(**inputs)["include"]
    }
    assert included["/ci-templates/evaluate.yml"]["wait-seconds"] == 25200
    assert included["/ci-templates/evaluate.yml"]["timeout"] == "3 days"
    assert included["/ci-templates/deploy.yml"]["timeout"] == "3 hours"
    trigger = templates["downstream"].filled(**inputs)[".mlops-trigger"]["trigger"]["inputs"]
    ours = Template(paths.checkout() / ".gitlab-ci.yml")
    (model,) = {
        json.dumps(one["inputs"], sort_keys=True)
        for one in ours.filled(**inputs)["include"]
        if one["local"] == "/ci-templates/model-pipeline.yml" and one["inputs"]["change"] == "branch"
    }
    for given in (trigger, json.loads(model)):
        assert given["evaluate-timeout"] == "3 days"


def test_a_code_that_gitlab_looks_at_comes_through_the_runners_shell(stages: Any) -> None:
    """In bash, `: | eval` makes 1 of the code of a program that fails, unless the shell itself ends with it.

    The runner does so unless FF_USE_NEW_BASH_EVAL_STRATEGY is set: https://docs.gitlab.com/runner/configuration/feature-flags/
    """
    looked_at = [
        name for name, stage in stages.items() if "exit_codes" in str(stage.job.get("retry")) + str(stage.job)
    ]
    assert looked_at == ["evaluate"]
    for name in looked_at:
        assert stages[name].job["script"][-1].endswith(" || exit $?")
