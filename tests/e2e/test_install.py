"""`docs/operate/install.md`, followed word by word on this machine: from an empty account to a model, and back.

The commands of the document are run as they stand, by bash, in its order. What a person does beside them (values of
their own, clicks in GitLab) is done between its sections. The tests follow the document's order.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import ANY
from urllib.request import Request, urlopen

import pytest
import yaml

from mlops_local.aws.access.policies import allows
from mlops_local.base import paths
from mlops_local.base.environment import find_environment
from mlops_local.command.down import stop_stack
from mlops_local.command.up import start_servers
from mlops_local.gitlab import projects
from mlops_local.pipelines import pipeline
from mlops_local.pipelines.pipeline import PipelineRun
from mlops_local.stack import sdk
from mlops_local.stack import terraform as local_terraform
from mlops_local.stack.stack import Stack, find
from tests.contract.terraform import provider
from tests.e2e.conftest import calls
from tests.e2e.test_monitoring import ask, monitor, rows
from tests.ending import STARTER

CHECKOUT = Path(__file__).parents[2]
DOCUMENT = CHECKOUT / "docs" / "operate" / "install.md"
DEV = find_environment("dev")
BUCKET = f"ml-ops-dev-{DEV.account}"

# Who must have been seen at work: each stage's role, and those of the services in between.
ROLES = {
    "ml-ops-airflow",
    "ml-ops-build",
    "ml-ops-dag-trigger",
    "ml-ops-deploy",
    "ml-ops-sagemaker-execution",
    "ml-ops-train",
}
# A key is kept for a while after it was deleted.
PENDING = "PendingDeletion"


# What the S3 backend would ask a real AWS.
_BACKEND = "use_path_style = true\nskip_credentials_validation = true\nskip_metadata_api_check = true\n"


def blocks() -> dict[str, list[str]]:
    """The shell blocks of each section, by the section's title."""
    sections = re.split(r"^## ", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {
        section.splitlines()[0]: re.findall(r"```sh\n(.*?)```", section, re.DOTALL) for section in sections
    }


@dataclass
class Person:
    """Who follows the document: a shell that keeps its folder and variables from block to block."""

    stack: Stack
    home: Path
    tools: Path
    followed: list[str] = field(default_factory=list)
    attachment: dict[str, str] = field(default_factory=dict)
    """The variables that attach Terraform to a provider that runs; without them it starts its own."""

    def follow(self, title: str) -> str:
        """Run the shell blocks of a section; what they printed."""
        self.followed.append(title)
        return "".join(self.shell(block) for block in blocks()[title])

    def shell(self, block: str) -> str:
        """Run lines where the last ones left off; what they printed."""
        for there, here in {
            "https://gitlab.example.com": self.stack.gitlab_url,
            "https://hooks.slack.com": f"{self.stack.aws_endpoint}/slack",
            # CI's own checkout is what `make setup` made
            "make setup\n": f"ln -s {CHECKOUT / '.venv'} .venv\n",
        }.items():
            block = block.replace(there, here)
        state = self.home / "shell"
        before = f'. {state}/variables; cd "$(cat {state}/folder)"\n' if state.exists() else ""
        after = f"\nmkdir -p {state}; export -p > {state}/variables; pwd > {state}/folder\n"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", before + block + after],
            env=self.variables(),
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def variables(self) -> dict[str, str]:
        kept = {
            name: os.environ[name]
            for name in ("TF_CLI_CONFIG_FILE", "SSL_CERT_FILE", "LANG", STARTER)
            if name in os.environ
        }
        return kept | {
            "PATH": f"{self.tools}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "UV_CACHE_DIR": str(Path.home() / ".cache" / "uv"),
            "TF_PLUGIN_CACHE_DIR": str(local_terraform.plugins()),
            "AWS_ENDPOINT_URL": self.stack.aws_endpoint,
            "AWS_REGION": DEV.region,
            "AWS_DEFAULT_REGION": DEV.region,  # what the AWS CLI reads before its version 2
            "AWS_ACCESS_KEY_ID": self.stack.access_key,
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true",
            "GITLAB_URL": self.stack.gitlab_url,
            "GITLAB_PRIVATE_TOKEN": "a-personal-token",
            "GIT_AUTHOR_NAME": "Ann",
            "GIT_AUTHOR_EMAIL": "ann@example.com",
            "GIT_COMMITTER_NAME": "Ann",
            "GIT_COMMITTER_EMAIL": "ann@example.com",
            "NO_PROXY": "127.0.0.1,localhost",
            **self.attachment,
        }

    def git(self, folder: str, *words: str) -> str:
        command = ["git", "-C", str(self.home / folder), *words]
        return subprocess.run(
            command, env=self.variables(), capture_output=True, text=True, check=True
        ).stdout.strip()


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """An empty account, an empty GitLab, and somebody with a shell."""
    name = f"install-{os.getpid()}"
    home = tmp_path_factory.mktemp("install")
    try:
        stack = start_servers(name, paths.home(name), "process", DEV.name)
        yield Person(stack, home, _aws_command_line(home))
    finally:
        started = find(name)
        if started is not None:
            stop_stack(started)


def _aws_command_line(home: Path) -> Path:
    """The AWS CLI, which most people have; here in an environment of its own."""
    uv, folder = CHECKOUT / ".venv" / "bin" / "uv", home / "aws-cli"
    lock = CHECKOUT / "requirements" / "aws-cli.txt"
    for words in (("venv", folder), ("pip", "sync", "--python", folder, "--require-hashes", lock)):
        subprocess.run([str(uv), "--quiet", *map(str, words)], check=True)
    (home / "tools").mkdir()
    (home / "tools" / "aws").symlink_to(folder / "bin" / "aws")
    return home / "tools"


@pytest.fixture(scope="module")
def imported(person: Person) -> Person:
    """This checkout, as it is now, imported into GitLab."""
    project = projects.create_project(person.stack.folder / "gitlab", "platform/ml-ops")
    index = {
        **person.variables(),
        "GIT_INDEX_FILE": str(person.home / "index"),
        "GIT_DIR": str(project.repository),
    }

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", f"--work-tree={CHECKOUT}", *words],
            env=index, cwd=CHECKOUT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.strip()

    git("add", "--all")
    commit = git("commit-tree", git("write-tree"), "-m", "chore: import ml-ops")
    git("update-ref", "refs/heads/main", commit)
    return person


def test_the_repository_is_cloned(imported: Person) -> None:
    imported.follow("1. Take the repository")
    assert (imported.home / "ml-ops" / "ci-templates" / "model-pipeline.yml").is_file()


def test_values_are_changed_and_pushed(imported: Person) -> None:
    clone = imported.home / "ml-ops" / "terraform"
    values = clone / "environments" / "dev" / "values.tfvars"
    text = values.read_text(encoding="utf-8")
    values.write_text(text.replace("https://gitlab.example.com", imported.stack.gitlab_url), encoding="utf-8")
    with (clone / "environments" / "dev" / "backend.hcl").open("a", encoding="utf-8") as backend:
        backend.write(_BACKEND)
    # Not the person's: it leads the provider to this machine.
    for root in ("root", "bootstrap"):
        override = local_terraform.override(imported.stack.aws_endpoint, imported.stack.gitlab_url)
        if root == "bootstrap":
            override.pop("module")
        (clone / root / "local_override.tf.json").write_text(json.dumps(override), encoding="utf-8")

    imported.follow("2. Say what is yours")
    assert imported.git("ml-ops", "status", "--branch", "--porcelain").startswith("## main...origin/main\n")


def test_the_environment_is_made(imported: Person) -> None:
    said = imported.follow("3. Make the environment")
    assert "ml-team@example.com has not confirmed the subscription" in said
    environment = sdk.client(imported.stack, "mwaa").get_environment(Name="ml-ops-dev")["Environment"]
    assert environment["Status"] == "AVAILABLE"
    states = sdk.client(imported.stack, "s3").list_objects_v2(Bucket=f"ml-ops-terraform-state-{DEV.account}")
    assert {one["Key"] for one in states["Contents"]} == {
        "ml-ops/bootstrap.tfstate",
        "ml-ops/terraform.tfstate",
    }


@pytest.fixture(scope="module")
def settled(imported: Person) -> Iterator[Person]:
    """Who has made the environment: the provider that this fetched runs on for the rest of their commands.

    Each would start it anew and hash its 700 MB, as those before and the pipeline's do.
    """
    data = imported.home / "ml-ops" / ".mlops" / "terraform" / DEV.name / "root"
    log = imported.home / "provider.log"
    with provider.running(provider.binary(data), log, imported.variables()) as attachment:
        imported.attachment = attachment
        yield imported


def test_a_second_plan_has_no_changes_and_names_nobody_who_confirmed(settled: Person) -> None:
    click = Request(f"{settled.stack.aws_endpoint}/_mlops/subscriptions/confirm", method="POST")
    with urlopen(click, timeout=10) as answer:
        assert json.load(answer) == ["ml-team@example.com"]
    said = json.loads(settled.shell("mlops terraform plan dev --json 2>/dev/null"))
    assert (said["has_changes"], said["notes"]) == (False, [])


def test_slack_gets_a_message(imported: Person) -> None:
    imported.follow("4. Connect Slack")
    assert _inbox(imported, "slack")
    assert not list(imported.home.rglob("slack.json"))


def test_gitlab_knows_the_roles(imported: Person, settled: Person) -> None:
    imported.follow("5. Tell GitLab")
    outputs = json.loads(settled.shell("mlops terraform output dev --json 2>/dev/null"))
    from mlops_local.gitlab.variables import for_pipeline

    given = for_pipeline(imported.stack.folder / "gitlab", "models/phishing-url", protected=True)
    roles = outputs["role_arns"]
    assert given["MLOPS_DEPLOY_ROLE_ARN"] == roles["deploy"]
    assert {given["MLOPS_BUILD_ROLE_ARN"], given["MLOPS_MERGE_REQUEST_BUILD_ROLE_ARN"]} == {roles["build"]}
    platform = for_pipeline(imported.stack.folder / "gitlab", "platform/ml-ops", protected=True)
    assert {platform["MLOPS_PLAN_ROLE_ARN_DEV"], platform["MLOPS_APPLY_ROLE_ARN_DEV"]} == {
        roles["plan"],
        roles["apply"],
    }


@pytest.fixture(scope="module")
def checks(imported: Person) -> Path:
    """Programs in place of those that check the platform and build its image: this test runs among those checks."""
    folder = imported.home / "checks"
    folder.mkdir()
    programs = {
        "apt-get": "",
        # a password that nobody reads would end the job by SIGPIPE
        "docker": 'case "$1" in login | import) cat >/dev/null ;; esac',
        # of .ci/run, which gives a job an engine and a base image
        "dockerd": "exec sleep 600",
        "find": "",
        "debootstrap": 'mkdir -p "$4/etc/ssl/certs"',
        # `make setup` brings the tests' own program, and the command
        "make": f"mkdir -p .venv/bin; cd .venv/bin; ln -sf /bin/true pytest; ln -sf {CHECKOUT}/.venv/bin/mlops .",
    }
    for name, text in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def merged(imported: Person, checks: Path) -> PipelineRun:
    """One more model is one entry of one file; what the platform's own pipeline makes of it."""
    models = imported.home / "ml-ops" / "terraform" / "root" / "models.auto.tfvars"
    entry = 'phishing-url = "models/phishing-url"\n'
    text = models.read_text(encoding="utf-8")
    assert entry in text
    models.write_text(text.replace(entry, f'{entry}    spam         = "models/spam"\n'), encoding="utf-8")
    imported.git("ml-ops", "add", "--force", "terraform/root")
    reason = "The team of web safety trains its first filter of mail."
    imported.git("ml-ops", "commit", "--quiet", "-m", "feat: serve the model spam", "-m", reason)
    imported.git("ml-ops", "push", "--quiet", "origin", "main")
    commit = imported.git("ml-ops", "rev-parse", "HEAD")
    return pipeline.run(
        imported.stack, "platform/ml-ops", commit, options=pipeline.PipelineOptions(tools=(checks,))
    )


def test_the_pipeline_plans_and_applies_dev_in_its_own_roles(imported: Person, merged: PipelineRun) -> None:
    states = {job.name: job.state for job in merged.jobs}
    assert (states["terraform-plan:dev"], states["terraform-apply:dev"]) == ("success", "success"), states
    # the accounts of stage and prod are others than the one this machine plays
    assert (states["terraform-plan:prod"], states["terraform-apply:prod"]) == ("failed", "skipped")
    found = sdk.client(imported.stack, "ecr").describe_repositories()["repositories"]
    assert {one["repositoryName"] for one in found} == {"web-safety/phishing-url", "web-safety/spam"}
    made = [call for call in calls(imported.stack) if call["action"] == "ecr:CreateRepository"]
    assert [line["role"] for line in made] == [None, "ml-ops-apply"]


def test_the_release_makes_the_tag_that_models_include(
    imported: Person, merged: PipelineRun, checks: Path
) -> None:
    # settings of docs/contribute/release.md
    project = projects.create_project(imported.stack.folder / "gitlab", "platform/ml-ops")
    projects.let_jobs_push(project)
    options = pipeline.PipelineOptions(tools=(checks,))
    done = pipeline.run_manual(imported.stack, merged, "release", options=options)
    states = {name: done.job(name).state for name in ("release", "publish-image", "publish-wheel")}
    assert states == dict.fromkeys(states, "success")
    imported.git("ml-ops", "pull", "--quiet", "--tags")
    assert {"1", "1.0", "v1.0.0"} <= set(imported.git("ml-ops", "tag").split())


@pytest.fixture(scope="module")
def pushed(imported: Person) -> PipelineRun:
    """The first push of the model, and what its pipeline did before anybody clicked."""
    # GitLab makes the project at the first push of somebody who may; this one wants it made.
    projects.create_project(imported.stack.folder / "gitlab", "models/phishing-url")
    imported.follow("7. Push the first model")
    commit = imported.git("phishing-url", "rev-parse", "HEAD")
    return pipeline.run(imported.stack, "models/phishing-url", commit)


def test_the_first_model_is_trained(pushed: PipelineRun) -> None:
    assert pushed.succeeded, {job.name: job.state for job in pushed.jobs}
    assert pushed.variables["MODEL_VERSION"] == "1.0.0+retrain.0"
    assert pushed.variables["GATE"] == "passed"


def test_a_click_deploys_it(imported: Person, pushed: PipelineRun) -> None:
    done = pipeline.run_manual(imported.stack, pushed, "deploy")
    assert done.succeeded
    runtime = sdk.client(imported.stack, "sagemaker-runtime")
    answer = runtime.invoke_endpoint(
        EndpointName="web-safety--phishing-url",
        ContentType="application/json",
        Body=_smoke_test(),
    )
    assert json.load(answer["Body"])["model"]["version"] == "1.0.0+retrain.0"
    assert any("deployed" in message["subject"] for message in _inbox(imported, "slack"))


def test_what_it_is_asked_is_kept_and_compared(imported: Person) -> None:
    """The model's own role writes requests, Airflow's reads them; what they may not do shows below."""
    stack = imported.stack.completed({"bucket": BUCKET})
    ask(stack, rows())
    assert monitor(stack)["state"] == "stable"


def test_both_channels_hear_of_it(imported: Person) -> None:
    for channel in ("email", "slack"):
        subjects = [message["subject"] for message in _inbox(imported, channel)]
        told = [[subject for subject in subjects if word in subject] for word in ("trained", "deployed")]
        assert [len(one) for one in told] == [1, 1], subjects


def test_every_role_was_at_work_and_was_allowed_everything_it_did(imported: Person) -> None:
    made = [call for call in calls(imported.stack) if call["role"]]
    assert {call["role"] for call in made} >= ROLES
    denied = {(call["role"], call["action"], call["resource"]) for call in made if not call["allowed"]}
    # Terraform's provider looks for the account there first, and goes on without an answer.
    assert denied == {(role, "iam:GetUser", None) for role in ("ml-ops-plan", "ml-ops-apply")}


def test_a_permission_that_is_missing_would_show(imported: Person) -> None:
    """Each role, without one action that it used: what it did is not allowed any more."""
    used: dict[str, set[str]] = defaultdict(set)
    for call in calls(imported.stack):
        used[call["role"]].add(call["action"])
    for role in sorted(ROLES):
        policies = _policies(imported.stack, role)
        for action in sorted(used[role] - {"sts:GetCallerIdentity"}):
            assert allows(policies, action, (), {}), (role, action)
            assert not allows([_without(policy, action) for policy in policies], action, (), {}), (
                role,
                action,
            )


def _policies(stack: Stack, role: str) -> list[dict[str, Any]]:
    iam = sdk.client(stack, "iam")
    names = iam.list_role_policies(RoleName=role)["PolicyNames"]
    return [iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"] for name in names]


def _without(policy: dict[str, Any], action: str) -> dict[str, Any]:
    def rest(statement: dict[str, Any]) -> dict[str, Any]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        return statement | {"Action": [one for one in actions if one != action]}

    return {"Statement": [rest(statement) for statement in policy["Statement"]]}


def test_it_is_taken_down(imported: Person, settled: Person) -> None:
    imported.shell('cd "$HOME/ml-ops"')
    settled.follow("Take it down")
    # the state's, and what the document says of SageMaker's records
    assert left(imported.stack) == {
        "s3 Buckets": [ANY],
        "sagemaker EndpointConfigs": [ANY],
        "sagemaker Models": [ANY],
    }
    buckets = [one["Name"] for one in sdk.client(imported.stack, "s3").list_buckets()["Buckets"]]
    assert buckets == [f"ml-ops-terraform-state-{DEV.account}"]


def test_every_command_of_the_document_was_run(imported: Person) -> None:
    assert imported.followed == [title for title, found in blocks().items() if found]


def _smoke_test() -> str:
    """The request that the model's manifest has for a new endpoint."""
    manifest = yaml.safe_load(
        (CHECKOUT / "examples" / "phishing-url" / "mlops.yml").read_text(encoding="utf-8")
    )
    return json.dumps(manifest["models"]["phishing-url"]["deployment"]["smoke_test"]["body"])


def _inbox(person: Person, channel: str) -> list[dict[str, Any]]:
    with urlopen(f"{person.stack.aws_endpoint}/_mlops/inbox", timeout=10) as answer:
        return [message for message in json.load(answer) if message["channel"] == channel]


def left(stack: Stack) -> dict[str, list[Any]]:
    """All there is in the account, of every kind that Terraform or the chain makes; not what AWS keeps as history."""
    ours = [{"Name": "tag:ml-ops:environment", "Values": [DEV.name]}]
    asked: dict[tuple[str, str, str], dict[str, Any]] = {
        ("s3", "list_buckets", "Buckets"): {},
        ("ecr", "describe_repositories", "repositories"): {},
        ("sns", "list_topics", "Topics"): {},
        ("sns", "list_subscriptions", "Subscriptions"): {},
        ("sqs", "list_queues", "QueueUrls"): {},
        ("iam", "list_roles", "Roles"): {},
        ("iam", "list_policies", "Policies"): {"Scope": "Local"},
        ("iam", "list_open_id_connect_providers", "OpenIDConnectProviderList"): {},
        ("lambda", "list_functions", "Functions"): {},
        ("logs", "describe_log_groups", "logGroups"): {},
        ("logs", "describe_resource_policies", "resourcePolicies"): {},
        ("ssm", "describe_parameters", "Parameters"): {},
        ("secretsmanager", "list_secrets", "SecretList"): {},
        ("cloudwatch", "describe_alarms", "MetricAlarms"): {},
        ("cloudwatch", "list_dashboards", "DashboardEntries"): {},
        ("cloudwatch", "list_metric_streams", "Entries"): {},
        ("events", "list_rules", "Rules"): {},
        ("budgets", "describe_budgets", "Budgets"): {"AccountId": DEV.account},
        ("firehose", "list_delivery_streams", "DeliveryStreamNames"): {},
        ("mwaa", "list_environments", "Environments"): {},
        ("sagemaker", "list_endpoints", "Endpoints"): {},
        ("sagemaker", "list_endpoint_configs", "EndpointConfigs"): {},
        ("sagemaker", "list_models", "Models"): {},
        ("sagemaker", "list_model_package_groups", "ModelPackageGroupSummaryList"): {},
        # every account has a network of AWS's own
        ("ec2", "describe_vpcs", "Vpcs"): {"Filters": ours},
        ("ec2", "describe_subnets", "Subnets"): {"Filters": ours},
        ("ec2", "describe_route_tables", "RouteTables"): {"Filters": ours},
        ("ec2", "describe_security_groups", "SecurityGroups"): {"Filters": ours},
        ("ec2", "describe_vpc_endpoints", "VpcEndpoints"): {"Filters": ours},
        ("ec2", "describe_flow_logs", "FlowLogs"): {"Filters": ours},
        ("ec2", "describe_nat_gateways", "NatGateways"): {"Filters": ours},
        ("ec2", "describe_addresses", "Addresses"): {"Filters": ours},
    }
    found = {
        f"{service} {key}": getattr(sdk.client(stack, service), operation)(**members).get(key)
        for (service, operation, key), members in asked.items()
    }
    # shown for a while after they were deleted
    gone = "deleted"
    found["ec2 VpcEndpoints"] = [one for one in found["ec2 VpcEndpoints"] if one["State"] != gone]
    kms = sdk.client(stack, "kms")
    found["kms Keys"] = [
        key["KeyId"]
        for key in kms.list_keys()["Keys"]
        if kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyState"] != PENDING
    ]
    found["kms Aliases"] = [
        alias["AliasName"]
        for alias in kms.list_aliases()["Aliases"]
        if not alias["AliasName"].startswith("alias/aws/")
    ]
    return {kind: things for kind, things in found.items() if things}
