"""A model goes, with the real Terraform, the real modules and the commands of message and document.

AWS deletes neither a repository with images nor a group with versions, and says so only when half of an apply is
done. The tests run in the order of this file.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .aws_command import install
from .checkouts import ACCOUNT, AWS_PROVIDER, Checkout, Done
from .conftest import CHECKOUT, LocalAws
from .test_command import make_state_bucket, new_checkout, push, serve, wait_until_gone

KEPT, OLD, RETIRED = "web-safety/phishing-url", "web-safety/scam", "web-safety/spam"

_ROOT = """
module "registry" {
  source       = "../modules/registry"
  repositories = var.models
  force_delete = var.disposable
}

module "sagemaker" {
  source       = "../modules/sagemaker"
  role_name    = "ml-ops-sagemaker-execution"
  bucket_arn   = "arn:aws:s3:::ml-ops-data"
  repositories = module.registry.repository_arns
}
"""


def group(model: str) -> str:
    return model.replace("/", "--")


def repository_address(model: str) -> str:
    return f'module.registry.aws_ecr_repository.this["{model}"]'


def group_address(model: str) -> str:
    return f'module.sagemaker.aws_sagemaker_model_package_group.this["{model}"]'


def logs_address(model: str) -> str:
    return f'module.sagemaker.aws_cloudwatch_log_group.this["/aws/sagemaker/Endpoints/{group(model)}"]'


@pytest.fixture(scope="module")
def prod(aws: LocalAws, installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """An environment with three models, called as in the document."""
    make_state_bucket(aws)
    clone = new_checkout(tmp_path_factory.mktemp("retirement"), aws, AWS_PROVIDER + _ROOT)
    terraform = clone.folder / "terraform"
    for module in ("registry", "sagemaker"):
        ignored = shutil.ignore_patterns(".terraform*", "*.md")
        shutil.copytree(
            CHECKOUT / "terraform" / "modules" / module, terraform / "modules" / module, ignore=ignored
        )
    shutil.copy(CHECKOUT / "terraform" / "root" / ".terraform.lock.hcl", terraform / "root")
    with clone.attached(installed) as checkout:
        checkout.environment("prod", models=[KEPT, OLD, RETIRED])
        assert plan(checkout).code == 0
        assert checkout.mlops("apply", "prod").code == 0
        yield checkout


@pytest.fixture(scope="module")
def refused(prod: Checkout) -> Done:
    """A plan without a model that has two images and three versions; everything is allowed."""
    push(prod.aws, OLD, "1.0.0", "1.1.0")
    register(prod.aws, OLD, 3)
    prod.environment("prod", models=[KEPT, RETIRED])
    return plan(prod, repository_address(OLD), group_address(OLD), logs_address(OLD))


def plan(checkout: Checkout, *allowed: str) -> Done:
    return checkout.mlops(
        "plan", "prod", *(word for address in allowed for word in ("--allow-replace", address))
    )


def register(aws: LocalAws, model: str, count: int) -> None:
    for _ in range(count):
        aws.client("sagemaker").create_model_package(
            ModelPackageGroupName=group(model),
            InferenceSpecification={
                "Containers": [{"Image": f"127.0.0.1/{model}:1.0.0"}],
                "SupportedContentTypes": ["application/json"],
                "SupportedResponseMIMETypes": ["application/json"],
            },
        )


def left(aws: LocalAws, model: str) -> tuple[bool, bool]:
    """Whether its repository and its group are there."""
    names = {one["repositoryName"] for one in aws.client("ecr").describe_repositories()["repositories"]}
    groups = aws.client("sagemaker").list_model_package_groups()["ModelPackageGroupSummaryList"]
    return model in names, group(model) in {one["ModelPackageGroupName"] for one in groups}


def type_in(checkout: Checkout, lines: list[str], folder: Path) -> None:
    """What an administrator types, in a shell that has the AWS CLI."""
    place = f"{install(folder)}{os.pathsep}{os.environ['PATH']}"
    for line in lines:
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line],
            env=checkout.variables(PATH=place),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def commands(done: Done) -> list[str]:
    """The commands of a message."""
    return [line.strip() for line in done.err.splitlines() if line.strip().startswith("aws ")]


def documented() -> list[str]:
    """The commands of the section, with this account."""
    text = (CHECKOUT / "docs" / "operate" / "terraform.md").read_text(encoding="utf-8")
    section = text.partition("\n## Retire a model\n")[2].partition("\n## ")[0]
    blocks = "".join(re.findall(r"```sh\n(.*?)```", section, re.DOTALL))
    lines = re.sub(r"\\\n\s*", "", blocks).splitlines()
    return [line.strip().replace("333333333333", ACCOUNT) for line in lines if line.strip()]


class TestRefusal:
    """Until a model is empty nothing of it goes, whatever is allowed."""

    @pytest.mark.usefixtures("refused")
    def test_aws_deletes_nothing_that_is_not_empty(self, prod: Checkout) -> None:
        with pytest.raises(ClientError, match="RepositoryNotEmptyException"):
            prod.aws.client("ecr").delete_repository(repositoryName=OLD)
        with pytest.raises(ClientError, match="ConflictException"):
            prod.aws.client("sagemaker").delete_model_package_group(ModelPackageGroupName=group(OLD))

    def test_a_plan_names_what_is_not_empty(self, prod: Checkout, refused: Done) -> None:
        assert refused.code == 63
        assert f"{repository_address(OLD)} has 2 images\n" in refused.err
        assert f"{group_address(OLD)} has 3 versions\n" in refused.err
        assert "Keep the entry in models.auto.tfvars" in refused.err
        assert f"administrator of account {ACCOUNT}" in refused.err
        assert not prod.out("plan.tfplan", "prod").exists()

    def test_its_commands_empty_it(self, prod: Checkout, refused: Done, tmp_path: Path) -> None:
        assert len(commands(refused)) == 2
        type_in(prod, commands(refused), tmp_path)
        assert left(prod.aws, OLD) == (False, True)
        done = plan(prod)
        assert done.code == 63
        assert f"--allow-replace '{group_address(OLD)}'" in done.err
        assert repository_address(OLD) not in done.err


class TestDocument:
    """The section `Retire a model`, line by line."""

    def test_its_commands_empty_a_model_and_plan(self, prod: Checkout, tmp_path: Path) -> None:
        endpoint = serve(prod)
        push(prod.aws, RETIRED, "1.0.0")
        register(prod.aws, RETIRED, 1)
        *typed, planned, applied = documented()
        assert [line.split()[1] for line in typed] == ["sagemaker", "ecr", "sagemaker"]
        assert applied == "mlops terraform apply prod"
        type_in(prod, typed, tmp_path)
        wait_until_gone(prod, endpoint)
        # The other one's entry is back.
        prod.environment("prod", models=[KEPT, OLD])
        done = prod.mlops(*shlex.split(planned)[2:])
        assert done.code == 0, done.err

    def test_an_apply_changes_nothing_when_somebody_registered_a_version_since(
        self, prod: Checkout, tmp_path: Path
    ) -> None:
        register(prod.aws, RETIRED, 1)
        done = prod.mlops("apply", "prod")
        assert done.code == 63
        assert f"{group_address(RETIRED)} has 1 version\n" in done.err
        assert left(prod.aws, RETIRED) == (False, True)
        assert len(commands(done)) == 1
        type_in(prod, commands(done), tmp_path)

    def test_the_reviewed_plan_is_applied_then_and_what_the_model_made_stays(self, prod: Checkout) -> None:
        done = prod.mlops("apply", "prod")
        assert done.code == 0, done.err
        assert left(prod.aws, RETIRED) == (False, False)
        assert left(prod.aws, OLD) == (True, True)
        models: list[dict[str, Any]] = prod.aws.client("sagemaker").list_models()["Models"]
        assert [one["ModelName"] for one in models] == [f"{group(RETIRED)}--1-0-0--r0"]
