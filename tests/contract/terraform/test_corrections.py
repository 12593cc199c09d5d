"""What we correct in moto, held to what AWS does."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .conftest import LocalAws

BUCKET = "corrections"


def deny(**condition: Any) -> str:
    statement = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": f"arn:aws:s3:::{BUCKET}/*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement | condition]})


def test_a_bucket_that_denies_plain_http_serves_everybody_else(aws: LocalAws) -> None:
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/security-best-practices.html#transit
    s3 = aws.client("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_bucket_policy(Bucket=BUCKET, Policy=deny(Condition={"Bool": {"aws:SecureTransport": "false"}}))
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
    role = aws.client("iam").create_role(RoleName="corrections", AssumeRolePolicyDocument="{}")["Role"]
    functions = aws.client("lambda")
    created = functions.create_function(
        FunctionName="corrections",
        Role=role["Arn"],
        Handler="handler.handler",
        Runtime="python3.13",
        Code={"ZipFile": archive.getvalue()},
    )
    assert created["LoggingConfig"] == {"LogFormat": "Text", "LogGroup": "/aws/lambda/corrections"}
    wanted = {"LogFormat": "JSON", "LogGroup": "/elsewhere", "SystemLogLevel": "WARN"}
    functions.update_function_configuration(FunctionName="corrections", LoggingConfig=wanted)
    assert functions.get_function(FunctionName="corrections")["Configuration"]["LoggingConfig"] == wanted
