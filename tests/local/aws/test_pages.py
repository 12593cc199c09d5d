"""A web page that a person looks at beside the stack: what its browser can be made to send is refused.

So is what comes without a key of the account, from a browser or from any other program.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.client import HTTPConnection
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from .harness import ROLE, LocalAws

EVIL = "https://evil.example"
# What Chrome, Firefox and Safari add to a request of another site's page.
BROWSER = {"Origin": EVIL, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
FORM = "multipart/form-data; boundary=x"
UPLOAD = (
    b'--x\r\nContent-Disposition: form-data; name="key"\r\n\r\ndags/evil.py\r\n'
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="evil.py"\r\n\r\nimport os\r\n--x--\r\n'
)


def signed(service: str, key: str = "test") -> str:
    """The header of a request that is signed wrongly, which a page can write as well as a program."""
    scope = f"{key}/20260101/eu-west-1/{service}/aws4_request"
    return f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"


def ask(
    aws: LocalAws, method: str, path: str, headers: Mapping[str, str], body: bytes = b""
) -> tuple[int, dict[str, str]]:
    """The status and the headers of the answer; names of headers in lower case."""
    connection = HTTPConnection("127.0.0.1", aws.port, timeout=30)
    try:
        connection.request(method, path, body, dict(headers))
        answer = connection.getresponse()
        answer.read()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()


@pytest.fixture(scope="module")
def bucket(aws: LocalAws) -> str:
    aws.client("s3").create_bucket(
        Bucket="ml-ops-pages", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    return "ml-ops-pages"


def test_a_form_of_a_page_uploads_nothing(aws: LocalAws, bucket: str) -> None:
    status, _ = ask(aws, "POST", f"/{bucket}", {**BROWSER, "Content-Type": FORM}, UPLOAD)
    assert status == 403
    with pytest.raises(ClientError, match="404"):
        aws.client("s3").head_object(Bucket=bucket, Key="dags/evil.py")


def test_a_page_starts_no_job(aws: LocalAws) -> None:
    wanted = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-amz-target"}
    status, headers = ask(aws, "OPTIONS", "/", BROWSER | wanted)
    assert status == 403
    assert not [name for name in headers if name.startswith("access-control-")]

    job: dict[str, Any] = {
        "TrainingJobName": "of-a-page",
        "RoleArn": ROLE,
        "AlgorithmSpecification": {
            "TrainingImage": f"{aws.registry}/any:1",
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["/bin/sh", "-c", "id"],
        },
        "OutputDataConfig": {"S3OutputPath": "s3://b/"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    }
    call = {"X-Amz-Target": "SageMaker.CreateTrainingJob", "Authorization": signed("sagemaker")}
    status, _ = ask(aws, "POST", "/", BROWSER | call, json.dumps(job).encode())
    assert status == 403
    assert not aws.client("sagemaker").list_training_jobs(NameContains="of-a-page")["TrainingJobSummaries"]


@pytest.mark.parametrize("path", ["/_mlops/inbox", "/_mlops/health", "/v2/", "/"])
def test_a_name_that_was_made_to_resolve_to_loopback_reaches_nothing(aws: LocalAws, path: str) -> None:
    assert ask(aws, "GET", path, {"Host": f"evil.example:{aws.port}"})[0] == 403


def test_a_page_reads_no_secret(aws: LocalAws) -> None:
    call = {
        "X-Amz-Target": "secretsmanager.ListSecrets",
        "Authorization": signed("secretsmanager"),
        "Content-Type": "application/x-amz-json-1.1",
    }
    status, headers = ask(aws, "POST", "/", call | BROWSER, b"{}")
    assert (status, "access-control-allow-origin" in headers) == (403, False)
    # nor does a program's answer say that a page may read it
    status, headers = ask(aws, "POST", "/", call, b"{}")
    assert (status, "access-control-allow-origin" in headers) == (200, False)


def refusal(client: Any, operation: str, **arguments: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        getattr(client, operation)(**arguments)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


INVALID = "The security token included in the request is invalid."
UNKNOWN = "The AWS Access Key Id you provided does not exist in our records."


@pytest.mark.parametrize(
    ("service", "operation", "said"),
    [
        ("secretsmanager", "list_secrets", ("UnrecognizedClientException", INVALID)),
        ("sagemaker", "list_training_jobs", ("UnrecognizedClientException", INVALID)),
        ("lambda", "list_functions", ("UnrecognizedClientException", INVALID)),
        ("sts", "get_caller_identity", ("InvalidClientTokenId", INVALID)),
        ("iam", "list_roles", ("InvalidClientTokenId", INVALID)),
        ("s3", "list_buckets", ("InvalidAccessKeyId", UNKNOWN)),
    ],
)
@pytest.mark.parametrize("key", ["AKIAIOSFODNN7EXAMPLE", "ASIAIOSFODNN7EXAMPLE"])
def test_a_key_that_the_account_does_not_know_is_refused_as_aws_does(
    aws: LocalAws, key: str, service: str, operation: str, said: tuple[str, str]
) -> None:
    session = boto3.Session(key, "any", region_name="eu-west-1")
    client = session.client(service, endpoint_url=aws.endpoint, config=Config(proxies={}))  # type: ignore[call-overload]
    assert refusal(client, operation) == said


def test_the_key_of_an_iam_user_is_known(aws: LocalAws) -> None:
    iam = aws.client("iam")
    iam.create_user(UserName="ann")
    key = iam.create_access_key(UserName="ann")["AccessKey"]
    session = boto3.Session(key["AccessKeyId"], key["SecretAccessKey"], region_name="eu-west-1")
    client = session.client("s3", endpoint_url=aws.endpoint, config=Config(proxies={}))
    assert "Buckets" in client.list_buckets()


def test_nothing_is_done_without_a_signature(aws: LocalAws, bucket: str) -> None:
    plain = boto3.Session(region_name="eu-west-1").client(
        "s3", endpoint_url=aws.endpoint, config=Config(proxies={}, signature_version=UNSIGNED)
    )
    assert refusal(plain, "put_object", Bucket=bucket, Key="a", Body=b"")[0] == "AccessDenied"
    # without what a browser adds, as one that knows neither header
    assert ask(aws, "POST", f"/{bucket}", {"Content-Type": FORM}, UPLOAD)[0] == 403
    assert ask(aws, "POST", "/", {"X-Amz-Target": "secretsmanager.ListSecrets"}, b"{}")[0] == 400
    assert ask(aws, "POST", "/moto-api/reset", {})[0] == 403
    assert "Contents" not in aws.client("s3").list_objects_v2(Bucket=bucket)


def test_a_presigned_url_is_not_played(aws: LocalAws, bucket: str) -> None:
    s3 = aws.client("s3")
    s3.put_object(Bucket=bucket, Key="b", Body=b"x")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "b"})
    assert ask(aws, "GET", url.removeprefix(aws.endpoint), {})[0] == 403
    s3.delete_object(Bucket=bucket, Key="b")
