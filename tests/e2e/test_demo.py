"""The five pushes, through real engines: what `make demo` promises."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from mlops.base.errors import DeploymentRefusedError
from mlops_local.base import paths
from mlops_local.stack import sdk, terraform
from mlops_local.stack.stack import Stack, require
from tests.e2e.conftest import Demo, mlops


def pushes(demo: Demo) -> list[dict[str, Any]]:
    return list(demo.summary["pushes"])


def test_the_first_model_is_released_trained_and_deployed(in_processes: Demo) -> None:
    first = pushes(in_processes)[0]
    assert first["image_version"] == "1.0.0"
    assert first["model_version"] == "1.0.0+retrain.0"
    assert first["champion"] is None
    assert (first["built"], first["trained"], first["gate"], first["deployed"]) == (
        True,
        True,
        "passed",
        True,
    )


def test_the_improvement_is_the_next_minor_version_and_beats_the_champion(in_processes: Demo) -> None:
    first, second, *_ = pushes(in_processes)
    assert second["image_version"] == "1.1.0"
    assert second["champion"] == first["model_version"]
    assert second["metrics"]["f1"] > first["metrics"]["f1"]
    assert (second["gate"], second["deployed"]) == ("passed", True)


def test_a_documentation_change_builds_and_trains_nothing(in_processes: Demo) -> None:
    _, second, third, *_ = pushes(in_processes)
    assert third["commit"] != second["commit"]
    assert (third["built"], third["trained"]) == (False, False)
    for same in ("image_version", "image_digest", "model_version"):
        assert third[same] == second[same]


def test_a_worse_model_fails_its_gate_and_is_refused(in_processes: Demo) -> None:
    _, second, _, fourth, _ = pushes(in_processes)
    assert fourth["image_version"] == "1.1.1"
    assert fourth["champion"] == second["model_version"]
    assert fourth["metrics"]["f1"] < second["metrics"]["f1"]
    assert (fourth["gate"], fourth["deployed"]) == ("failed", False)
    assert fourth["deploy_exit_code"] == DeploymentRefusedError.exit_code


def test_another_repository_has_its_pipeline_in_the_platforms_project(in_processes: Demo) -> None:
    from gitlab import Gitlab

    fifth = pushes(in_processes)[4]
    assert fifth["project"] == "models/penguins"
    assert (fifth["model_version"], fifth["gate"], fifth["deployed"]) == ("1.0.0+retrain.0", "passed", True)
    assert fifth["endpoint"]["prediction"]["label"] == "Gentoo"
    assert fifth["downstream"] == {
        "project": "platform/ml-ops",
        "trigger_job": "species",
        "state": "success",
        "told": {"ml-ops/species": "success"},
    }
    assert "/platform/ml-ops/-/pipelines/" in fifth["pipeline"]
    gitlab = Gitlab(in_processes.stack.gitlab_url, private_token="any", api_version="4")
    upstream = gitlab.projects.get("models/penguins")
    (status,) = upstream.commits.get(fifth["commit"]).statuses.list(name="ml-ops/species")
    assert status.target_url == fifth["pipeline"]
    (pipeline,) = upstream.pipelines.list()
    (bridge,) = pipeline.bridges.list()
    assert bridge.downstream_pipeline["web_url"] == fifth["pipeline"]


def test_every_training_is_a_run_of_its_own(in_processes: Demo) -> None:
    runs = [push["dag_run_id"] for push in pushes(in_processes) if push["trained"]]
    assert len(runs) == len(set(runs)) == 4
    assert all(runs)


def test_the_endpoint_serves_the_improvement_and_says_what_it_is(in_processes: Demo) -> None:
    endpoint = in_processes.summary["endpoint"]
    assert endpoint["model_version"] == "1.1.0+retrain.0"
    assert endpoint["manifest"]["name"] == "phishing-url"
    assert endpoint["manifest"]["training_data"]["uri"].endswith("/data/phishing-url/train/")
    assert endpoint["prediction"]["label"] in {"phishing", "legitimate"}


def test_both_channels_heard_of_everything_once(in_processes: Demo) -> None:
    subjects: dict[str, list[str]] = {"email": [], "slack": []}
    for message in in_processes.summary["inbox"]:
        subjects[message["channel"]].append(message["subject"])
    # four trainings and three deployments
    assert len(subjects["email"]) == len(subjects["slack"]) == 7
    assert len(set(subjects["email"])) == 7


def test_the_failed_gate_arrives_with_its_cause(in_processes: Demo) -> None:
    shown = mlops("local", "--name", in_processes.stack.name, "inbox", "--json").stdout
    texts = [
        one["text"]
        for one in json.loads(shown)["messages"]
        if "1.1.1+retrain.0" in one["subject"] + one["text"]
    ]
    assert len(texts) == 2
    assert all("f1" in text and "/-/pipelines/" in text for text in texts)


def test_the_summary_has_what_it_promises(in_processes: Demo) -> None:
    summary = in_processes.summary
    assert set(summary) == {"pushes", "endpoint", "inbox", "engine", "versions"}
    assert summary["engine"] == "process"
    assert summary["versions"]["airflow"].startswith("3.")
    for push in summary["pushes"]:
        assert {"lint", "test", "containerize", "train", "evaluate", "deploy", "total"} <= set(
            push["seconds"]
        )


def test_the_release_is_tagged_and_listed_in_gitlab(in_processes: Demo) -> None:
    from gitlab import Gitlab

    gitlab = Gitlab(in_processes.stack.gitlab_url, private_token="any", api_version="4")
    project = gitlab.projects.get("models/phishing-url")
    assert {release.tag_name for release in project.releases.list(get_all=True)} == {
        "phishing-url/v1.0.0",
        "phishing-url/v1.1.0",
        "phishing-url/v1.1.1",
    }


def test_the_stack_listens_on_loopback_only(in_processes: Demo) -> None:
    import psutil

    children = psutil.Process(in_processes.stack.pid).children(recursive=True)
    listening = []
    for process in [psutil.Process(in_processes.stack.pid), *children]:
        # a task's process may end while it is looked at
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):
            found = process.net_connections(kind="inet")
            listening += [one.laddr.ip for one in found if one.status == psutil.CONN_LISTEN]
    assert listening
    assert set(listening) <= {"127.0.0.1", "::1"}


def test_pipelines_run_outside_the_checkout(in_processes: Demo) -> None:
    """No tool of a model repo finds the checkout's own settings above its sources."""
    runs = in_processes.stack.runs_folder

    assert any(runs.iterdir())
    assert paths.checkout() not in runs.parents


def test_what_jobs_report_holds_no_secret(in_processes: Demo) -> None:
    secret = sdk.client(in_processes.stack, "secretsmanager").get_secret_value(
        SecretId="airflow/connections/slack"
    )
    password = json.loads(secret["SecretString"])["password"]
    for file in in_processes.stack.runs_folder.rglob("*"):
        if file.is_file() and ".gitlab-ci-local" in file.parts and file.stat().st_size < 1_000_000:
            assert password.encode() not in file.read_bytes(), file


def test_terraform_made_the_account(in_processes: Demo) -> None:
    assert "from the snapshot of" not in in_processes.output
    log = (in_processes.stack.folder / "terraform" / "terraform.log").read_text(encoding="utf-8")
    assert "Apply complete!" in log


@pytest.fixture(scope="module")
def second(in_processes: Demo) -> Iterator[Stack]:
    """Another stack, whose account is that of the first, as Terraform left it."""
    name = f"second-{os.getpid()}"
    try:
        done = mlops("local", "--name", name, "up", "--engine", "process")
        assert done.returncode == 0, done.stderr
        assert "account   from the snapshot of " in done.stdout
        yield require(name)
    finally:
        mlops("local", "--name", name, "down")
    assert in_processes.stack.running()
    assert len(sdk.client(in_processes.stack, "sagemaker").list_models()["Models"]) == 4


def test_a_second_stack_shares_nothing_with_the_first(in_processes: Demo, second: Stack) -> None:
    ports = {second.aws_port, second.gitlab_port, second.airflow_port}
    assert not ports & {
        in_processes.stack.aws_port,
        in_processes.stack.gitlab_port,
        in_processes.stack.airflow_port,
    }
    assert json.loads(mlops("local", "--name", second.name, "inbox", "--json").stdout) == {"messages": []}
    assert sdk.client(second, "sagemaker").list_models()["Models"] == []
    assert "already up" in mlops("local", "--name", second.name, "up").stdout


def test_an_account_from_a_snapshot_names_its_own_stack(in_processes: Demo, second: Stack) -> None:
    assert second.outputs.keys() == in_processes.stack.outputs.keys()
    first = in_processes.stack
    settings = sdk.client(second, "ssm").get_parameter(Name=second.outputs["settings_parameter"])
    repositories = sdk.client(second, "ecr").describe_repositories()["repositories"]
    told = [
        terraform.state(second.folder / "terraform").read_text(encoding="utf-8"),
        settings["Parameter"]["Value"],
        json.dumps(second.outputs),
        json.dumps(repositories, default=str),
    ]
    for text in told:
        assert not first.places.named(text)
        assert first.access_key not in text
        assert second.places.mark(text) != text
    assert not terraform.state(second.folder / "terraform").stat().st_mode & 0o077


def test_terraform_has_nothing_to_do_there_and_goes_on(second: Stack) -> None:
    home, place = second.folder / "terraform", second.aws_endpoint
    root = terraform.workspace(home, place, None, second.gitlab_url, second.access_key)
    assert not root.has_changes()
    values = home / "stack.tfvars.json"
    more = {"extra_models": {"fraud": ["card-payments"], "penguins": ["body-mass", "species"]}}
    values.write_text(json.dumps(json.loads(values.read_text(encoding="utf-8")) | more), encoding="utf-8")
    root.apply_now(parallelism=20)
    there = {
        one["repositoryName"] for one in sdk.client(second, "ecr").describe_repositories()["repositories"]
    }
    assert there >= {"fraud/card-payments", "penguins/species"}
