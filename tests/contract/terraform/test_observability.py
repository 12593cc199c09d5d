"""Dashboards, alarms, forwarding and budget, applied by the real Terraform. Tests run in the order of this file."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from mlops.clients.aws.metrics import NAMESPACE
from mlops.clients.aws.sagemaker_requests import VARIANT
from mlops.clients.terraform.program import Terraform
from mlops.contracts.versions import endpoint_name
from tools.cost_tables import ALARM_METRICS_OF_A_MODEL, ALARM_METRICS_OF_AIRFLOW

from . import moves, provider
from .conftest import LocalAws
from .policies import objections
from .published_metrics import AIRFLOW_FUNCTIONS, PUBLISHED, WITH_PERCENTILES, Metric

CHECKOUT = Path(__file__).parents[3]
ACCOUNT = "123456789012"
MODELS = {("web-safety", "phishing-url"), ("fraud", "card-payments")}
GROUPS = ["/aws/lambda/ml-ops-dag-trigger", "/aws/sagemaker/TrainingJobs"]
# What clients/metrics.py writes.
OURS = (NAMESPACE, frozenset({"EndpointName", "Role"}))
DRIFT = {
    (NAMESPACE, name, frozenset({"EndpointName"}))
    for name in ("Drift", "DriftedFeatures", "MonitoredRows", "WorstPSI")
}
FIREHOSE = f"arn:aws:firehose:eu-west-1:{ACCOUNT}:deliverystream"
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html
COLUMNS, WIDGETS, METRICS_OF_A_WIDGET, METRICS_OF_A_DASHBOARD = 24, 500, 500, 2500
# Everything but the resources is a module of ours. Without a block for the provider, Terraform has it checked once
# less: by its environment it works as well, and each time takes two seconds of computing.
ROOT = {
    "terraform": {"required_providers": {"aws": {"source": "hashicorp/aws", "version": "5.100.0"}}},
    "resource": {
        "aws_cloudwatch_log_group": {"this": {"for_each": "${toset(var.groups)}", "name": "${each.value}"}},
        "aws_kinesis_firehose_delivery_stream": {
            "this": {
                "for_each": '${toset(["logs", "metrics"])}',
                "name": "${each.value}",
                "destination": "http_endpoint",
                "http_endpoint_configuration": {
                    "url": "https://example.com",
                    "role_arn": f"arn:aws:iam::{ACCOUNT}:role/firehose",
                    "s3_configuration": {
                        "bucket_arn": "arn:aws:s3:::undelivered",
                        "role_arn": f"arn:aws:iam::{ACCOUNT}:role/firehose",
                    },
                },
            }
        },
    },
    "variable": {"groups": {"type": "list(string)", "default": GROUPS}},
    "module": {
        "observability": {
            "source": "../modules/observability",
            "name": "ml-ops",
            "models": {f"{project}/{model}": endpoint_name(project, model) for project, model in MODELS},
            "topic_arn": f"arn:aws:sns:eu-west-1:{ACCOUNT}:ml-ops-notifications",
            "trigger_function": "ml-ops-dag-trigger",
            "dead_letter_queues": ["ml-ops-dag-trigger-failed-events"],
            "other_alarms": ["ml-ops-dag-trigger-errors"],
            "airflow_environment": "ml-ops-dev",
        },
        # no model, no Airflow, no queue
        "least": {
            "source": "../modules/observability",
            "name": "least",
            "models": {},
            "topic_arn": f"arn:aws:sns:eu-west-1:{ACCOUNT}:ml-ops-notifications",
            "trigger_function": "ml-ops-dag-trigger",
        },
        "forwarding": {
            "source": "../modules/log-forwarding",
            "name": "ml-ops",
            "log_destination_arn": f"{FIREHOSE}/logs",
            "log_groups": "${{ for name, group in aws_cloudwatch_log_group.this : name => group.name }}",
            "metric_destination_arn": f"{FIREHOSE}/metrics",
            "depends_on": ["aws_kinesis_firehose_delivery_stream.this"],
        },
        "budget": {
            "source": "../modules/budget",
            "name": "ml-ops",
            "monthly_usd": 1000,
            "email_addresses": ["finance@example.com"],
            "topic_arn": f"arn:aws:sns:eu-west-1:{ACCOUNT}:ml-ops-notifications",
        },
    },
}


@dataclass(frozen=True)
class Watched:
    """The modules, applied."""

    aws: LocalAws
    terraform: Terraform


@pytest.fixture(scope="module")
def watched(
    aws: LocalAws, program: Path, installed: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched") / "root"
    shutil.copytree(CHECKOUT / "terraform" / "modules", folder.parent / "modules")
    folder.mkdir()
    (folder / "main.tf.json").write_text(json.dumps(ROOT), encoding="utf-8")
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TF_CLI_CONFIG_FILE") if name in os.environ}
    environment = kept | {
        "AWS_ENDPOINT_URL": aws.endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "eu-west-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
        "GOGC": "400",
    }
    with provider.running(installed, folder.parent / "provider.log", environment) as attached:
        terraform = Terraform(
            program=program, folder=folder, environment=environment | attached, log=folder / "log"
        )
        terraform.initialise()
        terraform.apply_now(parallelism=20)
        yield Watched(aws, terraform)


@pytest.fixture(scope="module")
def dashboards(watched: Watched) -> dict[str, list[dict[str, Any]]]:
    """The widgets of every dashboard."""
    cloudwatch = watched.aws.client("cloudwatch")
    names = [entry["DashboardName"] for entry in cloudwatch.list_dashboards()["DashboardEntries"]]
    bodies = {name: cloudwatch.get_dashboard(DashboardName=name)["DashboardBody"] for name in names}
    return {name: json.loads(body)["widgets"] for name, body in bodies.items()}


def test_every_model_and_the_platform_have_a_dashboard(dashboards: dict[str, Any]) -> None:
    of_models = {f"ml-ops-{endpoint_name(project, model)}" for project, model in MODELS}
    assert set(dashboards) == of_models | {"ml-ops-platform", "least-platform"}


def test_every_metric_shown_is_published(dashboards: dict[str, Any]) -> None:
    shown = {metric for widgets in dashboards.values() for metric, _, _ in _metrics(widgets)}
    assert shown <= PUBLISHED | DRIFT
    # A table that lists more than is shown is welcome; one that shows next to nothing is a broken reader.
    assert len(shown) > 20


def test_every_metric_has_the_values_aws_gives_its_dimensions(dashboards: dict[str, Any]) -> None:
    for widgets in dashboards.values():
        for (_, name, _), values, _ in _metrics(widgets):
            if "Function" in values:
                assert values["Function"] == AIRFLOW_FUNCTIONS[name]
            assert values.get("VariantName", VARIANT) == VARIANT


def test_percentiles_are_asked_only_where_there_are_any(dashboards: dict[str, Any]) -> None:
    found = {
        metric[:2]
        for widgets in dashboards.values()
        for metric, _, statistic in _metrics(widgets)
        if statistic.startswith("p")
    }
    assert found == WITH_PERCENTILES


def test_a_model_is_shown_as_asked_for(dashboards: dict[str, Any]) -> None:
    shown = {metric[1] for metric, _, _ in _metrics(dashboards["ml-ops-fraud--card-payments"])}
    assert shown >= {
        "CPUUtilization",
        "MemoryUtilization",
        "Invocations",
        "InvocationsPerInstance",
        "ModelLatency",
        "Invocation4XXErrors",
        "Invocation5XXErrors",
    }


def test_searches_name_published_schemas(dashboards: dict[str, Any]) -> None:
    schemas = {(namespace, dimensions) for namespace, _, dimensions in PUBLISHED}
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/search-expression-syntax.html
    search = re.compile(r"^SEARCH\('\{(?P<schema>[^}]+)\} (?P<terms>.+)', '\w+', \d+\)$")
    found = [
        metric[0]["expression"]
        for widgets in dashboards.values()
        for widget in widgets
        for metric in widget["properties"].get("metrics", [])
        if "SEARCH" in json.dumps(metric)
    ]
    assert found
    for expression in found:
        match = search.match(expression)
        assert match and len(expression) <= 1024, expression
        namespace, *dimensions = match["schema"].replace('"', "").split(",")
        assert (namespace, frozenset(dimensions)) in schemas | {OURS}, expression


def test_expressions_use_metrics_of_their_widget(dashboards: dict[str, Any]) -> None:
    for widgets in dashboards.values():
        for widget in widgets:
            metrics = widget["properties"].get("metrics", [])
            options = [metric[-1] for metric in metrics if isinstance(metric[-1], dict)]
            ids = [option["id"] for option in options if "id" in option]
            assert len(ids) == len(set(ids))
            # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
            assert all(re.fullmatch(r"[a-z][a-zA-Z0-9_]*", name) for name in ids)
            for option in options:
                expression = option.get("expression", "")
                if not expression.startswith("SEARCH"):
                    words = set(re.findall(r"\b[a-z]\w*\b", expression))
                    assert words <= set(ids), expression


def test_dashboards_keep_to_cloudwatchs_limits(dashboards: dict[str, Any]) -> None:
    for name, widgets in dashboards.items():
        assert 1 <= len(widgets) <= WIDGETS
        counts = [len(widget["properties"].get("metrics", [])) for widget in widgets]
        assert max(counts) <= METRICS_OF_A_WIDGET and sum(counts) <= METRICS_OF_A_DASHBOARD
        for widget in widgets:
            assert widget["type"] in {"alarm", "log", "metric", "text"}
            assert widget["width"] >= 1 and widget["x"] >= 0 and widget["x"] + widget["width"] <= COLUMNS
            assert 1 <= widget["height"] <= 1000
            if widget["type"] == "alarm":
                assert 1 <= len(widget["properties"]["alarms"]) <= 100
            elif widget["type"] != "text":
                assert widget["properties"]["region"] == "eu-west-1"
        for one, other in combinations(widgets, 2):
            assert not _overlap(one, other), f"{name}: {one['properties']} lies on {other['properties']}"


def test_logs_are_read_from_the_models_groups(dashboards: dict[str, Any]) -> None:
    queries = {
        re.findall(r"SOURCE '([^']+)'", widget["properties"]["query"])[0]: widget["properties"]["query"]
        for widget in dashboards["ml-ops-fraud--card-payments"]
        if widget["type"] == "log"
    }
    states, endpoint = "/aws/events/ml-ops-sagemaker", "/aws/sagemaker/Endpoints/fraud--card-payments"
    assert set(queries) == {states, endpoint}
    pattern = re.search(r"filter name like /(.+)/ \|", queries[states])
    assert pattern
    ours = ("fraud--card-payments", "train--fraud--card-payments--1-3-0--r0-0a1b2c3d")
    others = ("fraud--card-payments-2", "train--x-fraud--card-payments-too--1-3-0--r0-0a1b2c3d")
    assert all(re.search(pattern[1], name) for name in ours)
    assert not any(re.search(pattern[1], name) for name in others)


def test_every_alarm_watches_what_is_published(watched: Watched) -> None:
    alarms = watched.aws.client("cloudwatch").describe_alarms()["MetricAlarms"]
    assert len(alarms) == 5 * len(MODELS) + 4
    for alarm in alarms:
        watches = list(_watched(alarm))
        assert watches and set(watches) <= PUBLISHED | DRIFT, alarm["AlarmName"]
        # Of drift the DAG tells the model's own channel; EventBridge hears of it all the same.
        told = (
            []
            if "-drift-" in alarm["AlarmName"]
            else [f"arn:aws:sns:eu-west-1:{ACCOUNT}:ml-ops-notifications"]
        )
        assert alarm["AlarmActions"] == told
        # https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
        assert len(alarm["AlarmName"]) <= 255 and len(alarm["AlarmDescription"]) <= 1024
        statistic = alarm.get("ExtendedStatistic", "")
        assert not statistic or watches[0][:2] in WITH_PERCENTILES


def test_the_metrics_of_alarms_are_those_whose_price_is_told(watched: Watched) -> None:
    alarms = watched.aws.client("cloudwatch").describe_alarms()["MetricAlarms"]
    of_a_model = [alarm for alarm in alarms if "fraud--card-payments" in alarm["AlarmName"]]
    of_airflow = [alarm for alarm in alarms if alarm["AlarmName"].startswith("ml-ops-airflow-")]
    assert sum(len(list(_watched(alarm))) for alarm in of_a_model) == ALARM_METRICS_OF_A_MODEL
    assert sum(len(list(_watched(alarm))) for alarm in of_airflow) == ALARM_METRICS_OF_AIRFLOW


def test_only_a_silent_scheduler_is_an_alarm(watched: Watched) -> None:
    alarms = watched.aws.client("cloudwatch").describe_alarms()["MetricAlarms"]
    breaching = {alarm["AlarmName"] for alarm in alarms if alarm["TreatMissingData"] == "breaching"}
    assert breaching == {"ml-ops-airflow-scheduler"}


def test_logs_and_metrics_are_forwarded(watched: Watched) -> None:
    logs = watched.aws.client("logs")
    for group in GROUPS:
        (found,) = logs.describe_subscription_filters(logGroupName=group)["subscriptionFilters"]
        assert found["destinationArn"] == f"{FIREHOSE}/logs" and found["filterPattern"] == ""
        assert found["roleArn"].endswith("role/ml-ops-log-forwarding")
    stream = watched.aws.client("cloudwatch").get_metric_stream(Name="ml-ops-metrics")
    assert stream["FirehoseArn"] == f"{FIREHOSE}/metrics"
    assert {"Namespace": "AmazonMWAA"} in stream["IncludeFilters"]


def test_the_budget_tells_what_is_spent_and_forecast(watched: Watched) -> None:
    budgets = watched.aws.client("budgets")
    (budget,) = budgets.describe_budgets(AccountId=ACCOUNT)["Budgets"]
    assert float(budget["BudgetLimit"]["Amount"]) == 1000 and budget["TimeUnit"] == "MONTHLY"
    answer = budgets.describe_notifications_for_budget(AccountId=ACCOUNT, BudgetName="ml-ops")
    found = {(notice["NotificationType"], notice["Threshold"]) for notice in answer["Notifications"]}
    assert found == {("ACTUAL", 80), ("ACTUAL", 100), ("FORECASTED", 100)}


def test_no_policy_is_wider_than_it_must_be(watched: Watched) -> None:
    policies = [
        json.loads(policy["policyDocument"])
        for policy in watched.aws.client("logs").describe_resource_policies()["resourcePolicies"]
    ]
    iam = watched.aws.client("iam")
    for role in iam.list_roles()["Roles"]:
        policies.append(role["AssumeRolePolicyDocument"])
        names = iam.list_role_policies(RoleName=role["RoleName"])["PolicyNames"]
        policies += [
            iam.get_role_policy(RoleName=role["RoleName"], PolicyName=name)["PolicyDocument"]
            for name in names
        ]
    assert len(policies) == 6
    assert not [line for policy in policies for line in objections(policy)]


def test_a_plan_of_an_older_state_has_no_changes(watched: Watched) -> None:
    """The state has the addresses of before module alarm: its alarms move, and none is replaced."""
    modules = {"module.observability": "modules/observability"}
    folder = Path(watched.terraform.working_dir)
    older = moves.undone(watched.terraform.stored_state(), modules)
    (folder / "terraform.tfstate").write_text(json.dumps(older), encoding="utf-8")
    plan = folder.parent / "plan"
    watched.terraform.plan_to(plan)
    document = watched.terraform.describe(plan)
    assert not moves.changes(document)
    assert moves.made(document) == moves.expected(modules)


def test_destroy_leaves_nothing(watched: Watched) -> None:
    watched.terraform.destroy_now(refresh=False)
    cloudwatch = watched.aws.client("cloudwatch")
    assert not cloudwatch.list_dashboards()["DashboardEntries"]
    assert not cloudwatch.describe_alarms()["MetricAlarms"]
    assert not cloudwatch.list_metric_streams()["Entries"]
    assert not watched.aws.client("budgets").describe_budgets(AccountId=ACCOUNT)["Budgets"]
    assert not watched.aws.client("logs").describe_log_groups()["logGroups"]
    assert not watched.aws.client("logs").describe_resource_policies()["resourcePolicies"]
    assert not watched.aws.client("events").list_rules()["Rules"]
    assert not watched.aws.client("iam").list_roles()["Roles"]


def _metrics(widgets: list[dict[str, Any]]) -> Iterator[tuple[Metric, dict[str, str], str]]:
    """Every metric of the widgets, its dimensions' values, and the statistic asked for."""
    for widget in widgets:
        for metric in widget["properties"].get("metrics", []):
            words = [word for word in metric if isinstance(word, str)]
            options = metric[-1] if isinstance(metric[-1], dict) else {}
            if words:
                namespace, name, *rest = words
                values = dict(zip(rest[::2], rest[1::2], strict=True))
                statistic = options.get("stat") or widget["properties"].get("stat")
                assert statistic, f"{name} has no statistic"
                yield (namespace, name, frozenset(values)), values, statistic


def _watched(alarm: dict[str, Any]) -> Iterator[Metric]:
    stats = [query["MetricStat"]["Metric"] for query in alarm.get("Metrics", []) if "MetricStat" in query]
    for metric in stats or [alarm]:
        dimensions = frozenset(dimension["Name"] for dimension in metric["Dimensions"])
        yield metric["Namespace"], metric["MetricName"], dimensions


def _overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    beside = one["x"] + one["width"] <= other["x"] or other["x"] + other["width"] <= one["x"]
    below = one["y"] + one["height"] <= other["y"] or other["y"] + other["height"] <= one["y"]
    return not (beside or below)
