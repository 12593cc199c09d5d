"""Endpoints: real servers, replaced without a gap, and rolled back when the new one does not answer."""

from __future__ import annotations

import base64
import io
import json
import re
import tarfile
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

from .harness import REGION, ROLE, LocalAws, wait_for
from .images import Pusher

BUCKET = "ml-ops-local-endpoints"

LAYOUT = r"kept/{}/AllTraffic/\d{{4}}/\d\d/\d\d/\d\d/\d\d-\d\d-\d{{3}}-[0-9a-f-]{{36}}\.jsonl"

SERVER = """
import http.server, json, os, pathlib, sys, time
base = pathlib.Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
do = os.environ.get("DO", "")
print("verb", sys.argv[1], "does", do)
if do == "crash":
    sys.exit(1)
if do == "slow":
    time.sleep(1.5)
version = (base / "model/version").read_text()

class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.answer(503 if do == "sick" else 200, b"")
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if body == b"bad":
            return self.answer(415, b"only JSON")
        if body == b"boom":
            return self.answer(500, b"division by zero")
        if body == b"die":
            os._exit(1)
        answer = {"model": version, "got": body.decode(), "type": self.headers["Content-Type"],
                  "accept": self.headers["Accept"], "pid": os.getpid()}
        self.answer(200, json.dumps(answer).encode(), Content_Type="application/json",
                    X_Amzn_SageMaker_Custom_Attributes=self.headers.get("X-Amzn-SageMaker-Custom-Attributes", ""))
    def log_message(self, *args): pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def sagemaker(aws: LocalAws) -> Any:
    return aws.client("sagemaker")


@pytest.fixture(scope="module")
def runtime(aws: LocalAws) -> Any:
    return aws.client("sagemaker-runtime")


@pytest.fixture(scope="module")
def image(aws: LocalAws) -> str:
    aws.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    aws.client("ecr").create_repository(repositoryName="endpoints/server")
    return Pusher.login(aws).program("endpoints/server", "1.0.0", SERVER)


def artifact(**files: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def configure(aws: LocalAws, sagemaker: Any, image: str) -> Callable[..., str]:
    """Make a model and a configuration of that name."""
    s3 = aws.client("s3")

    def make(name: str, do: str = "", data: bytes | None = None, **variant: Any) -> str:
        key = f"{name}/model.tar.gz"
        s3.put_object(Bucket=BUCKET, Key=key, Body=artifact(version=name) if data is None else data)
        container = {"Image": image, "ModelDataUrl": f"s3://{BUCKET}/{key}", "Environment": {"DO": do}}
        sagemaker.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
        sagemaker.create_endpoint_config(
            EndpointConfigName=name,
            ProductionVariants=[
                {
                    "VariantName": "AllTraffic",
                    "ModelName": name,
                    "InstanceType": "ml.t2.medium",
                    "InitialInstanceCount": 1,
                    **variant,
                }
            ],
        )
        return name

    return make


@pytest.fixture
def endpoint(sagemaker: Any, request: pytest.FixtureRequest) -> Iterator[str]:
    name = request.node.name.replace("_", "-").replace("[", "-").replace("]", "")[:60].strip("-")
    yield name
    try:
        settled(sagemaker, name)
        sagemaker.delete_endpoint(EndpointName=name)
    except ClientError as error:
        assert "Could not find endpoint" in str(error)


def settled(sagemaker: Any, name: str) -> dict[str, Any]:
    def look() -> Any:
        found = sagemaker.describe_endpoint(EndpointName=name)
        return found if found["EndpointStatus"] in ("InService", "Failed") else None

    found: dict[str, Any] = wait_for(look, 30)
    return found


def ask(runtime: Any, endpoint: str, body: bytes = b"{}", **more: Any) -> Any:
    answer = runtime.invoke_endpoint(
        EndpointName=endpoint, Body=body, **{"ContentType": "application/json", **more}
    )
    return json.loads(answer["Body"].read())


def test_an_approved_version_of_the_registry_is_deployed_by_its_name(
    aws: LocalAws, sagemaker: Any, runtime: Any, image: str, endpoint: str
) -> None:
    """As the SageMaker SDK's `ModelPackage.deploy` asks for it."""
    aws.client("s3").put_object(Bucket=BUCKET, Key="packaged/model.tar.gz", Body=artifact(version="packaged"))
    sagemaker.create_model_package_group(ModelPackageGroupName="packaged")
    container = {"Image": image, "ModelDataUrl": f"s3://{BUCKET}/packaged/model.tar.gz"}
    arn = sagemaker.create_model_package(
        ModelPackageGroupName="packaged",
        InferenceSpecification={
            "Containers": [container],
            "SupportedContentTypes": ["application/json"],
            "SupportedResponseMIMETypes": ["application/json"],
        },
    )["ModelPackageArn"]
    model = {"ExecutionRoleArn": ROLE, "Containers": [{"ModelPackageName": arn}]}
    with pytest.raises(ClientError, match="is PendingManualApproval; only an Approved one can be deployed"):
        sagemaker.create_model(ModelName="packaged", **model)
    sagemaker.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Approved")
    sagemaker.create_model(ModelName="packaged", **model)
    assert sagemaker.describe_model(ModelName="packaged")["Containers"] == [{"ModelPackageName": arn}]
    variant = {"VariantName": "all", "ModelName": "packaged", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(
        EndpointConfigName="packaged", ProductionVariants=[{**variant, "InstanceType": "ml.t2.medium"}]
    )
    sagemaker.create_endpoint(EndpointName=endpoint, EndpointConfigName="packaged")
    assert settled(sagemaker, endpoint)["EndpointStatus"] == "InService"
    assert ask(runtime, endpoint)["model"] == "packaged"


@pytest.mark.parametrize(
    ("containers", "why"),
    [
        ({}, "Specify either PrimaryContainer or Containers"),
        ({"PrimaryContainer": {"Image": "x"}, "Containers": [{"Image": "x"}]}, "Specify either"),
        ({"Containers": [{"Image": "x"}, {"Image": "y"}]}, "not played locally with more than one container"),
        ({"PrimaryContainer": {"ModelDataUrl": "s3://a/b"}}, "either an Image or a ModelPackageName"),
    ],
)
def test_a_model_has_one_container(sagemaker: Any, containers: dict[str, Any], why: str) -> None:
    with pytest.raises(ClientError, match=why):
        sagemaker.create_model(ModelName="two", ExecutionRoleArn=ROLE, **containers)


def test_an_endpoint_serves_its_model(
    aws: LocalAws, sagemaker: Any, runtime: Any, configure: Callable[..., str], endpoint: str
) -> None:
    config = configure("serves-v1")
    arn = sagemaker.create_endpoint(
        EndpointName=endpoint, EndpointConfigName=config, Tags=[{"Key": "a", "Value": "b"}]
    )["EndpointArn"]
    assert sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointStatus"] == "Creating"
    found = settled(sagemaker, endpoint)
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", config)
    variant = found["ProductionVariants"][0]
    assert (variant["VariantName"], variant["CurrentInstanceCount"]) == ("AllTraffic", 1)
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "a", "Value": "b"}]
    listed = sagemaker.list_endpoints(NameContains=endpoint, StatusEquals="InService")["Endpoints"]
    assert [one["EndpointName"] for one in listed] == [endpoint]

    answer = runtime.invoke_endpoint(
        EndpointName=endpoint,
        Body=b'{"url": 1}',
        ContentType="application/json",
        Accept="application/json",
        CustomAttributes="trace=7",
    )
    assert (answer["InvokedProductionVariant"], answer["CustomAttributes"]) == ("AllTraffic", "trace=7")
    document = json.loads(answer["Body"].read())
    assert (document["model"], document["got"], document["type"]) == (
        config,
        '{"url": 1}',
        "application/json",
    )
    logs = aws.client("logs")
    group = f"/aws/sagemaker/Endpoints/{endpoint}"
    lines = wait_for(lambda: logs.filter_log_events(logGroupName=group)["events"], 5)
    assert lines[0]["message"].startswith("verb serve")
    assert lines[0]["logStreamName"].startswith("AllTraffic/i-")
    with pytest.raises(ClientError, match="Cannot create already existing endpoint"):
        sagemaker.create_endpoint(EndpointName=endpoint, EndpointConfigName=config)


def test_errors_of_the_container_are_model_errors(
    sagemaker: Any, runtime: Any, configure: Callable[..., str], endpoint: str
) -> None:
    sagemaker.create_endpoint(EndpointName=endpoint, EndpointConfigName=configure("errors-v1"))
    settled(sagemaker, endpoint)
    for body, status, kind, message in (
        (b"bad", 415, "client", "only JSON"),
        (b"boom", 500, "server", "division by zero"),
        (b"die", 0, "server", "gave no answer"),
    ):
        with pytest.raises(runtime.exceptions.ModelError) as caught:
            ask(runtime, endpoint, body)
        response = caught.value.response
        assert response["OriginalStatusCode"] == status
        assert message in response["OriginalMessage"]
        assert response["Error"]["Message"].startswith(f"Received {kind} error ({status}) from primary")
        assert f"/aws/sagemaker/Endpoints/{endpoint}" in response["LogStreamArn"]
    with pytest.raises(ClientError, match="Endpoint nobody-s of account 123456789012 not found"):
        ask(runtime, "nobody-s")
    with pytest.raises(ClientError, match="Variant Other not found"):
        ask(runtime, endpoint, TargetVariant="Other")


def test_an_update_has_no_gap(
    sagemaker: Any, runtime: Any, configure: Callable[..., str], endpoint: str
) -> None:
    old, new = configure("gap-v1"), configure("gap-v2", do="slow")
    sagemaker.create_endpoint(EndpointName=endpoint, EndpointConfigName=old)
    settled(sagemaker, endpoint)
    answers: list[str] = []
    ended = threading.Event()

    def keep_asking() -> None:
        while not ended.is_set():
            answers.append(ask(runtime, endpoint)["model"])

    pid = ask(runtime, endpoint)["pid"]
    asking = threading.Thread(target=keep_asking)
    asking.start()
    try:
        sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=new)
        during = sagemaker.describe_endpoint(EndpointName=endpoint)
        assert (during["EndpointStatus"], during["EndpointConfigName"]) == ("Updating", old)
        assert during["PendingDeploymentSummary"]["EndpointConfigName"] == new
        with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
            sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=old)
        with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
            sagemaker.delete_endpoint(EndpointName=endpoint)
        found = settled(sagemaker, endpoint)
        wait_for(lambda: new in answers, 10)
    finally:
        ended.set()
        asking.join()
    assert found["EndpointConfigName"] == new
    assert "PendingDeploymentSummary" not in found
    assert "FailureReason" not in found
    assert set(answers) == {old, new}
    assert answers == sorted(answers)
    wait_for(lambda: not psutil.pid_exists(pid), 10)


def test_a_scaled_endpoint_keeps_what_an_update_is_told_to_retain(
    sagemaker: Any, configure: Callable[..., str], endpoint: str
) -> None:
    """https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-scaling-update.html"""
    one, two = configure("scale-v1"), configure("scale-v2", InitialInstanceCount=2, InitialVariantWeight=3)
    sagemaker.create_endpoint(EndpointName=endpoint, EndpointConfigName=one)
    settled(sagemaker, endpoint)

    def scale(variant: str = "AllTraffic", **change: Any) -> None:
        changes = [{"VariantName": variant, **change}]
        sagemaker.update_endpoint_weights_and_capacities(
            EndpointName=endpoint, DesiredWeightsAndCapacities=changes
        )
        with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
            sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=one)
        settled(sagemaker, endpoint)

    def update(config: str, *excluded: str, retain: bool = True) -> tuple[int, float]:
        sagemaker.update_endpoint(
            EndpointName=endpoint,
            EndpointConfigName=config,
            RetainAllVariantProperties=retain,
            ExcludeRetainedVariantProperties=[{"VariantPropertyType": name} for name in excluded],
        )
        (variant,) = settled(sagemaker, endpoint)["ProductionVariants"]
        return variant["DesiredInstanceCount"], variant["DesiredWeight"]

    with pytest.raises(ClientError, match="not present within endpoint configuration"):
        scale("Other", DesiredInstanceCount=5)
    with pytest.raises(ClientError, match="DataCaptureConfig is not supported"):
        update(two, "DataCaptureConfig")
    scale(DesiredInstanceCount=5, DesiredWeight=2)
    assert update(two) == (5, 2)
    assert update(one, "DesiredWeight") == (5, 1)
    assert update(two, "DesiredInstanceCount") == (2, 1)
    scale(DesiredInstanceCount=5)
    assert update(two, retain=False) == (2, 3)


@pytest.mark.parametrize("do", ["crash", "sick"])
def test_an_update_that_fails_keeps_the_old_model_serving(
    sagemaker: Any, runtime: Any, configure: Callable[..., str], endpoint: str, do: str
) -> None:
    old, new = configure(f"rollback-{do}-v1"), configure(f"rollback-{do}-v2", do=do)
    sagemaker.create_endpoint(EndpointName=endpoint, EndpointConfigName=old)
    settled(sagemaker, endpoint)
    before = len(psutil.Process().children(recursive=True))
    sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=new)
    found = settled(sagemaker, endpoint)
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", old)
    assert found["FailureReason"] == (
        "The primary container for production variant AllTraffic did not pass the ping health check. "
        "Please check CloudWatch logs for this endpoint."
    )
    assert ask(runtime, endpoint)["model"] == old
    assert len(psutil.Process().children(recursive=True)) == before
    third = configure(f"rollback-{do}-v3")
    sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=third)
    found = settled(sagemaker, endpoint)
    assert found["EndpointConfigName"] == third
    assert "FailureReason" not in found


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("crash", {"do": "crash"}, "did not pass the ping health check"),
        ("archive", {"data": b"no archive"}, "Failed to extract model data archive"),
        ("empty", {"data": artifact(other="x")}, "did not pass the ping health check"),
    ],
)
def test_an_endpoint_that_never_answers_has_failed(
    sagemaker: Any,
    runtime: Any,
    configure: Callable[..., str],
    endpoint: str,
    name: str,
    options: dict[str, Any],
    reason: str,
) -> None:
    config = configure(f"failing-{name}", **options)
    sagemaker.create_endpoint(EndpointName=endpoint, EndpointConfigName=config)
    found = settled(sagemaker, endpoint)
    assert found["EndpointStatus"] == "Failed"
    assert reason in found["FailureReason"]
    with pytest.raises(ClientError, match="not found"):
        ask(runtime, endpoint)
    with pytest.raises(ClientError, match="can only be deleted"):
        sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=config)


def test_a_model_that_went_away_fails_the_update(
    aws: LocalAws, sagemaker: Any, configure: Callable[..., str], endpoint: str
) -> None:
    config = configure("gone")
    aws.client("s3").delete_object(Bucket=BUCKET, Key="gone/model.tar.gz")
    sagemaker.create_endpoint(EndpointName=endpoint, EndpointConfigName=config)
    assert "Failed to download model data" in settled(sagemaker, endpoint)["FailureReason"]


def test_a_deleted_endpoint_and_its_server_are_gone(
    sagemaker: Any, runtime: Any, configure: Callable[..., str], endpoint: str
) -> None:
    sagemaker.create_endpoint(EndpointName=endpoint, EndpointConfigName=configure("deleted-v1"))
    settled(sagemaker, endpoint)
    pid = ask(runtime, endpoint)["pid"]
    sagemaker.delete_endpoint(EndpointName=endpoint)
    sagemaker.get_waiter("endpoint_deleted").wait(
        EndpointName=endpoint, WaiterConfig={"Delay": 1, "MaxAttempts": 20}
    )
    assert not psutil.pid_exists(pid)
    for call in (sagemaker.describe_endpoint, sagemaker.delete_endpoint):
        with pytest.raises(ClientError, match="Could not find endpoint"):
            call(EndpointName=endpoint)
    with pytest.raises(ClientError, match="Could not find endpoint configuration"):
        sagemaker.create_endpoint(EndpointName=endpoint, EndpointConfigName="nobody-s")


def test_two_variants_share_the_traffic(
    sagemaker: Any, runtime: Any, configure: Callable[..., str], endpoint: str
) -> None:
    configure("split-a")
    configure("split-b")
    variants = [
        {
            "VariantName": name,
            "ModelName": f"split-{name}",
            "InstanceType": "ml.t2.medium",
            "InitialInstanceCount": 1,
            "InitialVariantWeight": weight,
        }
        for name, weight in (("a", 1.0), ("b", 0.0))
    ]
    sagemaker.create_endpoint_config(EndpointConfigName="split", ProductionVariants=variants)
    sagemaker.create_endpoint(EndpointName=endpoint, EndpointConfigName="split")
    settled(sagemaker, endpoint)
    assert {ask(runtime, endpoint)["model"] for _ in range(20)} == {"split-a"}
    assert ask(runtime, endpoint, TargetVariant="b")["model"] == "split-b"


def test_an_endpoint_keeps_what_it_is_asked_and_answers(
    aws: LocalAws, sagemaker: Any, runtime: Any, configure: Callable[..., str], endpoint: str
) -> None:
    """https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-data-capture-endpoint.html"""
    plain = configure("captures-v1")
    variants = sagemaker.describe_endpoint_config(EndpointConfigName=plain)["ProductionVariants"]
    capture = {
        "EnableCapture": True,
        "InitialSamplingPercentage": 100,
        "DestinationS3Uri": f"s3://{BUCKET}/kept/",
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"]},
    }
    sagemaker.create_endpoint_config(
        EndpointConfigName="captures", ProductionVariants=variants, DataCaptureConfig=capture
    )
    assert sagemaker.describe_endpoint_config(EndpointConfigName="captures")["DataCaptureConfig"] == capture
    sagemaker.create_endpoint(EndpointName=endpoint, EndpointConfigName="captures")
    assert settled(sagemaker, endpoint)["DataCaptureConfig"]["CaptureStatus"] == "Started"
    ask(runtime, endpoint, b'{"a": 1}', InferenceId="mine")
    ask(runtime, endpoint, b"1,2", ContentType="text/csv")
    with pytest.raises(ClientError):
        ask(runtime, endpoint, b"bad")

    s3 = aws.client("s3")

    def lines() -> Any:
        keys = [one["Key"] for one in s3.list_objects_v2(Bucket=BUCKET, Prefix="kept/").get("Contents", [])]
        assert all(re.fullmatch(LAYOUT.format(endpoint), key) for key in keys), keys
        texts = [s3.get_object(Bucket=BUCKET, Key=key)["Body"].read().decode() for key in keys]
        found = [json.loads(line) for text in texts for line in text.splitlines()]
        return found if len(found) >= 2 else None

    kept = sorted(wait_for(lines, 10), key=lambda line: line["captureData"]["endpointInput"]["encoding"])
    assert [line["eventVersion"] for line in kept] == ["0", "0"]
    other, asked = kept
    assert asked["captureData"]["endpointInput"] == {
        "observedContentType": "application/json",
        "mode": "INPUT",
        "data": '{"a": 1}',
        "encoding": "JSON",
    }
    assert json.loads(asked["captureData"]["endpointOutput"]["data"])["got"] == '{"a": 1}'
    assert asked["eventMetadata"]["inferenceId"] == "mine"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", asked["eventMetadata"]["inferenceTime"])
    assert base64.b64decode(other["captureData"]["endpointInput"]["data"]) == b"1,2"
