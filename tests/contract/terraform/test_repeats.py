"""A call that arrives a second time, with the client token of the first, is the same call."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.roles import make_role

from .conftest import REGION, LocalAws

SCHEDULE: dict[str, Any] = {
    "Name": "daily",
    "ScheduleExpression": "rate(1 day)",
    "FlexibleTimeWindow": {"Mode": "OFF"},
    "Target": {
        "Arn": f"arn:aws:lambda:{REGION}:123456789012:function:trigger",
        "RoleArn": "arn:aws:iam::123456789012:role/schedules",
    },
}


@pytest.fixture(scope="module", autouse=True)
def role(aws: LocalAws) -> None:
    make_role(aws.client("iam"), SCHEDULE["Target"]["RoleArn"], "scheduler.amazonaws.com")


def test_of_calls_with_one_token_one_makes_the_schedule(aws: LocalAws) -> None:
    # https://docs.aws.amazon.com/scheduler/latest/APIReference/API_CreateSchedule.html
    scheduler = aws.client("scheduler")

    def create(_: int) -> str:
        return str(scheduler.create_schedule(**SCHEDULE, ClientToken="the-first")["ScheduleArn"])

    with ThreadPoolExecutor(8) as callers:
        assert len(set(callers.map(create, range(16)))) == 1
    assert [one["Name"] for one in scheduler.list_schedules()["Schedules"]] == ["daily"]
    with pytest.raises(scheduler.exceptions.ConflictException, match="already exists"):
        scheduler.create_schedule(**SCHEDULE, ClientToken="another")
    with pytest.raises(scheduler.exceptions.ConflictException, match="already exists"):
        scheduler.create_schedule(**SCHEDULE | {"State": "DISABLED"}, ClientToken="the-first")
    for _ in range(2):
        scheduler.delete_schedule(Name="daily", ClientToken="the-last")
    assert not scheduler.list_schedules()["Schedules"]


def test_a_call_that_failed_is_made_anew(aws: LocalAws) -> None:
    scheduler, wanted = aws.client("scheduler"), SCHEDULE | {"Name": "later"}
    scheduler.create_schedule(**wanted, ClientToken="first")
    with pytest.raises(scheduler.exceptions.ConflictException):
        scheduler.create_schedule(**wanted, ClientToken="second")
    scheduler.delete_schedule(Name="later", ClientToken="third")
    scheduler.create_schedule(**wanted, ClientToken="second")


def test_a_group_is_made_once(aws: LocalAws) -> None:
    scheduler = aws.client("scheduler")
    made = [
        scheduler.create_schedule_group(Name="group", ClientToken="group")["ScheduleGroupArn"]
        for _ in range(2)
    ]
    assert made[0] == made[1]


def test_a_secret_is_made_once(aws: LocalAws) -> None:
    # https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html
    secrets, token = aws.client("secretsmanager"), "0" * 32
    made = [secrets.create_secret(Name="slack", ClientRequestToken=token)["ARN"] for _ in range(2)]
    assert made[0] == made[1]
    with pytest.raises(secrets.exceptions.ResourceExistsException):
        secrets.create_secret(Name="slack", ClientRequestToken="1" * 32)


def test_one_token_makes_one_gateway(aws: LocalAws) -> None:
    # https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html
    ec2 = aws.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/24")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.0.0/25")["Subnet"]["SubnetId"]
    wanted = {"SubnetId": subnet, "ConnectivityType": "private", "ClientToken": "gateway"}
    made = [ec2.create_nat_gateway(**wanted)["NatGateway"]["NatGatewayId"] for _ in range(2)]
    assert made[0] == made[1]
    asked = ec2.describe_nat_gateways(Filters=[{"Name": "subnet-id", "Values": [subnet]}])
    assert len(asked["NatGateways"]) == 1
    with pytest.raises(ClientError, match="IdempotentParameterMismatch"):
        ec2.create_nat_gateway(**wanted | {"ConnectivityType": "public"})
