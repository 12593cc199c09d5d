"""A platform in memory: moto's S3, SageMaker and ECR behind real clients, and an Airflow that keeps its runs."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from mlops.ci.pipeline import Kind, Pipeline
from mlops.clients.aws.s3 import Storage
from mlops.contracts.evidence import (
    CHALLENGER,
    CHAMPION,
    COMPARISON,
    LINEAGE,
    Comparison,
    EvaluationReport,
    Lineage,
    MetricComparison,
)
from mlops.contracts.runs import Conf, Origin, RunAnswer, RunProblem, TaskState, request_fingerprint
from mlops.contracts.versions import ModelVersion, endpoint_name, resource_name
from mlops.manifest import reader
from mlops.runs.airflow_runs import Clock
from mlops.runs.platform import Platform

BUCKET = "ml-ops-test"
# What Terraform tells commands and DAGs.
SETTINGS = {
    "environment": "test",
    "region": "eu-west-1",
    "bucket": BUCKET,
    "execution_role_arn": "arn:aws:iam::123456789012:role/x",
    "topic_arn": "arn:aws:sns:eu-west-1:123456789012:t",
    "trigger_function": "f",
    "airflow_environment": "a",
    "slack_secret": "s",
}
PROJECT, MODEL = "web-safety", "phishing-url"
ROLE = "arn:aws:iam::123456789012:role/sagemaker"
RUN_URL = "https://airflow.example/run"
UNKNOWN = RunProblem(kind="run_not_found", message="no such run", next_step="-", retryable=False)

MANIFEST = """\
project: web-safety
models:
  phishing-url:
    training:
      channels: {train: data/train/}
      hyper_parameters: {depth: 3}
    evaluation:
      data: data/test/
      metrics: [{name: f1, min: 0.9}]
    deployment:
      instance_type: ml.t2.medium
      smoke_test: {body: {url: "https://example.com"}}
"""


@dataclass
class FakeAirflow:
    """Runs by id. A run that is polled moves on along `course`; `finish` is called when it ends well."""

    course: list[Any] = field(default_factory=lambda: ["running", "success"])
    finish: Callable[[Conf], object] = id
    problem: RunProblem | None = None
    runs: dict[str, Any] = field(default_factory=dict)
    confs: dict[str, Conf] = field(default_factory=dict)

    def start(self, dag_id: str, run_id: str, conf: Any, spill_uri: str) -> RunAnswer:
        assert spill_uri.startswith(conf.evidence_uri)
        if self.problem:
            return RunAnswer(dag_id=dag_id, run_id=run_id, problem=self.problem)
        self.runs[run_id], self.confs[run_id] = "queued", conf
        return RunAnswer(dag_id=dag_id, run_id=run_id, state="queued", created=True, run_url=RUN_URL)

    def status(self, dag_id: str, run_id: str) -> RunAnswer:
        if run_id not in self.runs:
            return RunAnswer(dag_id=dag_id, run_id=run_id, problem=UNKNOWN)
        state = self.runs[run_id]
        tasks = (TaskState(task_id="work", state=state, try_number=1),)
        if state not in {"success", "failed"}:
            self.runs[run_id] = self.course.pop(0)
            if self.runs[run_id] == "success" and run_id in self.confs:
                self.finish(self.confs[run_id])
        return RunAnswer(dag_id=dag_id, run_id=run_id, state=state, tasks=tasks, run_url=RUN_URL)


@dataclass
class World:
    """One environment of the platform."""

    s3: Any
    sagemaker: Any
    ecr: Any
    airflow: FakeAirflow = field(default_factory=FakeAirflow)
    seconds: float = 0.0

    @property
    def storage(self) -> Storage:
        return Storage(self.s3)

    @property
    def platform(self) -> Platform:
        return Platform(
            bucket=BUCKET,
            runs=self.airflow,
            storage=self.storage,
            sagemaker=self.sagemaker,
            ecr=self.ecr,
            cloudwatch=None,  # type: ignore[arg-type]  # the drift alarms are given apart
            clock=self.clock,
        )

    @property
    def clock(self) -> Clock:
        def sleep(seconds: float) -> None:
            self.seconds += seconds

        return Clock(now=lambda: self.seconds, sleep=sleep)

    def image(self, content: str) -> str:
        """Push an image, once, and return its URI."""
        document = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "layers": [],
            "config": {},
        }
        text = json.dumps(document | {"annotations": {"content": content}})
        known = self.ecr.list_images(repositoryName=f"{PROJECT}/{MODEL}")["imageIds"]
        if content not in {one.get("imageTag") for one in known}:
            self.ecr.put_image(repositoryName=f"{PROJECT}/{MODEL}", imageManifest=text, imageTag=content)
        digest = hashlib.sha256(text.encode()).hexdigest()
        found = self.ecr.describe_images(
            repositoryName=f"{PROJECT}/{MODEL}", imageIds=[{"imageTag": content}]
        )
        return f"127.0.0.1:5000/{PROJECT}/{MODEL}@{found['imageDetails'][0].get('imageDigest', digest)}"

    def model(self, version: str, champion: str | None = None, gate: Any = "passed", asked: str = "") -> str:
        """A trained model with its evidence, made as MANIFEST asks; returns the evidence prefix."""
        parsed = ModelVersion.parse(version)
        name = resource_name(PROJECT, MODEL, parsed)
        evidence = f"s3://{BUCKET}/{PROJECT}/{MODEL}/{parsed.tag}/"
        image, artifact = self.image(f"{parsed.image}"), f"{evidence}model/job/output/model.tar.gz"
        self.sagemaker.create_model(
            ModelName=name,
            ExecutionRoleArn=ROLE,
            PrimaryContainer={"Image": image, "ModelDataUrl": artifact},
        )
        self.evidence(evidence, version, champion, gate)
        lineage = Lineage(
            schema_version=1,
            project=PROJECT,
            model=MODEL,
            model_version=version,
            image_version=str(parsed.image),
            image_uri=image,
            training_job="job",
            model_artifact=artifact,
            channels={"train": "s3://b/train/"},
            data_fingerprint="0" * 64,
            hyper_parameters={},
            request_fingerprint=asked or asked_by_manifest(),
            dag_run_id="run",
            created_at="2026-01-02T03:04:05+00:00",
        )
        self.storage.write_record(lineage, evidence + LINEAGE)
        return evidence

    def evidence(
        self, evidence: str, version: str, champion: str | None = None, gate: Any = "passed"
    ) -> None:
        value = 0.95 if gate == "passed" else 0.8
        metric = MetricComparison(
            name="f1",
            goal="maximize",
            challenger=value,
            champion=0.93 if champion else None,
            change=value - 0.93 if champion else None,
            gate=gate,
            reason="" if gate == "passed" else "0.8 is below the minimum 0.9",
        )
        comparison = Comparison(
            schema_version=1,
            project=PROJECT,
            model=MODEL,
            challenger=version,
            champion=champion,
            gate=gate,
            metrics=(metric,),
            evaluated_on="s3://b/test/",
            created_at="2026-01-02T03:04:05+00:00",
        )
        report = EvaluationReport(schema_version=1, metrics={"f1": value})
        self.storage.write_record(comparison, evidence + COMPARISON)
        self.storage.write_record(report, evidence + CHALLENGER)
        if champion:
            self.storage.write_record(replace(report, metrics={"f1": 0.93}), evidence + CHAMPION)

    def serve(self, version: str, **settings: Any) -> None:
        """Put a model into production."""
        name = resource_name(PROJECT, MODEL, ModelVersion.parse(version))
        variant = {
            "VariantName": "AllTraffic",
            "ModelName": name,
            "InstanceType": "ml.t2.medium",
            "InitialInstanceCount": 1,
            "ContainerStartupHealthCheckTimeoutInSeconds": 600,
        }
        endpoint = endpoint_name(PROJECT, MODEL)
        config = f"{name}-{len(self.sagemaker.list_endpoint_configs()['EndpointConfigs'])}"
        self.sagemaker.create_endpoint_config(
            EndpointConfigName=config, ProductionVariants=[variant | settings]
        )
        if self.sagemaker.list_endpoints()["Endpoints"]:
            self.sagemaker.delete_endpoint(EndpointName=endpoint)
        self.sagemaker.create_endpoint(EndpointName=endpoint, EndpointConfigName=config)


def pipeline(kind: Kind = "default_branch", number: str = "12", merge_request: int | None = None) -> Pipeline:
    return Pipeline(
        kind=kind,
        pipeline_id=number,
        pipeline_iid=3,
        merge_request_iid=merge_request,
        commit_sha="abc",
        ref="main",
        default_branch="main",
        server_url="https://gitlab.example",
        project_id="7",
        origin=Origin(user="ann", job_url="https://gitlab.example/job/1"),
    )


@cache
def asked_by_manifest() -> str:
    """The fingerprint of what MANIFEST asks for."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "mlops.yml")
        file.write_text(MANIFEST, encoding="utf-8")
        model = reader.load(file).model()
    return request_fingerprint(reader.training(model, BUCKET), reader.evaluation(model, BUCKET))


def dotenv_of(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines)
