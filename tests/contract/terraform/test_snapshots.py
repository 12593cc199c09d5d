"""An account is written by one local AWS and read by another, on another port and in another folder."""

from __future__ import annotations

import io
import json
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from mlops_local.aws.account import AccountError, Traffic
from mlops_local.base import paths, snapshots

from .conftest import REGION, LocalAws, serving

ACCOUNT = "123456789012"
KEY = "0" * 64
# Of `mlops local up` too: writing an account is a second or two of computing, on a machine that may be busy.
WRITE_SECONDS = 300
SERVICES = {"Service": ["lambda.amazonaws.com", "scheduler.amazonaws.com"]}
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": SERVICES, "Action": "sts:AssumeRole"}],
    }
)
GITLAB = ("127.0.0.1:40001", "127.0.0.1:40002")
VPC = "10.0.0.0/16"


def make(aws: LocalAws, gitlab: str) -> None:
    """One of every kind that Terraform makes."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("handler.py", "def handler(event, context): return event\n")
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="kept", CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_bucket_versioning(Bucket="kept", VersioningConfiguration={"Status": "Enabled"})
    s3.create_bucket(Bucket="logs", CreateBucketConfiguration={"LocationConstraint": REGION})
    policy = {
        "Effect": "Allow",
        "Principal": {"Service": "logging.s3.amazonaws.com"},
        "Action": "s3:PutObject",
    }
    statement = policy | {"Resource": "arn:aws:s3:::logs/*"}
    s3.put_bucket_policy(Bucket="logs", Policy=json.dumps({"Statement": [statement]}))
    log = {"LoggingEnabled": {"TargetBucket": "logs", "TargetPrefix": "kept/"}}
    s3.put_bucket_logging(Bucket="kept", BucketLoggingStatus=log)
    s3.put_object(Bucket="logs", Key="beside", Body=b"no log")
    for body in (b"first", b"second"):
        s3.put_object(Bucket="kept", Key="object", Body=body)
    iam = aws.client("iam")
    role = iam.create_role(RoleName="kept", AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]
    iam.create_open_id_connect_provider(Url=f"https://{gitlab}", ClientIDList=[f"http://{gitlab}"])
    aws.client("lambda").create_function(
        FunctionName="kept",
        Role=role,
        Handler="handler.handler",
        Runtime="python3.13",
        Code={"ZipFile": archive.getvalue()},
        Environment={"Variables": {"AIRFLOW": "http://127.0.0.1:8080/runs"}},
    )
    aws.client("sqs").create_queue(QueueName="kept")
    topic = aws.client("sns").create_topic(Name="kept")["TopicArn"]
    aws.client("sns").subscribe(TopicArn=topic, Protocol="email", Endpoint="team@example.com")
    logs = f"{aws.endpoint}/_mlops/logs?group={{group}}"
    aws.client("ssm").put_parameter(Name="kept", Value=logs, Type="String")
    aws.client("secretsmanager").create_secret(Name="kept", SecretString="kept")
    kms = aws.client("kms")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName="alias/kept", TargetKeyId=key)
    kms.enable_key_rotation(KeyId=key)
    ec2 = aws.client("ec2")
    vpc = ec2.create_vpc(CidrBlock=VPC)["Vpc"]["VpcId"]
    ec2.create_security_group(GroupName="kept", Description="kept", VpcId=vpc)
    ec2.create_vpc_endpoint(VpcId=vpc, ServiceName=f"com.amazonaws.{REGION}.s3")
    aws.client("ecr").create_repository(repositoryName="team/kept")
    aws.client("logs").create_log_group(logGroupName="kept")
    aws.client("events").put_rule(Name="kept", EventPattern='{"source": ["aws.s3"]}')
    cloudwatch = aws.client("cloudwatch")
    cloudwatch.put_dashboard(DashboardName="kept", DashboardBody='{"widgets": []}')
    cloudwatch.put_metric_stream(
        Name="kept",
        FirehoseArn=f"arn:aws:firehose:{REGION}:{ACCOUNT}:deliverystream/kept",
        RoleArn=role,
        OutputFormat="json",
    )
    aws.client("scheduler").create_schedule(
        Name="kept",
        ScheduleExpression="rate(1 day)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:kept", "RoleArn": role},
    )
    budget = {
        "BudgetName": "kept",
        "BudgetType": "COST",
        "TimeUnit": "MONTHLY",
        "BudgetLimit": {"Amount": "1", "Unit": "USD"},
    }
    aws.client("budgets").create_budget(AccountId=ACCOUNT, Budget=budget)
    aws.client("sagemaker").create_model_package_group(
        ModelPackageGroupName="kept", Tags=[{"Key": "team", "Value": "ml"}]
    )


def described(aws: LocalAws, gitlab: str) -> dict[str, Any]:
    """All of it, as the account answers; a mark where it names this stack."""
    s3, kms, sagemaker = aws.client("s3"), aws.client("kms"), aws.client("sagemaker")
    group = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:model-package-group/kept"
    provider = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{gitlab}"
    key = next(one for one in kms.list_aliases()["Aliases"] if one["AliasName"] == "alias/kept")[
        "TargetKeyId"
    ]
    vpcs = aws.client("ec2").describe_vpcs(Filters=[{"Name": "cidr", "Values": [VPC]}])["Vpcs"]
    inside = [{"Name": "vpc-id", "Values": [vpcs[0]["VpcId"]]}]
    found = {
        "objects": s3.list_object_versions(Bucket="kept")["Versions"],
        "object": s3.get_object(Bucket="kept", Key="object")["Body"].read().decode(),
        "role": aws.client("iam").get_role(RoleName="kept")["Role"],
        "policy of AWS": aws.client("iam").get_policy(PolicyArn="arn:aws:iam::aws:policy/ReadOnlyAccess")[
            "Policy"
        ],
        "provider": aws.client("iam").get_open_id_connect_provider(OpenIDConnectProviderArn=provider),
        "function": aws.client("lambda").get_function(FunctionName="kept")["Configuration"],
        "queue": aws.client("sqs").get_queue_url(QueueName="kept")["QueueUrl"],
        "subscriptions": aws.client("sns").list_subscriptions()["Subscriptions"],
        "parameter": aws.client("ssm").get_parameter(Name="kept")["Parameter"],
        "secret": aws.client("secretsmanager").describe_secret(SecretId="kept")["ARN"],
        "key": kms.describe_key(KeyId=key)["KeyMetadata"],
        "rotation": kms.get_key_rotation_status(KeyId=key),
        "vpc": vpcs,
        "groups": aws.client("ec2").describe_security_groups(Filters=inside)["SecurityGroups"],
        "endpoints": aws.client("ec2").describe_vpc_endpoints(Filters=inside)["VpcEndpoints"],
        "repositories": aws.client("ecr").describe_repositories()["repositories"],
        "log groups": aws.client("logs").describe_log_groups()["logGroups"],
        "rules": aws.client("events").list_rules()["Rules"],
        "dashboard": aws.client("cloudwatch").get_dashboard(DashboardName="kept")["DashboardBody"],
        "stream": aws.client("cloudwatch").get_metric_stream(Name="kept"),
        "schedule": aws.client("scheduler").get_schedule(Name="kept"),
        "budgets": aws.client("budgets").describe_budgets(AccountId=ACCOUNT)["Budgets"],
        "group": sagemaker.describe_model_package_group(ModelPackageGroupName="kept"),
        "tags": sagemaker.list_tags(ResourceArn=group)["Tags"],
    }
    return {kind: _plain(thing, aws, gitlab) for kind, thing in found.items()}


def _plain(thing: Any, aws: LocalAws, gitlab: str) -> str:
    if isinstance(thing, dict):
        thing.pop("ResponseMetadata", None)
    text = json.dumps(thing, default=str, sort_keys=True)
    host = aws.endpoint.removeprefix("http://")
    return (
        text.replace(host, "<aws>")
        .replace(gitlab, "<gitlab>")
        .replace("127.0.0.1:8080", "<airflow>")
        .replace("127.0.0.1:8081", "<airflow>")
    )


@dataclass(frozen=True)
class Written:
    """An account that was written, and what it had."""

    aws: LocalAws
    file: Path
    found: dict[str, Any]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Written]:
    home = tmp_path_factory.mktemp("first") / "aws"
    with serving(home, "--gitlab", GITLAB[0]) as aws:
        make(aws, GITLAB[0])
        found = described(aws, GITLAB[0])
        aws.post("/_mlops/account", {}, WRITE_SECONDS)
        content = (home / "account").read_bytes()
        assert (home / "account").stat().st_mode & 0o777 == 0o600
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(paths, "cache", lambda: home)
            file = snapshots.keep(KEY, "{}", content)
        yield Written(aws, file, found)


def test_what_was_written_is_read_elsewhere(written: Written, tmp_path: Path) -> None:
    options = (
        "--gitlab",
        GITLAB[1],
        "--airflow-url",
        "http://127.0.0.1:8081",
        "--snapshot",
        str(written.file),
    )
    with serving(tmp_path / "aws", *options) as aws:
        # The history of another account's calls does not come along.
        assert [one["Key"] for one in aws.client("s3").list_objects_v2(Bucket="logs")["Contents"]] == [
            "beside"
        ]
        assert described(aws, GITLAB[1]) == written.found


def test_a_snapshot_that_cannot_be_used_is_an_empty_account(written: Written, tmp_path: Path) -> None:
    """As a snapshot of another moto would be: its bytes are whole, and what they name is not there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "cache", lambda: tmp_path)
        kept = snapshots.read(written.file)
        assert kept is not None
        strange = snapshots.keep("1" * 64, "{}", kept.account.replace(b"moto.sqs.models", b"moto.sqs.mod3ls"))
    with serving(tmp_path / "aws", "--gitlab", GITLAB[1], "--snapshot", str(strange)) as aws:
        assert not aws.client("s3").list_buckets()["Buckets"]
        assert "the account is empty" in (tmp_path / "aws" / "server.log").read_text(encoding="utf-8")


def test_an_account_with_a_model_is_not_written(aws: LocalAws) -> None:
    """Jobs and endpoints live in processes, models in files: a snapshot would be half of them."""
    sagemaker = aws.client("sagemaker")
    aws.post("/_mlops/account", {}, WRITE_SECONDS)
    sagemaker.create_model_package_group(ModelPackageGroupName="kept")
    sagemaker.create_model_package(
        ModelPackageGroupName="kept",
        InferenceSpecification={
            "Containers": [{"Image": "127.0.0.1/team/kept:1.0.0"}],
            "SupportedContentTypes": ["application/json"],
            "SupportedResponseMIMETypes": ["application/json"],
        },
    )
    with pytest.raises(HTTPError) as refused:
        aws.post("/_mlops/account", {}, WRITE_SECONDS)
    assert refused.value.code == 409
    assert "has jobs, models or endpoints" in refused.value.read().decode()


def test_requests_wait_while_an_account_is_written() -> None:
    traffic, order = Traffic(), []

    def ask() -> None:
        with traffic.request():
            order.append("asked")

    with traffic.still(60):
        asking = threading.Thread(target=ask)
        asking.start()
        asking.join(0.2)
        order.append("written")
    asking.join(60)
    assert order == ["written", "asked"]
    with (
        traffic.request(),
        pytest.raises(AccountError, match="1 requests were under way"),
        traffic.still(0.1),
    ):
        pass
