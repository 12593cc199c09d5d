"""Which calls of AWS's services are refused, whatever moto would answer."""

from __future__ import annotations

import pytest

from mlops_local.aws import shapes
from mlops_local.aws.services import PLAYED, WORK, refused

# The clients' names of services whose signatures have another one.
CLIENTS = {"airflow": "mwaa", "monitoring": "cloudwatch"}


@pytest.mark.parametrize(
    ("service", "target", "query", "body", "said"),
    [
        ("glue", "AWSGlue.StartJobRun", "", b"", "glue:StartJobRun"),
        ("tagging", "ResourceGroupsTaggingAPI_20170126.GetResources", "", b"", "tagging:GetResources"),
        ("batch", "", "", b"{}", "batch:*"),
        ("ec2", "", "", b"Action=RunInstances&Version=1", "ec2:RunInstances"),
        ("ec2", "", "", b"Action=CreateVpc&Version=1", ""),
        ("ec2", "", "Action=DescribeAvailabilityZones", b"", ""),
        ("logs", "Logs_20140328.StartQuery", "", b"", "logs:StartQuery"),
        ("logs", "Logs_20140328.PutLogEvents", "", b"", ""),
        ("iam", "", "", b"Action=SimulatePrincipalPolicy", "iam:SimulatePrincipalPolicy"),
        ("s3", "", "list-type=2", b"", ""),
    ],
)
def test_what_nobody_does_is_refused(service: str, target: str, query: str, body: bytes, said: str) -> None:
    assert refused(service, target, query, body) == said


@pytest.mark.parametrize("service", sorted(PLAYED))
def test_each_service_is_one_that_signs_so(service: str) -> None:
    model = shapes.service_model(CLIENTS.get(service, service))
    assert (model.signing_name or model.endpoint_prefix) == service


@pytest.mark.parametrize("service", sorted(WORK))
def test_each_pattern_refuses_something_and_not_all(service: str) -> None:
    names = shapes.service_model(CLIENTS.get(service, service)).operation_names
    found = [name for name in names if WORK[service].fullmatch(name)]
    assert found
    assert len(found) < len(names)
