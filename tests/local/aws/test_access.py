"""A local AWS that enforces what roles may: who is refused what, and what the call log says of it."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from .harness import ACCOUNT, REGION, LocalAws, start, stop

TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
                "Action": "sts:AssumeRole",
            },
            {
                "Effect": "Allow",
                "Principal": {"Service": ["sagemaker.amazonaws.com", "lambda.amazonaws.com"]},
                "Action": "sts:AssumeRole",
            },
        ],
    }
)
BUCKET = "access"


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    running = start(tmp_path_factory.mktemp("stack") / "aws", "http://127.0.0.1:9", "--enforce")
    where = {"LocationConstraint": REGION}
    running.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration=where)
    yield running
    stop(running)


def allow(action: str | list[str], resource: str = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def role(aws: LocalAws, name: str, *statements: dict[str, Any], boundary: str = "") -> str:
    """A role with these statements; its ARN."""
    iam = aws.client("iam")
    bounds = {"PermissionsBoundary": boundary} if boundary else {}
    arn: str = iam.create_role(RoleName=name, AssumeRolePolicyDocument=TRUST, **bounds)["Role"]["Arn"]
    document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=document)
    return arn


def session(aws: LocalAws, arn: str, service: str) -> Any:
    """A client that has taken the role."""
    keys = aws.client("sts").assume_role(RoleArn=arn, RoleSessionName="somebody")["Credentials"]
    return boto3.client(
        service,  # type: ignore[call-overload]
        endpoint_url=aws.endpoint,
        region_name=REGION,
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
        config=Config(proxies={}, retries={"total_max_attempts": 1}, inject_host_prefix=False),
    )


def noted(aws: LocalAws, name: str) -> list[tuple[str, str, str, bool]]:
    """Action, resource, service between and verdict of every call of a role."""
    lines = [json.loads(line) for line in (aws.home / "calls.jsonl").read_text().splitlines()]
    return [
        (line["action"], line["resource"], line["through"], line["allowed"])
        for line in lines
        if line["role"] == name
    ]


def refused(call: Any, **members: Any) -> str:
    with pytest.raises(ClientError) as error:
        call(**members)
    assert error.value.response["Error"]["Code"].startswith("AccessDenied")
    return str(error.value.response["Error"]["Message"])


def test_a_session_may_what_its_role_allows_and_nothing_else(aws: LocalAws) -> None:
    arn = role(aws, "reader", allow("s3:PutObject", f"arn:aws:s3:::{BUCKET}/own/*"))
    s3 = session(aws, arn, "s3")
    s3.put_object(Bucket=BUCKET, Key="own/a", Body=b"1")
    why = refused(s3.put_object, Bucket=BUCKET, Key="others/a", Body=b"1")
    assert "assumed-role/reader/somebody is not authorized to perform: s3:PutObject" in why
    assert f"arn:aws:s3:::{BUCKET}/others/a" in why
    assert noted(aws, "reader") == [
        ("s3:PutObject", f"arn:aws:s3:::{BUCKET}/own/a", "", True),
        ("s3:PutObject", f"arn:aws:s3:::{BUCKET}/others/a", "", False),
    ]
    # what was refused has not happened
    keys = [item["Key"] for item in aws.client("s3").list_objects_v2(Bucket=BUCKET)["Contents"]]
    assert keys == ["own/a"]


@pytest.mark.parametrize(
    ("service", "operation", "members"),
    [
        ("sagemaker", "list_models", {}),
        ("sns", "publish", {"TopicArn": f"arn:aws:sns:{REGION}:{ACCOUNT}:t", "Message": "m"}),
        ("ssm", "get_parameter", {"Name": "/x"}),
        ("secretsmanager", "get_secret_value", {"SecretId": "x"}),
        ("lambda", "invoke", {"FunctionName": "f"}),
        ("mwaa", "get_environment", {"Name": "ml-ops-local"}),
        ("ecr", "describe_images", {"repositoryName": "a/b"}),
        ("iam", "list_roles", {}),
        ("ec2", "describe_vpcs", {}),
        ("logs", "create_log_group", {"logGroupName": "g"}),
        (
            "cloudwatch",
            "put_metric_data",
            {"Namespace": "n", "MetricData": [{"MetricName": "m", "Value": 1.0}]},
        ),
        ("sts", "assume_role", {"RoleArn": f"arn:aws:iam::{ACCOUNT}:role/x", "RoleSessionName": "other"}),
    ],
)
def test_every_service_refuses_in_its_own_form(
    aws: LocalAws, service: str, operation: str, members: dict[str, Any]
) -> None:
    arn = role(aws, f"nothing-{service}-{operation.replace('_', '-')}", allow("kms:ListKeys"))
    client = session(aws, arn, service)
    assert "is not authorized to perform" in refused(getattr(client, operation), **members)


def test_a_boundary_bounds(aws: LocalAws) -> None:
    document = json.dumps({"Version": "2012-10-17", "Statement": [allow("ssm:*")]})
    policy = aws.client("iam").create_policy(PolicyName="boundary", PolicyDocument=document)["Policy"]["Arn"]
    arn = role(aws, "bounded", allow("*"), boundary=policy)
    session(aws, arn, "ssm").describe_parameters()
    refused(session(aws, arn, "s3").list_objects_v2, Bucket=BUCKET)


def test_everybody_may_ask_who_they_are(aws: LocalAws) -> None:
    # https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
    arn = role(aws, "asks", allow("kms:ListKeys"))
    assert session(aws, arn, "sts").get_caller_identity()["Arn"].endswith("assumed-role/asks/somebody")


def test_who_has_no_role_is_noted_and_not_refused(aws: LocalAws) -> None:
    aws.client("s3").head_bucket(Bucket=BUCKET)
    lines = [json.loads(line) for line in (aws.home / "calls.jsonl").read_text().splitlines()]
    assert {line["allowed"] for line in lines if line["role"] is None} == {None}
    assert any(line["action"] == "s3:ListBucket" for line in lines if line["role"] is None)


def test_what_is_encrypted_needs_its_key(aws: LocalAws) -> None:
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html#require-sse-kms
    kms, s3, ssm = aws.client("kms"), aws.client("s3"), aws.client("ssm")
    key = kms.create_key()["KeyMetadata"]
    kms.create_alias(AliasName="alias/access", TargetKeyId=key["KeyId"])
    bucket, topic = "access-encrypted", "access-encrypted"
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    by_key = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key["Arn"]}
    rules = {"Rules": [{"ApplyServerSideEncryptionByDefault": by_key}]}
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=rules)
    s3.put_object(Bucket=bucket, Key="a", Body=b"1")
    ssm.put_parameter(Name="/access", Value="x", Type="SecureString", KeyId=key["KeyId"])
    ssm.put_parameter(Name="/access-plain", Value="x", Type="String")
    secret = aws.client("secretsmanager").create_secret(
        Name="access", SecretString="x", KmsKeyId=key["KeyId"]
    )["ARN"]
    attributes = {"KmsMasterKeyId": key["KeyId"]}
    sent = aws.client("sns").create_topic(Name=topic, Attributes=attributes)["TopicArn"]

    actions = [
        "s3:GetObject",
        "s3:PutObject",
        "ssm:GetParameter",
        "secretsmanager:GetSecretValue",
        "sns:Publish",
    ]
    keyless = role(aws, "keyless", allow(actions))
    through_s3 = {
        "StringEquals": {"kms:ViaService": f"s3.{REGION}.amazonaws.com"},
        "ForAnyValue:StringEquals": {"kms:ResourceAliases": "alias/access"},
    }
    uses = allow(["kms:Decrypt", "kms:GenerateDataKey"], key["Arn"], Condition=through_s3)
    with_key = role(aws, "with-key", allow(actions), uses)

    session(aws, keyless, "ssm").get_parameter(Name="/access-plain")
    for service, operation, members, missing in (
        ("s3", "get_object", {"Bucket": bucket, "Key": "a"}, "kms:Decrypt"),
        ("s3", "put_object", {"Bucket": bucket, "Key": "b"}, "kms:GenerateDataKey"),
        ("ssm", "get_parameter", {"Name": "/access", "WithDecryption": True}, "kms:Decrypt"),
        ("secretsmanager", "get_secret_value", {"SecretId": secret}, "kms:Decrypt"),
        ("sns", "publish", {"TopicArn": sent, "Message": "m"}, "kms:GenerateDataKey"),
    ):
        why = refused(getattr(session(aws, keyless, service), operation), **members)
        assert f"{missing} on resource: {key['Arn']}" in why
    session(aws, with_key, "s3").get_object(Bucket=bucket, Key="a")
    refused(session(aws, with_key, "ssm").get_parameter, Name="/access", WithDecryption=True)
    assert ("kms:Decrypt", key["Arn"], "s3", True) in noted(aws, "with-key")


def test_a_function_works_with_its_own_role(aws: LocalAws) -> None:
    code = (
        "import boto3\n"
        "def handler(event, context):\n"
        "    parameter = boto3.client('ssm').get_parameter(Name=event['name'])\n"
        "    return parameter['Parameter']['Value']\n"
    )
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("handler.py", code)
    parameter = f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/function/*"
    functions = aws.client("lambda")
    functions.create_function(
        FunctionName="access",
        Role=role(aws, "function", allow("ssm:GetParameter", parameter)),
        Handler="handler.handler",
        Runtime="python3.13",
        Timeout=30,
        Code={"ZipFile": archive.getvalue()},
    )
    for name in ("/function/a", "/other"):
        aws.client("ssm").put_parameter(Name=name, Value="seen", Type="String")
    answers = {}
    for name in ("/function/a", "/other"):
        answer = functions.invoke(FunctionName="access", Payload=json.dumps({"name": name}).encode())
        answers[name] = json.load(answer["Payload"])
    assert answers["/function/a"] == "seen"
    assert "AccessDeniedException" in answers["/other"]["errorMessage"]
    assert [call[3] for call in noted(aws, "function")] == [True, False]


def refusal(call: Any, **parameters: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    return f"{caught.value.response['Error']['Code']}: {caught.value.response['Error']['Message']}"


@pytest.mark.parametrize(
    "arn",
    [
        f"arn:aws:iam::{ACCOUNT}:role/no-such-role",
        "arn:aws:iam::999999999999:role/elsewhere",
        f"arn:aws:iam::{ACCOUNT}:role/for-schedules",
    ],
)
def test_a_role_that_a_service_cannot_take_is_refused_where_it_is_handed_over(
    aws: LocalAws, arn: str
) -> None:
    """One that nobody made, one of another account, and one that trusts another service."""
    trust = {
        "Effect": "Allow",
        "Principal": {"Service": "scheduler.amazonaws.com"},
        "Action": "sts:AssumeRole",
    }
    with suppress(ClientError):
        aws.client("iam").create_role(
            RoleName="for-schedules",
            AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
        )
    sagemaker = aws.client("sagemaker")
    words = (
        f"ValidationException: Could not assume role {arn}. Please ensure that the role exists and allows "
        "principal 'sagemaker.amazonaws.com' to assume the role."
    )
    training = {
        "TrainingJobName": "j",
        "AlgorithmSpecification": {"TrainingImage": "i", "TrainingInputMode": "File"},
        "OutputDataConfig": {"S3OutputPath": "s3://b/c"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    }
    assert refusal(sagemaker.create_training_job, RoleArn=arn, **training) == words
    container = {"Image": f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com/x:1"}
    model = {"ModelName": "m", "PrimaryContainer": container}
    assert refusal(sagemaker.create_model, ExecutionRoleArn=arn, **model) == words
    function = {"FunctionName": "f", "Runtime": "python3.12", "Handler": "a.b", "Code": {"ZipFile": b"x"}}
    assert refusal(aws.client("lambda").create_function, Role=arn, **function) == (
        "InvalidParameterValueException: The role defined for the function cannot be assumed by Lambda."
    )
    said = refusal(aws.client("sts").assume_role, RoleArn=arn, RoleSessionName="me")
    assert said == (
        f"AccessDenied: User: arn:aws:iam::{ACCOUNT}:root is not authorized to perform: sts:AssumeRole "
        f"on resource: {arn}"
    )


def test_a_schedule_with_a_role_that_the_scheduler_cannot_take(aws: LocalAws) -> None:
    schedule = {"Name": "s", "ScheduleExpression": "rate(1 day)", "FlexibleTimeWindow": {"Mode": "OFF"}}
    target = {
        "Arn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f",
        "RoleArn": role(aws, "not-for-schedules", allow("s3:ListAllMyBuckets")),
    }
    assert refusal(aws.client("scheduler").create_schedule, Target=target, **schedule) == (
        "ValidationException: The execution role you provide must allow AWS EventBridge Scheduler to assume "
        "the role."
    )


def test_a_session_of_a_role_that_is_gone_may_do_nothing(aws: LocalAws) -> None:
    arn = role(aws, "short-lived", allow("s3:ListAllMyBuckets"))
    s3 = session(aws, arn, "s3")
    assert s3.list_buckets()["Buckets"]
    iam = aws.client("iam")
    iam.delete_role_policy(RoleName="short-lived", PolicyName="own")
    iam.delete_role(RoleName="short-lived")
    assert "AccessDenied" in refusal(s3.list_buckets)


def test_a_refusal_says_which_kind_of_policy_it_was(aws: LocalAws) -> None:
    """As IAM words it: https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html"""
    arn = role(aws, "worded", allow("ssm:GetParameter"), {**allow("ssm:PutParameter"), "Effect": "Deny"})
    ssm = session(aws, arn, "ssm")
    user = (
        f"AccessDeniedException: User: arn:aws:sts::{ACCOUNT}:assumed-role/worded/somebody is not authorized"
    )
    resource = f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/x"
    assert refusal(ssm.delete_parameter, Name="/x") == (
        f"{user} to perform: ssm:DeleteParameter on resource: {resource} because no identity-based policy "
        "allows the ssm:DeleteParameter action"
    )
    assert refusal(ssm.put_parameter, Name="/x", Value="y", Type="String") == (
        f"{user} to perform: ssm:PutParameter on resource: {resource} with an explicit deny in an "
        "identity-based policy"
    )
