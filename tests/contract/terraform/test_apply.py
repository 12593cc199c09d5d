"""The root with the values of `local`, applied by the real Terraform. Tests run in the order of this file."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from mlops.clients.aws.oci_registry import OWNER_TAG, Registry
from mlops.clients.aws.parameter_store import read_settings
from mlops.contracts import runs
from mlops.contracts.platform_settings import PlatformSettings
from mlops_local.stack import terraform

from . import moves
from .conftest import Applied, LocalAws
from .policies import objections

ACCOUNT = "123456789012"
BUCKET = f"ml-ops-local-{ACCOUNT}"
DASHBOARDS = "https://eu-west-1.console.aws.amazon.com/cloudwatch/home?region=eu-west-1#dashboards/dashboard"


def test_outputs(applied: Applied) -> None:
    registry = applied.aws.endpoint.removeprefix("http://")
    assert applied.outputs == {
        "bucket": BUCKET,
        "topic_arn": f"arn:aws:sns:eu-west-1:{ACCOUNT}:ml-ops-notifications",
        "trigger_function": "ml-ops-dag-trigger",
        "repositories": {
            name: f"{registry}/{name}" for name in ("fraud/card-payments", "web-safety/phishing-url")
        },
        "execution_role_arn": f"arn:aws:iam::{ACCOUNT}:role/ml-ops-sagemaker-execution",
        "settings_parameter": "/ml-ops/settings",
        "slack_secret": "airflow/connections/slack",
        "slack_secrets": {},
        "role_arns": {},
        "dashboards": {
            "fraud/card-payments": f"{DASHBOARDS}/ml-ops-fraud--card-payments",
            "web-safety/phishing-url": f"{DASHBOARDS}/ml-ops-web-safety--phishing-url",
        },
        "airflow_environment": "ml-ops-local",
        "airflow_url": "",
        "platform_dashboard": f"{DASHBOARDS}/ml-ops-platform",
        "alarms": {
            f"{project}/{model}": [
                f"ml-ops-{project}--{model}-{alarm}"
                for alarm in ("errors", "unanswered", "latency", "memory")
            ]
            for project, model in (("fraud", "card-payments"), ("web-safety", "phishing-url"))
        },
    }


def test_a_plan_of_an_older_state_changes_only_a_model_s_project_that_was_changed_by_hand(
    applied: Applied,
) -> None:
    """The state has the addresses of before module private-bucket: its resources move, and none is replaced."""
    ecr = applied.aws.client("ecr")
    arns = {
        one["repositoryName"]: one["repositoryArn"] for one in ecr.describe_repositories()["repositories"]
    }
    owners = {name: Registry(ecr, name).owner() for name in arns}
    assert owners == {"fraud/card-payments": "", "web-safety/phishing-url": "models/phishing-url"}

    moved = [{"Key": OWNER_TAG, "Value": "models/elsewhere"}]
    ecr.tag_resource(resourceArn=arns["web-safety/phishing-url"], tags=moved)
    program, plan = applied.terraform(), applied.home / "moved"
    modules = {"module.storage": "modules/storage"}
    older = moves.undone(program.stored_state(), modules)
    terraform.restore(applied.home, json.dumps(older))
    assert program.plan_to(plan)[0]
    document = program.describe(plan)
    assert moves.made(document) == moves.expected(modules)
    assert {
        name for name, change in document["output_changes"].items() if change["actions"] != ["no-op"]
    } == set()
    address = 'module.registry.aws_ecr_repository.this["web-safety/phishing-url"]'
    assert moves.changes(document) == {address: ["update"]}
    program.apply_plan(plan)
    assert Registry(ecr, "web-safety/phishing-url").owner() == "models/phishing-url"


def test_settings_are_those_the_command_reads(applied: Applied) -> None:
    settings = read_settings(applied.aws.client("ssm"))
    assert settings == PlatformSettings(
        environment="local",
        region="eu-west-1",
        bucket=BUCKET,
        execution_role_arn=applied.outputs["execution_role_arn"],
        topic_arn=applied.outputs["topic_arn"],
        trigger_function="ml-ops-dag-trigger",
        airflow_environment="ml-ops-local",
        slack_secret="airflow/connections/slack",
        log_group_url=settings.log_group_url,
    )
    assert "{group}" in settings.log_group_url


def test_settings_have_the_fields_of_this_release(applied: Applied) -> None:
    document = applied.aws.client("ssm").get_parameter(Name="/ml-ops/settings")["Parameter"]["Value"]
    assert set(json.loads(document)) == {field.name for field in dataclasses.fields(PlatformSettings)}


def test_the_real_lambda_answers(applied: Applied) -> None:
    functions = applied.aws.client("lambda")
    answer = functions.invoke(FunctionName="ml-ops-dag-trigger", Payload=b"{}")
    assert json.load(answer["Payload"])["problem"]["kind"] == "malformed"
    settings = functions.get_function_configuration(FunctionName="ml-ops-dag-trigger")
    assert settings["Environment"]["Variables"]["ALLOWED_DAGS"] == ",".join(sorted(runs.CONFS))


def test_events_and_schedules_reach_the_real_lambda(applied: Applied) -> None:
    aws = applied.aws
    aws.client("s3").put_object(Bucket=BUCKET, Key="data/fraud/card-payments/train/a.csv", Body=b"1")
    aws.client("s3").put_object(Bucket=BUCKET, Key="fraud/card-payments/recipe.json", Body=b"{}")
    cloudwatch = aws.client("cloudwatch")
    for name in ("ml-ops-drift-fraud--card-payments", "ml-ops-other"):
        cloudwatch.put_metric_alarm(
            AlarmName=name,
            Namespace="ml-ops/models",
            MetricName="drift",
            Statistic="Maximum",
            Period=60,
            EvaluationPeriods=1,
            Threshold=0.2,
            ComparisonOperator="GreaterThanThreshold",
        )
        cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="drifted")
    schedule = {"name": "fraud--card-payments--monitoring", "group": "ml-ops", "time": "2026-03-01T00:00:00Z"}
    aws.post("/_mlops/events/fire", schedule)
    lines = aws.logged("/aws/lambda/ml-ops-dag-trigger", "event_id", 3)
    told = {(line["source"], line["dag_id"], line["outcome"]) for line in lines}
    # no Airflow answers here, so Lambda tries each of them again
    assert told == {
        ("aws.s3", "model_retraining", "airflow_unavailable"),
        ("aws.cloudwatch", "model_retraining", "airflow_unavailable"),
        ("ml-ops.schedule", "model_monitoring", "airflow_unavailable"),
    }
    cloudwatch.delete_alarms(AlarmNames=["ml-ops-drift-fraud--card-payments", "ml-ops-other"])


def test_the_bucket_takes_data_and_is_closed(applied: Applied) -> None:
    s3 = applied.aws.client("s3")
    s3.put_object(Bucket=BUCKET, Key="data/phishing-url/train/part.csv", Body=b"1")
    assert s3.get_bucket_versioning(Bucket=BUCKET)["Status"] == "Enabled"
    blocked = s3.get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"]
    assert all(blocked.values()) and len(blocked) == 4


def test_the_secret_has_no_value(applied: Applied) -> None:
    secrets = applied.aws.client("secretsmanager")
    with pytest.raises(secrets.exceptions.ResourceNotFoundException):
        secrets.get_secret_value(SecretId="airflow/connections/slack")


def test_no_policy_is_wider_than_it_must_be(applied: Applied) -> None:
    policies = _policies(applied.aws)
    assert set(policies) == {
        "role ml-ops-dag-trigger",
        "role ml-ops-dag-trigger trust",
        "role ml-ops-schedules",
        "role ml-ops-schedules trust",
        "role ml-ops-sagemaker-execution",
        "role ml-ops-sagemaker-execution trust",
        "bucket",
        "topic",
    }
    assert not [f"{name}: {line}" for name, policy in policies.items() for line in objections(policy)]


def test_destroy_leaves_nothing(applied: Applied) -> None:
    before = _everything(applied.aws)
    assert all(before.values()), before
    terraform.destroy(applied.home, applied.aws.endpoint)
    assert not any(_everything(applied.aws).values())


def _policies(aws: LocalAws) -> dict[str, Any]:
    iam = aws.client("iam")
    found = {}
    for role in iam.list_roles()["Roles"]:
        name = role["RoleName"]
        found[f"role {name} trust"] = role["AssumeRolePolicyDocument"]
        for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
            found[f"role {name}"] = iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
        assert not iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
    found["bucket"] = json.loads(aws.client("s3").get_bucket_policy(Bucket=BUCKET)["Policy"])
    topic = f"arn:aws:sns:eu-west-1:{ACCOUNT}:ml-ops-notifications"
    attributes = aws.client("sns").get_topic_attributes(TopicArn=topic)["Attributes"]
    found["topic"] = json.loads(attributes["Policy"])
    return found


def _everything(aws: LocalAws) -> dict[str, list[Any]]:
    """All there is, of every kind the modules create."""
    return {
        "buckets": aws.client("s3").list_buckets()["Buckets"],
        "repositories": aws.client("ecr").describe_repositories()["repositories"],
        "topics": aws.client("sns").list_topics()["Topics"],
        "subscriptions": aws.client("sns").list_subscriptions()["Subscriptions"],
        "roles": aws.client("iam").list_roles()["Roles"],
        "functions": aws.client("lambda").list_functions()["Functions"],
        "model package groups": aws.client("sagemaker").list_model_package_groups()[
            "ModelPackageGroupSummaryList"
        ],
        "log groups": aws.client("logs").describe_log_groups()["logGroups"],
        "log policies": aws.client("logs").describe_resource_policies()["resourcePolicies"],
        "dashboards": aws.client("cloudwatch").list_dashboards()["DashboardEntries"],
        "alarms": aws.client("cloudwatch").describe_alarms()["MetricAlarms"],
        "rules": aws.client("events").list_rules()["Rules"],
        "schedules": aws.client("scheduler").list_schedules()["Schedules"],
        "parameters": aws.client("ssm").describe_parameters()["Parameters"],
        "secrets": aws.client("secretsmanager").list_secrets()["SecretList"],
    }
