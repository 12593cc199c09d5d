"""From Terraform's JSON to the table, the report and the refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from mlops.base.errors import AuthenticationError, PlanRefusedError, StateUnreachableError, UsageError
from mlops.platform import account, guards, terraform_plan
from mlops.platform.environment import Environment

TOPIC = "arn:aws:sns:eu-west-1:123456789012:people"


def entry(address: str, *actions: str, **change: Any) -> dict[str, Any]:
    """A resource of `resource_changes`."""
    kind = address.split(".")[-2]
    return {
        "address": address,
        "mode": "managed",
        "type": kind,
        "change": {"actions": list(actions), **change},
    }


def plan_of(*entries: dict[str, Any], **more: Any) -> terraform_plan.Plan:
    return terraform_plan.read({"resource_changes": list(entries), **more})


CREATED = entry("module.a.aws_iam_role.new", "create", before=None, after={"name": "new"})
CHANGED = entry(
    "aws_lambda_function.this",
    "update",
    before={"timeout": 30, "memory_size": 256, "policy": "x" * 60, "token": "hunter2"},
    after={"timeout": 60, "memory_size": 256, "policy": "y" * 60, "token": "hunter3"},
    after_unknown={"version": True},
    before_sensitive={"token": True},
    after_sensitive={"token": True},
)
REPLACED = entry(
    "aws_s3_bucket.data",
    "delete",
    "create",
    before={"bucket": "one", "acl": "private"},
    after={"bucket": "two", "acl": "public"},
    replace_paths=[["bucket"]],
)
DESTROYED = entry(
    'aws_ecr_repository.this["web-safety/spam"]',
    "delete",
    before={"id": "web-safety/spam", "name": "web-safety/spam"},
    after=None,
)
READ = entry("aws_iam_role.same", "no-op", before={"name": "same"}, after={"name": "same"})
LOOKED_UP = {**entry("data.aws_region.current", "read"), "mode": "data"}
EVERYTHING = (CREATED, CHANGED, READ, LOOKED_UP, DESTROYED, REPLACED)


def test_what_can_lose_something_comes_first() -> None:
    plan = plan_of(*EVERYTHING)
    assert [change.action for change in plan.changes] == ["replace", "destroy", "change", "create"]
    headline = "prod: 1 to replace, 1 to destroy, 1 to change, 1 to create"
    assert terraform_plan.headline("prod", plan) == headline
    assert terraform_plan.done("prod", plan) == "✓ prod: 1 replaced, 1 destroyed, 1 changed, 1 created"
    lines = terraform_plan.table(plan).splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["REPLACE", "DESTROY", "change", "create"]


def test_a_change_shows_its_attributes_and_no_long_or_sensitive_value() -> None:
    (change,) = plan_of(CHANGED).changes
    assert change.details == (
        "policy",
        "timeout: 30 → 60",
        "token: (sensitive)",
        "version: none → (known after apply)",
    )
    assert "hunter" not in repr(change)
    assert "hunter" not in terraform_plan.table(plan_of(CHANGED))


def test_a_replacement_says_what_forces_it() -> None:
    (change,) = plan_of(REPLACED).changes
    assert change.details == ("because of bucket: one → two", "acl: private → public")


def test_a_sensitive_identity_is_not_shown() -> None:
    hidden = entry("aws_ssm_parameter.x", "delete", before={"id": "hunter2"}, before_sensitive={"id": True})
    assert plan_of(hidden).changes[0].details == ()


def test_a_resource_that_leaves_the_state_is_not_destroyed() -> None:
    plan = plan_of(entry("aws_s3_bucket.data", "forget", before={"id": "one"}))
    assert terraform_plan.headline("dev", plan) == "dev: 1 to forget"
    guards.refuse_losses(plan, (), "dev")


def test_gitlab_counts_a_replacement_twice() -> None:
    report = terraform_plan.gitlab_report(plan_of(*EVERYTHING))
    assert report == {"create": 2, "update": 1, "delete": 2}


@pytest.mark.parametrize(
    ("outputs", "headline"),
    [
        ({}, "dev: no changes"),
        ({"bucket": {"actions": ["no-op"]}}, "dev: no changes"),
        ({"bucket": {"actions": ["update"]}}, "dev: only outputs change (bucket)"),
    ],
)
def test_a_plan_without_resources(outputs: dict[str, Any], headline: str) -> None:
    assert terraform_plan.headline("dev", plan_of(READ, output_changes=outputs)) == headline


def test_drift_is_told_where_the_plan_takes_it_back() -> None:
    drifted = entry(
        "aws_lambda_function.this",
        "update",
        before={"timeout": 60, "tags": None},
        after={"timeout": 30, "tags": {}},
    )
    elsewhere = entry("aws_iam_role.same", "update", before={"tags": None}, after={"tags": {}})
    gone = entry("module.a.aws_iam_role.new", "delete", before={"name": "new"}, after=None)
    plan = plan_of(*EVERYTHING, resource_drift=[drifted, elsewhere, gone])
    assert plan.drift == (
        "module.a.aws_iam_role.new was deleted without Terraform",
        "aws_lambda_function.this was changed without Terraform: timeout",
    )


def test_the_summary_is_markdown_that_nothing_breaks_out_of() -> None:
    odd = entry('aws_iam_role.x["a|b`c"]', "update", before={"d": "<b>"}, after={"d": "@all"})
    text = terraform_plan.markdown("dev", plan_of(odd), ["one <note>"], "```` words")
    assert '| change | `aws_iam_role.x["a\\|b\'c"]` | d: &lt;b&gt; → &#64;all |' in text
    assert "- one &lt;note&gt;" in text
    assert "\n`````\n```` words\n`````\n" in text


def test_many_attributes_are_counted() -> None:
    before = {f"a{number}": 1 for number in range(9)}
    plan = plan_of(entry("aws_iam_role.x", "update", before=before, after=dict.fromkeys(before, 2)))
    assert terraform_plan.table(plan).endswith("a4: 1 → 2, and 4 more")
    assert len(terraform_plan.as_data(plan)["changes"][0]["details"]) == 9


@pytest.mark.parametrize("kind", sorted(guards.STATEFUL))
@pytest.mark.parametrize("actions", [("delete",), ("delete", "create"), ("create", "delete")])
def test_every_stateful_resource_is_kept(kind: str, actions: tuple[str, ...]) -> None:
    plan = plan_of(entry(f"module.a.{kind}.this", *actions, before={"id": "x"}, after={"id": "y"}))
    with pytest.raises(PlanRefusedError) as error:
        guards.refuse_losses(plan, (), "prod")
    assert f"{kind}.this loses {guards.STATEFUL[kind]}" in error.value.cause
    assert f"mlops terraform plan prod --allow-replace 'module.a.{kind}.this'" in error.value.next_step
    guards.refuse_losses(plan, [f"module.a.{kind}.this"], "prod")


def test_the_command_of_a_refusal_allows_everything_that_would_go() -> None:
    plan = plan_of(REPLACED, DESTROYED)
    with pytest.raises(PlanRefusedError) as error:
        guards.refuse_losses(plan, ["aws_s3_bucket.data"], "prod")
    assert "aws_s3_bucket.data" not in error.value.cause
    assert error.value.next_step.count("--allow-replace") == 2


def test_what_can_be_made_again_may_go() -> None:
    guards.refuse_losses(plan_of(entry("aws_iam_role.x", "delete", "create"), CHANGED), (), "prod")


def test_an_address_that_the_plan_does_not_hold() -> None:
    with pytest.raises(UsageError, match="does not replace or destroy") as error:
        guards.refuse_losses(plan_of(CHANGED), ["aws_s3_bucket.date"], "prod")
    assert error.value.cause == "aws_s3_bucket.date"


class Endpoints:
    """SageMaker with these endpoints."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def describe_endpoint(self, **given: str) -> dict[str, str]:
        from botocore.exceptions import ClientError

        if given["EndpointName"] in self.names:
            return {"EndpointStatus": "InService"}
        error = {"Code": "ValidationException", "Message": "Could not find endpoint"}
        raise ClientError({"Error": error}, "DescribeEndpoint")  # type: ignore[typeddict-item]


def test_a_removed_model_that_is_deployed_is_named() -> None:
    removed = guards.removed_models(plan_of(*EVERYTHING))
    assert removed == ["web-safety/spam"]
    served: Any = Endpoints("web-safety--spam", "web-safety--phishing-url")
    with pytest.raises(PlanRefusedError) as error:
        guards.refuse_deployed(served, removed, "The plan of prod removes models")
    assert error.value.cause == "SageMaker serves web-safety--spam"
    assert error.value.next_step.endswith("aws sagemaker delete-endpoint --endpoint-name web-safety--spam")
    free: Any = Endpoints("web-safety--phishing-url")
    guards.refuse_deployed(free, removed, "The plan of prod removes models")


def test_a_repository_that_is_replaced_removes_no_model() -> None:
    name = {"name": "a/b"}
    assert not guards.removed_models(
        plan_of(entry("aws_ecr_repository.x", "delete", "create", before=name, after=name))
    )


GROUP = "arn:aws:sagemaker:eu-west-1:333333333333:model-package-group/web-safety--spam"
GONE = entry(
    'module.sagemaker.aws_sagemaker_model_package_group.this["web-safety/spam"]',
    "delete",
    before={"model_package_group_name": "web-safety--spam", "arn": GROUP},
    after=None,
)
ASKED = {"repositoryName": "web-safety/spam", "maxResults": 1000, "filter": {"imageStatus": "ANY"}}


def packages(count: int) -> list[dict[str, Any]]:
    return [
        {
            "ModelPackageArn": f"{GROUP.replace('-group', '')}/{number}",
            "CreationTime": 0,
            "ModelPackageStatus": "Completed",
        }
        for number in range(1, count + 1)
    ]


def refuse_full(environment: Environment, ecr: Any, sagemaker: Any, *entries: dict[str, Any]) -> None:
    changes = guards.must_be_empty(plan_of(*entries))
    guards.refuse_full(ecr, sagemaker, changes, environment)


def test_a_removed_model_that_is_not_empty_is_named_with_what_empties_it(environment: Environment) -> None:
    ecr, images = stubbed("ecr")
    digests = ("sha256:" + digit * 64 for digit in "aab")
    found = [{"imageDigest": digest, "imageTag": str(tag)} for tag, digest in enumerate(digests)]
    images.add_response("list_images", {"imageIds": found}, ASKED)
    sagemaker, registry = stubbed("sagemaker")
    page = {"ModelPackageSummaryList": packages(100), "NextToken": "more"}
    wanted = {"ModelPackageGroupName": "web-safety--spam", "MaxResults": 100}
    registry.add_response("list_model_packages", page, wanted)
    with pytest.raises(PlanRefusedError, match="an apply would stop half-way") as error:
        refuse_full(environment, ecr, sagemaker, DESTROYED, GONE)
    assert error.value.cause.splitlines() == [
        'aws_ecr_repository.this["web-safety/spam"] has 2 images',
        'module.sagemaker.aws_sagemaker_model_package_group.this["web-safety/spam"]'
        " has at least 100 versions",
    ]
    first, *commands = error.value.next_step.splitlines()
    assert first.startswith("Keep the entry in models.auto.tfvars; or")
    assert "administrator of account 333333333333" in first
    assert commands == [
        "aws ecr delete-repository --region eu-west-1 --registry-id 333333333333"
        " --repository-name web-safety/spam --force",
        f"aws sagemaker list-model-packages --region eu-west-1 --model-package-group-name {GROUP}"
        " --query 'ModelPackageSummaryList[].ModelPackageArn' --output text"
        " | xargs -n 1 aws sagemaker delete-model-package --region eu-west-1 --model-package-name",
    ]


def test_of_a_removed_model_only_what_is_not_empty_is_named(environment: Environment) -> None:
    ecr, images = stubbed("ecr")
    images.add_response("list_images", {}, ASKED)
    sagemaker, registry = stubbed("sagemaker")
    registry.add_response("list_model_packages", {"ModelPackageSummaryList": packages(1)})
    with pytest.raises(PlanRefusedError) as error:
        refuse_full(environment, ecr, sagemaker, DESTROYED, GONE)
    assert error.value.cause.endswith(" has 1 version")
    assert "delete-repository" not in error.value.next_step


def test_a_removed_model_that_is_empty_or_gone_already_may_go(environment: Environment) -> None:
    ecr, images = stubbed("ecr")
    images.add_client_error("list_images", "RepositoryNotFoundException")
    sagemaker, registry = stubbed("sagemaker")
    registry.add_client_error(
        "list_model_packages", "ValidationException", f"ModelPackageGroup {GROUP} does not exist."
    )
    refuse_full(environment, ecr, sagemaker, DESTROYED, GONE)
    images.add_response("list_images", {})
    registry.add_response("list_model_packages", {"ModelPackageSummaryList": []})
    refuse_full(environment, ecr, sagemaker, DESTROYED, GONE)


@pytest.mark.parametrize("service", ["ecr", "sagemaker"])
def test_a_removed_model_that_may_not_be_looked_at_stays(environment: Environment, service: str) -> None:
    from botocore.exceptions import ClientError

    clients = {name: stubbed(name) for name in ("ecr", "sagemaker")}
    clients[service][1].add_client_error(
        {"ecr": "list_images", "sagemaker": "list_model_packages"}[service], "AccessDeniedException"
    )
    with pytest.raises(ClientError, match="AccessDenied"):
        refuse_full(
            environment,
            clients["ecr"][0],
            clients["sagemaker"][0],
            {"ecr": DESTROYED, "sagemaker": GONE}[service],
        )


def test_what_terraform_empties_itself_and_what_is_replaced_need_not_be_empty() -> None:
    disposable = entry(
        "aws_ecr_repository.x", "delete", before={"name": "a/b", "force_delete": True}, after=None
    )
    moved = entry("aws_ecr_repository.y", "delete", "create", before={"name": "a/c"}, after={"name": "a/c"})
    plan = plan_of(disposable, moved, DESTROYED, GONE, CREATED, REPLACED)
    assert [change.address for change in guards.must_be_empty(plan)] == [
        DESTROYED["address"],
        GONE["address"],
    ]


def test_topics_of_every_module_are_found() -> None:
    topic = {"type": "aws_sns_topic", "mode": "managed", "values": {"arn": TOPIC}}
    module = {"resources": [topic, {**topic, "mode": "data", "values": {"arn": "other"}}]}
    document = {"prior_state": {"values": {"root_module": {"child_modules": [{"child_modules": [module]}]}}}}
    assert guards.topics(document) == [TOPIC]
    assert guards.topics({}) == []
    instance = {"attributes": {"arn": TOPIC}}
    state = {"resources": [{"mode": "managed", "type": "aws_sns_topic", "instances": [instance]}]}
    assert guards.topics_of_state(state) == [TOPIC]
    assert guards.topics_of_state({}) == []


def stubbed(service: str) -> tuple[Any, Stubber]:
    """A client that answers only what AWS's own description of the service allows."""
    client = boto3.client(
        service,  # type: ignore[call-overload]
        region_name="eu-west-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    stub = Stubber(client)
    stub.activate()
    return client, stub


def subscription(endpoint: str, arn: str, protocol: str = "email") -> dict[str, str]:
    return {
        "SubscriptionArn": arn,
        "Owner": "1",
        "Protocol": protocol,
        "Endpoint": endpoint,
        "TopicArn": TOPIC,
    }


def test_everybody_who_has_not_confirmed_is_named() -> None:
    sns, stub = stubbed("sns")
    found = [
        subscription("ann@example.com", "PendingConfirmation"),
        subscription("bob@example.com", f"{TOPIC}:1"),
        subscription("https://example.com", "PendingConfirmation", "https"),
    ]
    stub.add_response(
        "list_subscriptions_by_topic", {"Subscriptions": found, "NextToken": "more"}, {"TopicArn": TOPIC}
    )
    late = [subscription("eve@example.com", "PendingConfirmation", "email-json")]
    stub.add_response(
        "list_subscriptions_by_topic", {"Subscriptions": late}, {"TopicArn": TOPIC, "NextToken": "more"}
    )
    notes = guards.unconfirmed(sns, [TOPIC])
    assert [note.split()[0] for note in notes] == ["ann@example.com", "eve@example.com"]
    assert "has not confirmed the subscription to people" in notes[0]


@pytest.mark.parametrize(("code", "notes"), [("NotFound", 0), ("AuthorizationError", 1)])
def test_a_topic_that_may_not_be_read_is_no_failure(code: str, notes: int) -> None:
    sns, stub = stubbed("sns")
    stub.add_client_error("list_subscriptions_by_topic", code)
    assert len(guards.unconfirmed(sns, [TOPIC])) == notes


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(
        name="prod",
        directory=tmp_path,
        out=tmp_path / "out",
        account_id="333333333333",
        region="eu-west-1",
        bucket="state",
        bucket_region="eu-west-1",
        disposable=False,
        has_airflow=False,
        prefix="ml-ops",
    )


def test_credentials_of_another_account(environment: Environment) -> None:
    sts, stub = stubbed("sts")
    arn = "arn:aws:sts::111111111111:assumed-role/ml-ops-plan/gitlab"
    stub.add_response("get_caller_identity", {"Account": "111111111111", "Arn": arn, "UserId": "A"})
    with pytest.raises(AuthenticationError) as error:
        account.check_account(environment, sts)
    assert arn in error.value.cause and "333333333333" in error.value.cause


def test_a_state_that_is_closed_to_us(environment: Environment) -> None:
    s3, stub = stubbed("s3")
    stub.add_client_error("head_bucket", "403", http_status_code=403)
    with pytest.raises(StateUnreachableError, match="closed to us"):
        account.check_state(environment, s3)


def test_a_state_in_another_region(environment: Environment) -> None:
    s3, stub = stubbed("s3")
    stub.add_response("head_bucket", {"BucketRegion": "us-east-1"})
    with pytest.raises(StateUnreachableError) as error:
        account.check_state(environment, s3)
    assert error.value.next_step == 'Write region = "us-east-1" there.'


def test_a_state_that_no_network_leads_to(environment: Environment) -> None:
    s3 = boto3.client(
        "s3",
        region_name="eu-west-1",
        endpoint_url="http://127.0.0.1:1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    with pytest.raises(StateUnreachableError, match="cannot be reached"):
        account.check_state(environment, s3)


def test_a_state_that_can_be_reached(environment: Environment) -> None:
    s3, stub = stubbed("s3")
    stub.add_response("head_bucket", {"BucketRegion": "eu-west-1"})
    account.check_state(environment, s3)
