"""`mlops terraform` with the real Terraform, its S3 backend with locks, and a local AWS.

Small roots of their own show every refusal within seconds. The tests run in the order of this file.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from tests.roles import make_role

from .checkouts import ACCOUNT, AWS_PROVIDER, STATE, Checkout
from .conftest import CHECKOUT, REGION, LocalAws

LOCK = "ml-ops/terraform.tfstate.tflock"
PASSWORD = "correct-horse-battery"

_VARIABLES = """
variable "environment" { type = string }
variable "account_id" { type = string }
variable "region" { type = string }
variable "dag_trigger_package" { type = string }
variable "disposable" { default = false }
variable "suffix" { default = "one" }
variable "command" { default = "" }
variable "models" { default = ["web-safety/phishing-url", "web-safety/spam"] }
variable "password" {
  default   = "correct-horse-battery"
  sensitive = true
}
"""

# Without a provider to start, a command takes a second.
_PLAIN_ROOT = """
resource "terraform_data" "data" {
  input = var.suffix
}

resource "terraform_data" "command" {
  count            = var.command == "" ? 0 : 1
  triggers_replace = [var.command]

  provisioner "local-exec" {
    command = var.command
  }
}

output "suffix" { value = terraform_data.data.output }
output "password" {
  value     = var.password
  sensitive = true
}
output "role_arns" { value = { build = "arn:aws:iam::123456789012:role/ml-ops-build" } }
"""

_AWS_ROOT = """
resource "aws_s3_bucket" "data" {
  bucket        = "data-${var.suffix}"
  force_destroy = var.disposable
}

resource "aws_ecr_repository" "model" {
  for_each     = toset(var.models)
  name         = each.value
  force_delete = var.disposable
}

resource "aws_sns_topic" "people" {
  name = "people"
}

resource "aws_ssm_parameter" "secret" {
  name  = "/secret"
  type  = "SecureString"
  value = var.password
}
"""


def new_checkout(folder: Path, aws: LocalAws, text: str) -> Checkout:
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    root = folder / "terraform" / "root"
    root.mkdir(parents=True)
    shutil.copy(CHECKOUT / "terraform" / "root" / "backend.tf", root)
    (root / "main.tf").write_text(_VARIABLES + text)
    checkout = Checkout(folder, aws)
    checkout.environment("quick")
    return checkout


def make_state_bucket(aws: LocalAws) -> None:
    """Again is fine."""
    s3 = aws.client("s3")
    if STATE not in {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}:
        s3.create_bucket(Bucket=STATE, CreateBucketConfiguration={"LocationConstraint": REGION})


@pytest.fixture(scope="module")
def plain(aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A root that Terraform itself can carry out."""
    checkout = new_checkout(tmp_path_factory.mktemp("plain"), aws, _PLAIN_ROOT)
    checkout.commit("feat: an environment")
    return checkout


@pytest.fixture(scope="module")
def small(aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A root with a few resources of AWS that shares a state bucket with `plain`, never a state."""
    make_state_bucket(aws)
    checkout = new_checkout(tmp_path_factory.mktemp("small"), aws, AWS_PROVIDER + _AWS_ROOT)
    root = checkout.folder / "terraform" / "root"
    shutil.copy(CHECKOUT / "terraform" / "root" / ".terraform.lock.hcl", root)
    backend = root / "backend.tf"
    backend.write_text(backend.read_text().replace("ml-ops/terraform", "small/terraform"))
    return checkout


@pytest.fixture(scope="module")
def attached(small: Checkout, installed: Path) -> Iterator[Checkout]:
    """`small`, whose commands need not start a provider any more."""
    with small.attached(installed) as checkout:
        yield checkout


class TestBeforeTerraformStarts:
    """Every one of these ends before anything is planned."""

    def test_a_wrong_name_gets_the_nearest_one(self, plain: Checkout) -> None:
        done = plain.mlops("plan", "quik")
        assert done.code == 2
        assert "There is no environment 'quik'; did you mean 'quick'?" in done.err

    def test_a_folder_without_environments(self, plain: Checkout) -> None:
        done = plain.mlops("plan", "quick", "--directory", "elsewhere")
        assert done.code == 2
        assert "There are no environments in elsewhere/environments" in done.err

    def test_an_environment_without_a_state(self, plain: Checkout) -> None:
        plain.environment("stateless")
        (plain.folder / "terraform" / "environments" / "stateless" / "backend.hcl").unlink()
        done = plain.mlops("plan", "stateless")
        assert done.code == 2
        assert "'stateless' has no state of its own" in done.err

    def test_values_of_another_environment(self, plain: Checkout) -> None:
        plain.environment("copied", environment="quick")
        done = plain.mlops("plan", "copied")
        assert done.code == 13
        assert "environment is 'quick', the folder's name is 'copied'" in done.err

    def test_values_that_are_no_hcl(self, plain: Checkout) -> None:
        plain.environment("broken")
        values = plain.folder / "terraform" / "environments" / "broken" / "values.tfvars"
        values.write_text('environment = "broken"\naccount_id =\n')
        done = plain.mlops("plan", "broken")
        assert done.code == 13
        assert "values.tfvars line 2" in done.err
        assert "\x1b" not in done.err

    def test_credentials_of_another_account(self, plain: Checkout) -> None:
        plain.environment("foreign", account_id="999999999999")
        done = plain.mlops("plan", "foreign")
        assert done.code == 14
        assert f"arn:aws:sts::{ACCOUNT}:" in done.err
        assert "account_id = 999999999999" in done.err

    def test_a_state_bucket_that_is_not_there(self, plain: Checkout) -> None:
        done = plain.mlops("plan", "quick")
        assert done.code == 62
        assert f"The bucket {STATE} of Terraform's state does not exist" in done.err
        assert "mlops terraform bootstrap quick" in done.err
        make_state_bucket(plain.aws)

    def test_a_state_bucket_in_another_region(self, plain: Checkout) -> None:
        plain.environment("remote")
        backend = plain.folder / "terraform" / "environments" / "remote" / "backend.hcl"
        backend.write_text(backend.read_text().replace(REGION, "eu-central-1"))
        done = plain.mlops("plan", "remote")
        assert done.code == 62
        assert f"it is in {REGION}" in done.err

    def test_an_apply_without_a_plan(self, plain: Checkout) -> None:
        done = plain.mlops("apply", "quick")
        assert done.code == 64
        assert "There is no reviewed plan of quick" in done.err
        assert "next: mlops terraform plan quick" in done.err

    @pytest.mark.parametrize(
        "words", [["apply", "quick", "--allow-replace", "x"], ["plan", "quick", "--confirm", "quick"]]
    )
    def test_an_option_of_another_action(self, plain: Checkout, words: list[str]) -> None:
        assert plain.mlops(*words).code == 2


class TestPlanAndApply:
    """From nothing to an environment, with what can go wrong between review and apply."""

    def test_a_plan_is_a_table_and_files(self, plain: Checkout) -> None:
        done = plain.mlops("plan", "quick")
        assert done.code == 0, done.err
        assert done.out.startswith("quick: 1 to create\n")
        assert re.search(r"^create +terraform_data\.data$", done.out, re.MULTILINE)
        assert "next: mlops terraform apply quick" in done.out
        assert json.loads(plain.out("plan.json").read_text()) == {"create": 1, "update": 0, "delete": 0}
        reviewed = json.loads(plain.out("reviewed.json").read_text())
        assert set(reviewed["files"]) == {"plan.tfplan", "dag-trigger.zip"}
        assert reviewed["versions"]["terraform"].startswith("1.")
        assert len(reviewed["commit"]) == 40
        assert "| create | `terraform_data.data` |" in plain.out("summary.md").read_text()

    def test_the_checkout_stays_clean(self, plain: Checkout) -> None:
        command = ["git", "status", "--porcelain", "--", "terraform/root"]
        assert subprocess.run(command, cwd=plain.folder, capture_output=True, check=True).stdout == b""

    def test_a_locked_state_names_who_holds_it_and_how_to_unlock(self, plain: Checkout) -> None:
        lock = {
            "ID": "8d1a5a39-6c4c-4f0e-9b0f-0f1f0c9e7f10",
            "Operation": "OperationTypeApply",
            "Info": "",
            "Who": "ann@laptop",
            "Version": "1.11.4",
            "Created": "2026-01-02T03:04:05.678Z",
            "Path": f"{STATE}/ml-ops/terraform.tfstate",
        }
        s3 = plain.aws.client("s3")
        s3.put_object(Bucket=STATE, Key=LOCK, Body=json.dumps(lock))
        done = plain.mlops("plan", "quick", "--lock-timeout", "1")
        assert done.code == 61
        assert "ann@laptop holds it for an apply since 2026-01-02 03:04:05" in done.err
        match = re.search(r"unlocking: (cd .*)", done.err)
        assert match
        subprocess.run(["sh", "-c", match[1]], cwd=plain.folder, env=plain.variables(), check=True)
        assert "Contents" not in s3.list_objects_v2(Bucket=STATE, Prefix=LOCK)
        shutil.rmtree(plain.folder / "terraform" / "root" / ".terraform")

    def test_a_plan_that_failed_leaves_none_to_apply(self, plain: Checkout) -> None:
        assert not plain.out("plan.tfplan").exists()
        assert plain.mlops("apply", "quick").code == 64
        assert plain.mlops("plan", "quick").code == 0

    def test_a_package_that_was_changed(self, plain: Checkout) -> None:
        package = plain.out("dag-trigger.zip")
        content = package.read_bytes()
        package.write_bytes(content + b"more")
        done = plain.mlops("apply", "quick")
        assert done.code == 64
        assert "changed, missing or new in terraform-plan/quick: dag-trigger.zip" in done.err
        package.write_bytes(content)

    def test_a_plan_of_another_environment(self, plain: Checkout) -> None:
        plain.environment("other")
        done = plain.mlops("apply", "other", "--out", "terraform-plan/quick")
        assert done.code == 64
        assert f"is of quick, account {ACCOUNT}" in done.err

    def test_a_plan_of_another_commit(self, plain: Checkout) -> None:
        plain.commit("feat: something else")
        done = plain.mlops("apply", "quick")
        assert done.code == 64
        assert "another commit" in done.err
        subprocess.run(["git", "reset", "--quiet", "--soft", "HEAD~1"], cwd=plain.folder, check=True)

    def test_apply_does_what_was_planned(self, plain: Checkout) -> None:
        done = plain.mlops("apply", "quick")
        assert done.code == 0, done.err
        assert "✓ quick: 1 created" in done.out
        assert re.search(r"^suffix +one$", done.out, re.MULTILINE)
        assert "terraform_data.data: Creation complete" in done.err
        assert (
            "GitLab group variable MLOPS_BUILD_ROLE_ARN = arn:aws:iam::123456789012:role/ml-ops-build"
            in done.out
        )

    def test_a_second_apply_is_stale(self, plain: Checkout) -> None:
        done = plain.mlops("apply", "quick")
        assert done.code == 64
        assert "The plan is stale: nothing was changed" in done.err
        assert "Plan again" in done.err

    def test_outputs_for_people_and_machines(self, plain: Checkout) -> None:
        done = plain.mlops("output", "quick", "--json")
        assert json.loads(done.out) == {
            "suffix": "one",
            "password": "(sensitive)",
            "role_arns": {"build": "arn:aws:iam::123456789012:role/ml-ops-build"},
        }
        assert "(sensitive)" in plain.mlops("output", "quick").out

    def test_no_changes_are_no_failure(self, plain: Checkout) -> None:
        done = plain.mlops("plan", "quick")
        assert (done.code, done.out) == (0, "quick: no changes\n")
        done = plain.mlops("apply", "quick")
        assert (done.code, done.out) == (0, "✓ quick: nothing to do, the plan has no changes\n")


class TestInterruption:
    """Nothing half done that the next plan does not go on from."""

    def test_an_apply_that_fails_says_how_to_go_on(self, plain: Checkout) -> None:
        plain.environment("quick", command="exit 7")
        assert plain.mlops("plan", "quick").code == 0
        done = plain.mlops("apply", "quick")
        assert done.code == 60
        assert "exit status 7" in done.said
        assert "What was done is in the state, and nothing is locked." in done.err

    def test_a_cancelled_apply_ends_in_order(self, plain: Checkout) -> None:
        plain.environment("quick", command="sleep 120")
        assert plain.mlops("plan", "quick").code == 0
        with plain.start("apply", "quick") as process:
            assert process.stderr
            for line in process.stderr:
                if "Provisioning" in line or "Creating..." in line:
                    break
            time.sleep(1)
            started = time.monotonic()
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=100)
        assert process.returncode == 130
        assert time.monotonic() - started < 60
        assert "nothing is locked. Plan and apply again" in err
        assert "Contents" not in plain.aws.client("s3").list_objects_v2(Bucket=STATE, Prefix=LOCK)
        plain.environment("quick")
        assert plain.mlops("plan", "quick").code == 0
        assert plain.mlops("apply", "quick").code == 0


def push(aws: LocalAws, model: str, *tags: str) -> None:
    for tag in tags:
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {},
            "layers": [{"digest": f"sha256:{hashlib.sha256(tag.encode()).hexdigest()}", "size": 1}],
        }
        aws.client("ecr").put_image(repositoryName=model, imageManifest=json.dumps(manifest), imageTag=tag)


SERVED = "served"
"""The repository of what endpoints serve here; Terraform does not know it."""


def serve(checkout: Checkout) -> str:
    """Make an endpoint of a model; what it would serve does not matter."""
    sagemaker, ecr = checkout.aws.client("sagemaker"), checkout.aws.client("ecr")
    endpoint = "web-safety--spam"
    model = f"{endpoint}--1-0-0--r0"
    role = f"arn:aws:iam::{ACCOUNT}:role/execution"
    with suppress(ClientError):  # an earlier test made both
        make_role(checkout.aws.client("iam"), role)
        ecr.create_repository(repositoryName=SERVED)
        push(checkout.aws, SERVED, "1.0.0")
    registry = ecr.describe_repositories(repositoryNames=[SERVED])["repositories"][0]["repositoryUri"]
    sagemaker.create_model(
        ModelName=model, ExecutionRoleArn=role, PrimaryContainer={"Image": f"{registry}:1.0.0"}
    )
    size = {"InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(
        EndpointConfigName=model, ProductionVariants=[{"VariantName": "all", "ModelName": model, **size}]
    )
    sagemaker.create_endpoint(EndpointName=endpoint, EndpointConfigName=model)
    return endpoint


def take_down(checkout: Checkout, endpoint: str) -> None:
    checkout.aws.client("sagemaker").delete_endpoint(EndpointName=endpoint)
    wait_until_gone(checkout, endpoint)


def wait_until_gone(checkout: Checkout, endpoint: str) -> None:
    sagemaker = checkout.aws.client("sagemaker")
    deadline = time.monotonic() + 60
    while sagemaker.list_endpoints(NameContains=endpoint)["Endpoints"]:
        assert time.monotonic() < deadline
        time.sleep(0.2)


class TestLosses:
    """What no plan may do unless somebody says so, and who may be destroyed."""

    def test_a_provider_that_cannot_be_fetched(self, small: Checkout, tmp_path: Path) -> None:
        (tmp_path / "mirror").mkdir()
        mirror = f'provider_installation {{ filesystem_mirror {{ path = "{tmp_path / "mirror"}" }} }}'
        (tmp_path / "rc").write_text(mirror)
        done = small.mlops("plan", "quick", TF_CLI_CONFIG_FILE=str(tmp_path / "rc"))
        assert done.code == 71
        assert "Terraform's provider cannot be fetched" in done.err
        assert "TF_CLI_CONFIG_FILE" in done.err

    def test_an_environment_with_data(self, small: Checkout) -> None:
        done = small.mlops("plan", "quick")
        assert done.code == 0, done.err
        assert "! No git history found" in done.out
        reviewed = json.loads(small.out("reviewed.json").read_text())
        assert reviewed["versions"]["registry.terraform.io/hashicorp/aws"] == "5.100.0"
        done = small.mlops("apply", "quick")
        assert done.code == 0, done.err

    def test_a_removed_model_has_images(self, attached: Checkout) -> None:
        attached.environment("quick", models=["web-safety/phishing-url"])
        done = attached.mlops("plan", "quick")
        assert done.code == 63
        assert "loses its images" in done.err
        assert """--allow-replace 'aws_ecr_repository.model["web-safety/spam"]'""" in done.err
        # The table is there for the reviewer, and nothing to apply.
        assert re.search(r'DESTROY +aws_ecr_repository\.model\["web-safety/spam"\]', done.err)
        assert json.loads(attached.out("plan.json").read_text())["delete"] == 1
        assert not attached.out("plan.tfplan").exists()
        assert attached.mlops("apply", "quick").code == 64

    def test_what_is_named_may_go(self, attached: Checkout) -> None:
        address = 'aws_ecr_repository.model["web-safety/spam"]'
        done = attached.mlops("plan", "quick", MLOPS_ALLOW_REPLACE=f"module.elsewhere {address}")
        assert done.code == 0, done.err
        assert json.loads(attached.out("reviewed.json").read_text())["allow_replace"] == [address]

    def test_a_model_that_was_deployed_after_the_review(self, attached: Checkout) -> None:
        endpoint = serve(attached)
        done = attached.mlops("apply", "quick")
        assert done.code == 63
        assert f"SageMaker serves {endpoint}" in done.err

    def test_a_removed_model_that_is_still_deployed(self, attached: Checkout) -> None:
        allowed = 'aws_ecr_repository.model["web-safety/spam"]'
        done = attached.mlops("plan", "quick", "--allow-replace", allowed)
        assert done.code == 63
        assert "SageMaker serves web-safety--spam" in done.err
        assert "aws sagemaker delete-endpoint --endpoint-name web-safety--spam" in done.err

    def test_a_bucket_that_would_be_replaced(self, attached: Checkout) -> None:
        attached.environment("quick", suffix="two", password=f"{PASSWORD}-2")
        done = attached.mlops("plan", "quick", "--allow-replace", "aws_s3_bucket.date")
        assert done.code == 63
        assert re.search(r"REPLACE +aws_s3_bucket.data +because of bucket: data-one → data-two", done.err)
        assert "replace aws_s3_bucket.data loses its objects" in done.err
        assert "--allow-replace 'aws_s3_bucket.data'" in done.err

    def test_no_secret_is_written_anywhere(self, attached: Checkout) -> None:
        done = attached.mlops("plan", "quick", "--json", "--allow-replace", "aws_s3_bucket.data")
        assert done.code == 0, done.err
        changes = {one["address"]: one for one in json.loads(done.out)["changes"]}
        assert "value: (sensitive)" in changes["aws_ssm_parameter.secret"]["details"]
        texts = [
            file.read_text() for file in attached.out("").iterdir() if file.suffix in (".json", ".md", ".log")
        ]
        assert len(texts) == 4
        assert not [text for text in (done.out, done.err, *texts) if PASSWORD in text]

    def test_an_environment_that_must_stay(self, attached: Checkout) -> None:
        done = attached.mlops("destroy", "quick", "--confirm", "quick")
        assert done.code == 63
        assert "does not say disposable = true" in done.err

    def test_a_destroy_that_would_stop_half_way_does_not_begin(self, attached: Checkout) -> None:
        endpoint = "web-safety--spam"
        attached.environment("quick", disposable=True)
        done = attached.mlops("destroy", "quick", "--confirm", "quick")
        assert done.code == 63
        assert f"SageMaker serves {endpoint}" in done.err
        take_down(attached, endpoint)
        done = attached.mlops("destroy", "quick", "--confirm", "quick")
        assert done.code == 63
        assert "disposable = true is not applied yet to data-one, web-safety/phishing-url" in done.err
        assert attached.mlops("plan", "quick").code == 0
        assert attached.mlops("apply", "quick").code == 0

    def test_without_its_name_a_destroy_only_shows_what_would_go(self, attached: Checkout) -> None:
        done = attached.mlops("destroy", "quick", "--confirm", "quik")
        assert done.code == 2
        assert "quick: 5 to destroy" in done.err
        assert "mlops terraform destroy quick --confirm quick" in done.err
        assert attached.aws.client("ecr").describe_repositories(repositoryNames=["web-safety/spam"])

    def test_with_its_name_all_of_it_goes(self, attached: Checkout) -> None:
        done = attached.mlops("destroy", "quick", "--confirm", "quick")
        assert done.code == 0, done.err
        assert "✓ quick: 5 destroyed" in done.out
        left = attached.aws.client("ecr").describe_repositories()["repositories"]
        assert [one["repositoryName"] for one in left if one["repositoryName"] != SERVED] == []
        assert [one["Name"] for one in attached.aws.client("s3").list_buckets()["Buckets"]] == [STATE]
