"""What a request asks for in IAM's words, and whether policies allow it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlops_local.aws.access.calls import AccountRegion, Call, SignedRequest, read
from mlops_local.aws.access.policies import allows

HERE = AccountRegion("eu-west-1", "111111111111")
BUCKET = "arn:aws:s3:::ml-ops-dev"


def request(service: str, **given: Any) -> SignedRequest:
    usual = {"method": "POST", "path": "/", "query": "", "target": "", "body": b""}
    return SignedRequest(service=service, **usual | given)


def calls(service: str, **given: Any) -> list[tuple[str, tuple[str, ...]]]:
    return [(call.action, call.resources) for call in read(request(service, **given), HERE)]


def test_a_model_package_belongs_to_its_group() -> None:
    prefix = "arn:aws:sagemaker:eu-west-1:111111111111:"
    group = json.dumps({"ModelPackageGroupName": "a--url"}).encode()
    assert calls("sagemaker", target="SageMaker.DescribeModelPackageGroup", body=group) == [
        ("sagemaker:DescribeModelPackageGroup", (f"{prefix}model-package-group/a--url",))
    ]
    assert calls("sagemaker", target="SageMaker.CreateModelPackage", body=group) == [
        ("sagemaker:CreateModelPackage", (f"{prefix}model-package-group/a--url",)),
        ("sagemaker:CreateModelPackage", (f"{prefix}model-package/a--url/1",)),
    ]
    package = f"{prefix}model-package/a--url/7"
    approval = json.dumps({"ModelPackageArn": package, "ModelApprovalStatus": "Approved"}).encode()
    [call] = read(request("sagemaker", target="SageMaker.UpdateModelPackage", body=approval), HERE)
    assert call.resources == (package,)
    assert call.context == {"sagemaker:modelapprovalstatus": ("Approved",)}


@pytest.mark.parametrize(
    ("method", "path", "query", "action", "resource"),
    [
        ("GET", "/ml-ops-dev/a/b%20c.json", "", "GetObject", f"{BUCKET}/a/b c.json"),
        ("HEAD", "/ml-ops-dev/a", "", "GetObject", f"{BUCKET}/a"),
        ("GET", "/ml-ops-dev/a", "versionId=1", "GetObjectVersion", f"{BUCKET}/a"),
        ("PUT", "/ml-ops-dev/a", "", "PutObject", f"{BUCKET}/a"),
        ("POST", "/ml-ops-dev/a", "uploads=", "PutObject", f"{BUCKET}/a"),
        ("DELETE", "/ml-ops-dev/a", "uploadId=1", "AbortMultipartUpload", f"{BUCKET}/a"),
        ("GET", "/ml-ops-dev/a", "tagging", "GetObjectTagging", f"{BUCKET}/a"),
        ("GET", "/ml-ops-dev", "list-type=2&prefix=x", "ListBucket", BUCKET),
        ("HEAD", "/ml-ops-dev/", "", "ListBucket", BUCKET),
        ("POST", "/ml-ops-dev", "delete", "DeleteObject", f"{BUCKET}/*"),
        ("GET", "/ml-ops-dev", "encryption", "GetEncryptionConfiguration", BUCKET),
        ("DELETE", "/ml-ops-dev", "lifecycle", "PutLifecycleConfiguration", BUCKET),
        ("DELETE", "/ml-ops-dev", "policy", "DeleteBucketPolicy", BUCKET),
        ("PUT", "/ml-ops-dev", "", "CreateBucket", BUCKET),
        ("GET", "/", "", "ListAllMyBuckets", "*"),
    ],
)
def test_s3(method: str, path: str, query: str, action: str, resource: str) -> None:
    assert calls("s3", method=method, path=path, query=query) == [(f"s3:{action}", (resource,))]


def test_a_copy_reads_its_source() -> None:
    copied = calls("s3", method="PUT", path="/ml-ops-dev/b", copied="ml-ops-dev/a%2F1?versionId=7")
    assert copied == [("s3:PutObject", (f"{BUCKET}/b",)), ("s3:GetObject", (f"{BUCKET}/a/1",))]


def test_a_sagemaker_job_needs_its_role_to_be_passed() -> None:
    body = json.dumps({"TrainingJobName": "Job-1", "RoleArn": "arn:aws:iam::1:role/x", "Tags": [{}]}).encode()
    assert calls("sagemaker", target="SageMaker.CreateTrainingJob", body=body) == [
        ("sagemaker:CreateTrainingJob", ("arn:aws:sagemaker:eu-west-1:111111111111:training-job/job-1",)),
        ("iam:PassRole", ("arn:aws:iam::1:role/x",)),
        ("sagemaker:AddTags", ()),
    ]


def test_an_endpoint_is_made_of_its_configuration() -> None:
    body = b'{"EndpointName": "e", "EndpointConfigName": "c"}'
    prefix = "arn:aws:sagemaker:eu-west-1:111111111111:"
    assert calls("sagemaker", target="SageMaker.UpdateEndpoint", body=body) == [
        ("sagemaker:UpdateEndpoint", (f"{prefix}endpoint/e",)),
        ("sagemaker:UpdateEndpoint", (f"{prefix}endpoint-config/c",)),
    ]


@pytest.mark.parametrize(
    ("service", "given", "action", "resource"),
    [
        (
            "lambda",
            {"path": "/2015-03-31/functions/ml-ops-dag-trigger/invocations"},
            "lambda:InvokeFunction",
            "arn:aws:lambda:eu-west-1:111111111111:function:ml-ops-dag-trigger",
        ),
        (
            "airflow",
            {"path": "/restapi/ml-ops-dev"},
            "airflow:InvokeRestApi",
            "arn:aws:airflow:eu-west-1:111111111111:role/ml-ops-dev/Op",
        ),
        (
            "sns",
            {"body": b"Action=Publish&TopicArn=arn%3Aaws%3Asns%3Aeu-west-1%3A1%3At&Message=m"},
            "sns:Publish",
            "arn:aws:sns:eu-west-1:1:t",
        ),
        (
            "ssm",
            {"target": "AmazonSSM.GetParameter", "body": b'{"Name": "/ml-ops/settings"}'},
            "ssm:GetParameter",
            "arn:aws:ssm:eu-west-1:111111111111:parameter/ml-ops/settings",
        ),
        (
            "ecr",
            {
                "target": "AmazonEC2ContainerRegistry_V20150921.DescribeImages",
                "body": b'{"repositoryName": "a/b"}',
            },
            "ecr:DescribeImages",
            "arn:aws:ecr:eu-west-1:111111111111:repository/a/b",
        ),
        (
            "ecr",
            {
                "target": "AmazonEC2ContainerRegistry_V20150921.ListTagsForResource",
                "body": b'{"resourceArn": "arn:aws:ecr:eu-west-1:1:repository/a/b"}',
            },
            "ecr:ListTagsForResource",
            "arn:aws:ecr:eu-west-1:1:repository/a/b",
        ),
        (
            "ecr",
            {
                "target": "AmazonEC2ContainerRegistry_V20150921.DescribeRepositories",
                "body": b'{"repositoryNames": ["a/b"]}',
            },
            "ecr:DescribeRepositories",
            "arn:aws:ecr:eu-west-1:111111111111:repository/a/b",
        ),
        (
            "sagemaker",
            {"path": "/endpoints/web-safety--x/invocations"},
            "sagemaker:InvokeEndpoint",
            "arn:aws:sagemaker:eu-west-1:111111111111:endpoint/web-safety--x",
        ),
    ],
)
def test_other_services(service: str, given: dict[str, Any], action: str, resource: str) -> None:
    assert calls(service, **given) == [(action, (resource,))]


def test_a_schedule_belongs_to_its_group_and_takes_a_role() -> None:
    prefix = "arn:aws:scheduler:eu-west-1:111111111111:"
    role = "arn:aws:iam::111111111111:role/ml-ops-schedules"
    body = json.dumps({"GroupName": "ml-ops", "Target": {"Arn": "x", "RoleArn": role}}).encode()
    assert calls("scheduler", path="/schedules/p--m--monitoring", body=body) == [
        ("scheduler:CreateSchedule", (f"{prefix}schedule/ml-ops/p--m--monitoring",)),
        ("iam:PassRole", (role,)),
    ]
    one = {"method": "GET", "path": "/schedules/p--m--monitoring", "query": "groupName=ml-ops"}
    assert calls("scheduler", **one) == [
        ("scheduler:GetSchedule", (f"{prefix}schedule/ml-ops/p--m--monitoring",))
    ]
    assert calls("scheduler", method="DELETE", path="/schedule-groups/ml-ops") == [
        ("scheduler:DeleteScheduleGroup", (f"{prefix}schedule-group/ml-ops",))
    ]
    tags = {"method": "GET", "path": "/tags/arn%3Aaws%3Ascheduler%3Aeu-west-1%3A1%3Aschedule-group%2Fml-ops"}
    assert calls("scheduler", **tags) == [
        ("scheduler:ListTagsForResource", ("arn:aws:scheduler:eu-west-1:1:schedule-group/ml-ops",))
    ]


def test_metrics_tell_their_namespace() -> None:
    (call,) = read(request("monitoring", body=b"Action=PutMetricData&Namespace=ml-ops"), HERE)
    assert (call.action, call.context) == ("cloudwatch:PutMetricData", {"cloudwatch:namespace": ("ml-ops",)})


def test_a_request_nobody_knows_is_no_call() -> None:
    assert calls("sqs", body=b"\xff\xfe") == []
    assert calls("lambda", method="GET", path="/there/is/no/such") == []


def allowed(*statements: dict[str, Any], call: Call) -> bool:
    return allows([{"Statement": list(statements)}], call.action, call.resources, call.context)


GET = Call("s3:GetObject", (f"{BUCKET}/evidence/a.json",))
ALLOW = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"{BUCKET}/evidence/*"}


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        ([], False),
        ([ALLOW], True),
        ([ALLOW | {"Action": ["s3:PutObject", "S3:getobject"]}], True),
        ([ALLOW | {"Action": "s3:Put*"}], False),
        ([ALLOW | {"Resource": f"{BUCKET}/data/*"}], False),
        ([ALLOW | {"Resource": f"{BUCKET}/evidence/?.json"}], True),
        ([ALLOW, ALLOW | {"Effect": "Deny"}], False),
        ([ALLOW, ALLOW | {"Effect": "Deny", "Resource": f"{BUCKET}/data/*"}], True),
        ([{"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}], True),
        ([{"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"}], False),
        # what a request says nothing of is neither a denial nor a reason for one
        ([ALLOW | {"Condition": {"StringEquals": {"aws:PrincipalTag/team": "ml"}}}], True),
        ([ALLOW, ALLOW | {"Effect": "Deny", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}], True),
    ],
)
def test_statements(statements: list[dict[str, Any]], *, expected: bool) -> None:
    assert allowed(*statements, call=GET) is expected


def test_conditions_on_what_is_known() -> None:
    through_s3 = {"kms:viaservice": ("s3.eu-west-1.amazonaws.com",)}
    decrypt = Call("kms:Decrypt", ("arn:aws:kms:eu-west-1:1:key/k",), through_s3)
    statement: dict[str, Any] = {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": "*"}
    for service, expected in (("s3", True), ("sns", False)):
        wanted = {"StringEquals": {"kms:ViaService": [f"{service}.eu-west-1.amazonaws.com"]}}
        assert allowed(statement | {"Condition": wanted}, call=decrypt) is expected
    other = {"StringNotEquals": {"kms:ViaService": "s3.eu-west-1.amazonaws.com"}}
    assert not allowed(statement | {"Condition": other}, call=decrypt)


def test_an_unknown_resource_is_judged_by_the_action_alone() -> None:
    unknown = Call("s3:GetObject")
    assert allowed(ALLOW, call=unknown)
    assert allowed(ALLOW, ALLOW | {"Effect": "Deny"}, call=unknown)
    assert not allowed(ALLOW, ALLOW | {"Effect": "Deny", "Resource": "*"}, call=unknown)


def test_a_resource_of_two_names_is_allowed_by_either() -> None:
    group = "arn:aws:logs:eu-west-1:1:log-group:/aws/sagemaker/TrainingJobs"
    stream = Call("logs:CreateLogStream", (group, f"{group}:*"))
    for name in (group, f"{group}:*"):
        assert allowed({"Effect": "Allow", "Action": "logs:CreateLogStream", "Resource": name}, call=stream)
