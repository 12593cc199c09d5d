"""What a plan may not do without an explicit permission, and what a person has still to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlops.base.errors import AwsError, PlanRefusedError, UsageError
from mlops.clients.aws import model_packages, subscriptions
from mlops.clients.aws.ecr import count_images
from mlops.clients.aws.sagemaker import describe_endpoint
from mlops.contracts.versions import endpoint_name
from mlops.platform.environment import Environment
from mlops.platform.terraform_plan import Change, Plan, resources

if TYPE_CHECKING:
    from mypy_boto3_ecr import ECRClient
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_sns import SNSClient

# What is lost when a resource of this type is replaced or destroyed.
STATEFUL = {
    "aws_cloudwatch_log_group": "its logs",
    "aws_dynamodb_table": "its items",
    "aws_ecr_repository": "its images, those in production among them",
    "aws_iam_openid_connect_provider": "the way of every GitLab job into this account",
    "aws_kms_key": "everything that was encrypted with it",
    "aws_mwaa_environment": "the history of all runs, and Airflow itself for half an hour",
    "aws_s3_bucket": "its objects",
    "aws_sagemaker_model_package_group": "its model versions",
    "aws_secretsmanager_secret": "its value, which a person put there",
    "aws_sns_topic": "its subscriptions, which people confirmed",
    "aws_sqs_queue": "its messages",
    "aws_vpc": "the network that Airflow runs in",
}


def losses(plan: Plan) -> tuple[Change, ...]:
    """The stateful resources that would be replaced or destroyed."""
    return tuple(
        change
        for change in plan.changes
        if change.kind in STATEFUL and change.action in ("replace", "destroy")
    )


def refuse_losses(plan: Plan, allowed: Sequence[str], environment: str) -> None:
    """Refuse to lose data that the command line does not name.

    Raises:
        PlanRefusedError: naming each resource, what goes with it, and how to allow that.
        UsageError: when something is allowed that the plan does not do: most likely an address is misspelt.
    """
    lost = losses(plan)
    unknown = [address for address in allowed if address not in {change.address for change in lost}]
    refused = [change for change in lost if change.address not in allowed]
    if refused:
        options = " ".join(f"--allow-replace '{change.address}'" for change in lost)
        raise PlanRefusedError(
            f"The plan of {environment} would lose what cannot be made again",
            cause="\n".join(
                f"{change.action} {change.address} loses {STATEFUL[change.kind]}" + _reason(change)
                for change in refused
            ),
            next_step="Change the code so that it stays; a resource that only moved wants a moved block."
            f" If it may go: mlops terraform plan {environment} {options}",
        )
    if unknown:
        raise UsageError(
            "The plan does not replace or destroy what --allow-replace names",
            cause=", ".join(unknown),
            next_step="Leave it out, or give the address as the plan shows it.",
        )


def _reason(change: Change) -> str:
    return f" ({change.details[0]})" if change.details else ""


def endpoints_of(sagemaker: SageMakerClient, repositories: Iterable[str]) -> list[str]:
    """The endpoints there are of these models, each given as its repository `<project>/<model>`."""
    names = [endpoint_name(*name.split("/")) for name in sorted(repositories) if name.count("/") == 1]
    return [name for name in names if describe_endpoint(sagemaker, name) is not None]


def removed_models(plan: Plan) -> list[str]:
    """The repositories that would be destroyed for good."""
    return [
        str(change.before.get("name", ""))
        for change in plan.changes
        if change.kind == "aws_ecr_repository" and change.action == "destroy"
    ]


def refuse_deployed(sagemaker: SageMakerClient, repositories: Iterable[str], what: str) -> None:
    """Let no model go that is still in production.

    Args:
        what: The beginning of a message, such as `The plan of dev removes models`.

    Raises:
        PlanRefusedError: naming the endpoints and how to take them down.
    """
    names = endpoints_of(sagemaker, repositories)
    if names:
        commands = " && ".join(f"aws sagemaker delete-endpoint --endpoint-name {name}" for name in names)
        raise PlanRefusedError(
            f"{what} that are still deployed",
            cause=f"SageMaker serves {', '.join(names)}",
            next_step="Keep the entry in models.auto.tfvars; or, when nobody calls it any more, take it down:"
            f" {commands}",
        )


def must_be_empty(plan: Plan) -> list[Change]:
    """What would be destroyed for good, and what AWS destroys only when nothing is in it."""
    return [
        change
        for change in plan.changes
        if change.action == "destroy"
        and (
            change.kind == "aws_sagemaker_model_package_group"
            or (change.kind == "aws_ecr_repository" and not change.before.get("force_delete"))
        )
    ]


def refuse_full(
    ecr: ECRClient, sagemaker: SageMakerClient, changes: Iterable[Change], environment: Environment
) -> None:
    """Let no apply stop half-way because AWS keeps what is not empty. One call for each of `changes`.

    A person of that account deletes what cannot be restored, not a pipeline: its role would have to be one
    that may delete every model's versions.

    Raises:
        PlanRefusedError: naming each, how much is in it, and the commands that empty it.
    """
    causes, commands = [], []
    for change in changes:
        if change.kind == "aws_ecr_repository":
            found, noun = count_images(ecr, str(change.before["name"])), "image"
        else:
            group = str(change.before["model_package_group_name"])
            found, noun = model_packages.count(sagemaker, group), "version"
        if found[0]:
            causes.append(f"{change.address} has {_amount(*found, noun)}")
            commands.append(_emptying(change, environment))
    if causes:
        name, account = environment.name, environment.account_id
        raise PlanRefusedError(
            f"The plan of {name} destroys what AWS keeps until it is empty: an apply would stop half-way",
            cause="\n".join(causes),
            next_step="Keep the entry in models.auto.tfvars; or, when nobody needs these any more, have an"
            f" administrator of account {account} delete them for good, and plan again:\n"
            + "\n".join(commands),
        )


def _amount(count: int, more: bool, noun: str) -> str:
    return f"{'at least ' if more else ''}{count} {noun}{'' if count == 1 else 's'}"


def _emptying(change: Change, environment: Environment) -> str:
    """The command for a shell. It names the account, since a model is called the same in all of them."""
    place = f"--region {environment.region}"
    if change.kind == "aws_ecr_repository":
        # Image by image, those that an index refers to would be refused.
        registry = f"--registry-id {environment.account_id}"
        return (
            f"aws ecr delete-repository {place} {registry} --repository-name {change.before['name']} --force"
        )
    return (
        f"aws sagemaker list-model-packages {place} --model-package-group-name {change.before['arn']}"
        " --query 'ModelPackageSummaryList[].ModelPackageArn' --output text"
        f" | xargs -n 1 aws sagemaker delete-model-package {place} --model-package-name"
    )


def topics(document: Mapping[str, Any]) -> list[str]:
    """The ARNs of the SNS topics that were there when a plan was made."""
    return sorted(str(topic["arn"]) for topic in resources(document, "aws_sns_topic") if topic.get("arn"))


def topics_of_state(state: Mapping[str, Any]) -> list[str]:
    """The ARNs of the SNS topics in a state, as `terraform state pull` gives it."""
    return sorted(
        str(instance["attributes"]["arn"])
        for resource in state.get("resources", ())
        if (resource["mode"], resource["type"]) == ("managed", "aws_sns_topic")
        for instance in resource["instances"]
    )


def unconfirmed(sns: SNSClient, topic_arns: Iterable[str]) -> list[str]:
    """A note for each e-mail subscription that nobody confirmed; SNS forgets these after 48 hours."""
    notes = []
    for arn in topic_arns:
        try:
            addresses = subscriptions.pending(sns, arn)
        except AwsError as error:
            notes.append(f"Whether everybody on {arn} confirmed is not known: {error.cause}")
            continue
        notes += [
            f"{address} has not confirmed the subscription to {arn.rpartition(':')[2]} and gets no"
            " messages: the link is in AWS's e-mail"
            for address in addresses
        ]
    return notes
