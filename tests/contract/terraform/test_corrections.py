"""What we correct in moto, held to what AWS does."""

from __future__ import annotations

import io
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.roles import make_role

from .conftest import LocalAws

BUCKET = "corrections"


def deny(**condition: Any) -> str:
    statement = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": f"arn:aws:s3:::{BUCKET}/*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement | condition]})


def test_a_bucket_that_denies_plain_http_or_some_roles_serves_everybody_else(aws: LocalAws) -> None:
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/security-best-practices.html#transit
    s3 = aws.client("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_bucket_policy(Bucket=BUCKET, Policy=deny(Condition={"Bool": {"aws:SecureTransport": "false"}}))
    s3.put_object(Bucket=BUCKET, Key="object", Body=b"1")
    roles = {"aws:PrincipalArn": "arn:aws:iam::123456789012:role/ml-ops-*"}
    s3.put_bucket_policy(Bucket=BUCKET, Policy=deny(Condition={"StringLike": roles}))
    s3.put_object(Bucket=BUCKET, Key="object", Body=b"1")
    s3.put_bucket_policy(Bucket=BUCKET, Policy=deny())
    with pytest.raises(ClientError) as denied:
        s3.get_object(Bucket=BUCKET, Key="object")
    assert denied.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_a_function_keeps_its_logging_config(aws: LocalAws) -> None:
    # https://docs.aws.amazon.com/lambda/latest/api/API_LoggingConfig.html
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("handler.py", "def handler(event, context): return event\n")
    role = "arn:aws:iam::123456789012:role/corrections"
    make_role(aws.client("iam"), role, "lambda.amazonaws.com")
    functions = aws.client("lambda")
    created = functions.create_function(
        FunctionName="corrections",
        Role=role,
        Handler="handler.handler",
        Runtime="python3.13",
        Code={"ZipFile": archive.getvalue()},
    )
    assert created["LoggingConfig"] == {"LogFormat": "Text", "LogGroup": "/aws/lambda/corrections"}
    assert "DeadLetterConfig" not in created
    wanted = {"LogFormat": "JSON", "LogGroup": "/elsewhere", "SystemLogLevel": "WARN"}
    functions.update_function_configuration(FunctionName="corrections", LoggingConfig=wanted)
    assert functions.get_function(FunctionName="corrections")["Configuration"]["LoggingConfig"] == wanted
    # https://docs.aws.amazon.com/lambda/latest/api/API_DeadLetterConfig.html
    queue = {"TargetArn": "arn:aws:sqs:eu-west-1:123456789012:lost"}
    functions.update_function_configuration(FunctionName="corrections", DeadLetterConfig=queue)
    assert functions.get_function(FunctionName="corrections")["Configuration"]["DeadLetterConfig"] == queue
    functions.update_function_configuration(FunctionName="corrections", DeadLetterConfig={"TargetArn": ""})
    assert "DeadLetterConfig" not in functions.get_function(FunctionName="corrections")["Configuration"]


def test_rules_of_a_security_group_keep_their_descriptions(aws: LocalAws) -> None:
    # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_SecurityGroupRule.html
    ec2 = aws.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/24")["Vpc"]["VpcId"]
    group = ec2.create_security_group(GroupName="corrections", Description="x", VpcId=vpc)["GroupId"]
    prefixes = ec2.describe_managed_prefix_lists()["PrefixLists"][0]["PrefixListId"]
    for source in (
        {"IpRanges": [{"CidrIp": "10.0.0.0/24", "Description": "addresses"}]},
        {"UserIdGroupPairs": [{"GroupId": group, "Description": "a group"}]},
        {"PrefixListIds": [{"PrefixListId": prefixes, "Description": "a service"}]},
    ):
        rule = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, **source}
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
    rules = ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [group]}])
    described = {rule.get("Description") for rule in rules["SecurityGroupRules"] if not rule["IsEgress"]}
    assert described == {"addresses", "a group", "a service"}


def test_a_budget_answers_its_subscribers_and_tags(aws: LocalAws) -> None:
    # https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_Operations_AWS_Budgets.html
    budgets, account = aws.client("budgets"), "123456789012"
    notification = {
        "NotificationType": "ACTUAL",
        "ComparisonOperator": "GREATER_THAN",
        "Threshold": 80.0,
        "ThresholdType": "PERCENTAGE",
    }
    subscribers = [{"SubscriptionType": "EMAIL", "Address": "team@example.com"}]
    budgets.create_budget(
        AccountId=account,
        Budget={
            "BudgetName": "corrections",
            "BudgetType": "COST",
            "TimeUnit": "MONTHLY",
            "BudgetLimit": {"Amount": "1", "Unit": "USD"},
        },
        NotificationsWithSubscribers=[{"Notification": notification, "Subscribers": subscribers}],
        ResourceTags=[{"Key": "team", "Value": "ml"}],
    )
    asked = {"AccountId": account, "BudgetName": "corrections", "Notification": notification}
    assert budgets.describe_subscribers_for_notification(**asked)["Subscribers"] == subscribers
    arn = f"arn:aws:budgets::{account}:budget/corrections"
    budgets.tag_resource(ResourceARN=arn, ResourceTags=[{"Key": "stage", "Value": "dev"}])
    budgets.untag_resource(ResourceARN=arn, ResourceTagKeys=["team"])
    tags = budgets.list_tags_for_resource(ResourceARN=arn)["ResourceTags"]
    assert tags == [{"Key": "stage", "Value": "dev"}]
    with pytest.raises(budgets.exceptions.NotFoundException):
        asked["Notification"] = notification | {"Threshold": 90.0}
        budgets.describe_subscribers_for_notification(**asked)


def test_a_key_says_how_often_it_is_renewed(aws: LocalAws) -> None:
    # https://docs.aws.amazon.com/kms/latest/APIReference/API_GetKeyRotationStatus.html
    kms = aws.client("kms")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    assert kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] is False
    kms.enable_key_rotation(KeyId=key)
    assert kms.get_key_rotation_status(KeyId=key)["RotationPeriodInDays"] == 365
    kms.enable_key_rotation(KeyId=key, RotationPeriodInDays=90)
    assert kms.get_key_rotation_status(KeyId=key)["RotationPeriodInDays"] == 90
    with pytest.raises(kms.exceptions.NotFoundException):
        kms.get_key_rotation_status(KeyId="00000000-0000-0000-0000-000000000000")


def test_a_lifecycle_rule_keeps_the_number_of_versions_it_leaves_alone(aws: LocalAws) -> None:
    # https://docs.aws.amazon.com/AmazonS3/latest/API/API_NoncurrentVersionExpiration.html
    s3, bucket = aws.client("s3"), "corrections-lifecycle"
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    with pytest.raises(ClientError, match="NoSuchLifecycleConfiguration"):
        s3.get_bucket_lifecycle_configuration(Bucket=bucket)
    expirations = [{"NoncurrentDays": 90, "NewerNoncurrentVersions": 3}, {"NoncurrentDays": 7}]
    rules = [
        {
            "ID": str(number),
            "Status": "Enabled",
            "Filter": {"Prefix": f"{number}/"},
            "NoncurrentVersionExpiration": expiration,
        }
        for number, expiration in enumerate(expirations)
    ]
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})
    answered = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert [rule["NoncurrentVersionExpiration"] for rule in answered] == expirations


def test_a_bucket_answers_whether_it_tells_eventbridge(aws: LocalAws) -> None:
    # https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketNotificationConfiguration.html
    s3, bucket = aws.client("s3"), "corrections-notification"
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    assert "EventBridgeConfiguration" not in s3.get_bucket_notification_configuration(Bucket=bucket)
    wanted: dict[str, object] = {"EventBridgeConfiguration": {}}
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=wanted)
    answer = s3.get_bucket_notification_configuration(Bucket=bucket)
    assert {key: value for key, value in answer.items() if key != "ResponseMetadata"} == wanted


def test_an_identity_provider_is_answered_without_scheme_unless_it_has_a_port(aws: LocalAws) -> None:
    # https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetOpenIDConnectProvider.html
    iam = aws.client("iam")
    for host, answered in (
        ("gitlab.example.com", "gitlab.example.com"),
        ("127.0.0.1:4567", "https://127.0.0.1:4567"),
    ):
        arn = iam.create_open_id_connect_provider(Url=f"https://{host}", ClientIDList=["x"])[
            "OpenIDConnectProviderArn"
        ]
        assert arn.endswith(f":oidc-provider/{host}")
        assert iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)["Url"] == answered
        assert iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)["ClientIDList"] == ["x"]


def test_of_many_conditional_writes_at_once_one_succeeds(aws: LocalAws) -> None:
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="conditional", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})

    def write(writer: int) -> str:
        try:
            s3.put_object(Bucket="conditional", Key="told", Body=str(writer).encode() * 1000, IfNoneMatch="*")
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return str(writer)

    with ThreadPoolExecutor(16) as writers:
        answers = list(writers.map(write, range(64)))
    won = [answer for answer in answers if answer != "PreconditionFailed"]
    assert len(won) == 1
    body = s3.get_object(Bucket="conditional", Key="told")["Body"].read()
    assert body == won[0].encode() * 1000
