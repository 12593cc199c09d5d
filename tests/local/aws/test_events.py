"""Events that really arrive: what AWS services tell, the rules that listen, and the functions that hear of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.error import HTTPError

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.roles import make_role

from .airflow_double import AirflowDouble
from .harness import ACCOUNT, REGION, ROLE, LocalAws, wait_for
from .images import Pusher, layer
from .test_lambda import archive

HANDLER = """
import json, time
import boto3

def handler(event, context):
    if event.get("detail", {}).get("do") == "sleep" or event.get("do") == "sleep":
        time.sleep(1.5)
    key = f"heard/{context.function_name}/{context.aws_request_id}.json"
    boto3.client("s3").put_object(Bucket="heard", Key=key, Body=json.dumps(event).encode())
    if event.get("detail", {}).get("do") == "raise":
        raise ValueError("not today")
"""
FUNCTION = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:listener"


class Ear:
    """A function that keeps what it hears, and a rule that leads to it."""

    def __init__(self, aws: LocalAws) -> None:
        self.aws = aws
        self.events = aws.client("events")
        self.s3 = aws.client("s3")
        self.functions = aws.client("lambda")

    def listen(self, name: str, pattern: object, **target: Any) -> str:
        arn: str = self.events.put_rule(Name=name, EventPattern=json.dumps(pattern))["RuleArn"]
        self.events.put_targets(Rule=name, Targets=[{"Id": "function", "Arn": FUNCTION, **target}])
        return arn

    def let_in(self, name: str, arn: str) -> None:
        self.functions.add_permission(
            FunctionName="listener",
            StatementId=name,
            Action="lambda:InvokeFunction",
            Principal="events.amazonaws.com",
            SourceArn=arn,
        )

    def heard(self, kind: str, count: int = 1, where: Callable[[Any], bool] = bool) -> list[Any]:
        """The events of a type, once there are so many of them."""

        def look() -> list[Any]:
            found = self.s3.list_objects_v2(Bucket="heard", Prefix="heard/listener/").get("Contents", [])
            documents = [
                json.loads(self.s3.get_object(Bucket="heard", Key=one["Key"])["Body"].read()) for one in found
            ]
            matching = [one for one in documents if one.get("detail-type") == kind and where(one)]
            return matching if len(matching) >= count else []

        events: list[Any] = wait_for(look)
        return events

    def letters(self, queue: str) -> list[Any]:
        sqs = self.aws.client("sqs")
        url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]

        def look() -> list[Any]:
            answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"])
            return list(answer.get("Messages", []))

        messages: list[Any] = wait_for(look)
        return messages


@pytest.fixture(scope="module")
def ear(aws: LocalAws) -> Iterator[Ear]:
    listener = Ear(aws)
    place = {"LocationConstraint": REGION}
    for bucket in ("heard", "told"):
        listener.s3.create_bucket(Bucket=bucket, CreateBucketConfiguration=place)
    listener.s3.put_bucket_notification_configuration(
        Bucket="told", NotificationConfiguration={"EventBridgeConfiguration": {}}
    )
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role = aws.client("iam").create_role(RoleName="listener", AssumeRolePolicyDocument=document)["Role"][
        "Arn"
    ]
    listener.functions.create_function(
        FunctionName="listener",
        Runtime="python3.13",
        Role=role,
        Handler="handler.handler",
        Code={"ZipFile": archive(handler=HANDLER)},
        Timeout=10,
    )
    for name, pattern in {
        "objects": {
            "source": ["aws.s3"],
            "detail": {"bucket": {"name": ["told"]}, "object": {"key": [{"prefix": "a/"}]}},
        },
        "alarms": {"source": ["aws.cloudwatch"], "detail": {"state": {"value": ["ALARM"]}}},
        "sagemaker": {"source": ["aws.sagemaker"]},
        "ours": {"source": ["ours"]},
    }.items():
        listener.let_in(name, listener.listen(name, pattern))
    aws.post("/_mlops/events/delivery", {"retry_seconds": [0.1, 0.1]})
    yield listener
    for name in ("objects", "alarms", "sagemaker", "ours"):
        listener.events.disable_rule(Name=name)
    aws.post("/_mlops/events/delivery", {"retry_seconds": [60, 120], "copies": 1})


def put(ear: Ear, kind: str, **detail: Any) -> None:
    entry = {"Source": "ours", "DetailType": kind, "Detail": json.dumps(detail)}
    assert ear.events.put_events(Entries=[entry])["FailedEntryCount"] == 0


def test_an_event_of_ours_arrives_as_eventbridge_gives_it(ear: Ear) -> None:
    put(ear, "Something Happened", number=3)
    (event,) = ear.heard("Something Happened")
    assert event["detail"] == {"number": 3}
    assert (event["source"], event["account"], event["region"]) == ("ours", ACCOUNT, REGION)
    assert datetime.strptime(event["time"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert set(event) == {
        "version",
        "id",
        "detail-type",
        "source",
        "account",
        "time",
        "region",
        "resources",
        "detail",
    }


def test_an_event_may_arrive_twice(aws: LocalAws, ear: Ear) -> None:
    aws.post("/_mlops/events/delivery", {"copies": 2})
    put(ear, "Told Twice")
    first, second = ear.heard("Told Twice", 2)
    aws.post("/_mlops/events/delivery", {"copies": 1})
    assert first == second


def test_a_new_object_is_told_where_the_bucket_tells(ear: Ear) -> None:
    ear.s3.put_object(Bucket="told", Key="b/other.csv", Body=b"1")
    ear.s3.put_object(Bucket="told", Key="a/part.csv", Body=b"12345")
    (event,) = ear.heard("Object Created")
    assert event["resources"] == ["arn:aws:s3:::told"]
    detail = event["detail"]
    assert (detail["bucket"], detail["reason"]) == ({"name": "told"}, "PutObject")
    assert (detail["object"]["key"], detail["object"]["size"]) == ("a/part.csv", 5)
    assert set(detail["object"]) == {"key", "size", "etag", "sequencer"}


def test_an_alarm_looks_at_its_metric_and_tells_of_each_change(aws: LocalAws, ear: Ear) -> None:
    topic = aws.client("sns").create_topic(Name="alarmed")["TopicArn"]
    aws.client("sns").subscribe(TopicArn=topic, Protocol="email", Endpoint="ada@example.com")
    aws.post("/_mlops/subscriptions/confirm", {})
    cloudwatch = aws.client("cloudwatch")
    measured = {
        "Namespace": "ml-ops/models",
        "MetricName": "drift",
        "Dimensions": [{"Name": "Model", "Value": "m"}],
    }
    cloudwatch.put_metric_alarm(
        AlarmName="ml-ops-drift-p--m",
        **measured,
        Statistic="Maximum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=0.2,
        ComparisonOperator="GreaterThanThreshold",
        AlarmActions=[topic],
    )

    def measure(value: float) -> str:
        datum = {"MetricName": "drift", "Dimensions": measured["Dimensions"], "Value": value}
        cloudwatch.put_metric_data(Namespace="ml-ops/models", MetricData=[datum])
        state: str = cloudwatch.describe_alarms(AlarmNames=["ml-ops-drift-p--m"])["MetricAlarms"][0][
            "StateValue"
        ]
        return state

    assert measure(0.1) == "OK"
    assert measure(0.4) == "ALARM"
    assert measure(0.5) == "ALARM"
    (event,) = ear.heard("CloudWatch Alarm State Change")
    detail = event["detail"]
    assert (detail["alarmName"], detail["previousState"]["value"]) == ("ml-ops-drift-p--m", "OK")
    assert detail["state"]["value"] == "ALARM"
    assert "Threshold Crossed" in detail["state"]["reason"]
    assert detail["configuration"]["metrics"][0]["metricStat"]["metric"]["dimensions"] == {"Model": "m"}
    mail = [one for one in aws.get("/_mlops/inbox") if "ml-ops-drift-p--m" in json.dumps(one)]
    assert len(mail) == 1
    for state in ("OK", "ALARM"):
        cloudwatch.set_alarm_state(AlarmName="ml-ops-drift-p--m", StateValue=state, StateReason="by hand")
    assert len(ear.heard("CloudWatch Alarm State Change", 2)) == 2


def test_sagemaker_tells_how_a_job_goes(aws: LocalAws, ear: Ear) -> None:
    aws.client("ecr").create_repository(repositoryName="events/doomed")
    uri = Pusher.login(aws).push("events/doomed", "1", [layer({"a": "1"})], {"Entrypoint": ["false"]})
    channel = {
        "ChannelName": "train",
        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://x/y"}},
    }
    aws.client("sagemaker").create_training_job(
        TrainingJobName="doomed",
        AlgorithmSpecification={"TrainingImage": uri, "TrainingInputMode": "File"},
        InputDataConfig=[channel],
        RoleArn=ROLE,
        OutputDataConfig={"S3OutputPath": "s3://heard/out"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        StoppingCondition={"MaxRuntimeInSeconds": 60},
        Tags=[{"Key": "mlops:project", "Value": "p"}],
    )
    kind = "SageMaker Training Job State Change"
    (event,) = ear.heard(kind, where=lambda event: event["detail"]["TrainingJobStatus"] == "Failed")
    detail = event["detail"]
    assert (detail["TrainingJobName"], detail["SecondaryStatus"]) == ("doomed", "Failed")
    assert detail["FailureReason"].startswith("ClientError")
    assert detail["Tags"] == {"mlops:project": "p"}
    assert isinstance(detail["CreationTime"], int)
    assert event["resources"] == [f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:training-job/doomed"]
    assert ear.heard(kind, where=lambda event: event["detail"]["TrainingJobStatus"] == "InProgress")


def test_a_function_that_fails_is_asked_three_times_and_the_event_is_kept(aws: LocalAws, ear: Ear) -> None:
    queue = aws.client("sqs").create_queue(QueueName="failed")["QueueUrl"]
    assert queue.endswith("/failed")
    ear.functions.put_function_event_invoke_config(
        FunctionName="listener",
        MaximumRetryAttempts=2,
        MaximumEventAgeInSeconds=3600,
        DestinationConfig={"OnFailure": {"Destination": f"arn:aws:sqs:{REGION}:{ACCOUNT}:failed"}},
    )
    put(ear, "Too Much", do="raise")
    (letter,) = ear.letters("failed")
    record = json.loads(letter["Body"])
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["requestContext"]["approximateInvokeCount"] == 3
    assert record["requestPayload"]["detail"] == {"do": "raise"}
    assert record["responsePayload"]["errorMessage"] == "not today"
    assert len(ear.heard("Too Much", 3)) == 3


def test_a_rule_the_function_does_not_let_in_leaves_its_events_in_the_queue(aws: LocalAws, ear: Ear) -> None:
    aws.client("sqs").create_queue(QueueName="undelivered")
    letters = {"Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:undelivered"}
    rule = ear.listen("stranger", {"source": ["stranger"]}, DeadLetterConfig=letters)
    entry = {"Source": "stranger", "DetailType": "Hello", "Detail": "{}"}
    ear.events.put_events(Entries=[entry])
    (letter,) = ear.letters("undelivered")
    assert json.loads(letter["Body"])["detail-type"] == "Hello"
    attributes = {name: value["StringValue"] for name, value in letter["MessageAttributes"].items()}
    assert attributes == {"ERROR_CODE": "NO_PERMISSIONS", "RULE_ARN": rule, "TARGET_ARN": FUNCTION}
    ear.events.disable_rule(Name="stranger")


def test_a_schedule_says_what_terraform_gave_it_to_say(aws: LocalAws, ear: Ear) -> None:
    role = f"arn:aws:iam::{ACCOUNT}:role/schedules"
    make_role(aws.client("iam"), role, "scheduler.amazonaws.com")
    scheduler = aws.client("scheduler")
    scheduler.create_schedule_group(Name="models")
    said = {"detail-type": "monitoring", "time": "<aws.scheduler.scheduled-time>"}
    scheduler.create_schedule(
        Name="p--m",
        GroupName="models",
        ScheduleExpression="rate(1 day)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={
            "Arn": FUNCTION,
            "RoleArn": role,
            "Input": json.dumps(said),
        },
    )
    aws.post("/_mlops/events/fire", {"name": "p--m", "group": "models", "time": "2026-03-01T00:00:00Z"})
    assert ear.heard("monitoring") == [{"detail-type": "monitoring", "time": "2026-03-01T00:00:00Z"}]
    for name in ("p--n", "p--m"):
        with pytest.raises(HTTPError, match="404"):
            aws.post("/_mlops/events/fire", {"name": name})


def test_a_function_never_works_on_more_events_than_it_has_reserved(ear: Ear) -> None:
    ear.functions.put_function_concurrency(FunctionName="listener", ReservedConcurrentExecutions=2)
    plain = ear.aws.client("lambda", config=Config(retries={"max_attempts": 0}, proxies={}))
    outcomes: list[str] = []

    def call() -> None:
        try:
            plain.invoke(FunctionName="listener", Payload=b'{"do": "sleep"}')
            outcomes.append("taken")
        except ClientError as error:
            outcomes.append(
                f"{error.response['Error']['Code']} {error.response['ResponseMetadata']['HTTPStatusCode']}"
            )

    callers = [threading.Thread(target=call) for _ in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert sorted(outcomes) == ["TooManyRequestsException 429"] * 4 + ["taken"] * 2
    for number in range(4):  # events wait for their turn
        put(ear, "Patient", number=number)
    assert len(ear.heard("Patient", 4)) == 4
    ear.functions.delete_function_concurrency(FunctionName="listener")


def test_mwaa_takes_so_many_calls_a_second(aws: LocalAws, airflow: AirflowDouble) -> None:
    airflow.answers["GET /version"] = (200, {"version": "3.2.1"})
    mwaa = aws.client(
        "mwaa", config=Config(inject_host_prefix=False, proxies={}, retries={"max_attempts": 0})
    )

    def call() -> str:
        try:
            mwaa.invoke_rest_api(Name="ml-ops-local", Path="/version", Method="GET")
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return "taken"

    aws.post("/_mlops/mwaa/limit", {"calls_per_second": 2})
    try:
        outcomes = [call() for _ in range(6)]
        assert outcomes[:2] == ["taken", "taken"]
        assert "ThrottlingException" in outcomes
        wait_for(lambda: call() == "taken", 2)
    finally:
        aws.post("/_mlops/mwaa/limit", {"calls_per_second": None})
    assert [call() for _ in range(6)] == ["taken"] * 6
