"""Small, valid records that tests change with `dataclasses.replace`."""

from __future__ import annotations

from mlops.contracts.runs import (
    Deployment,
    DeploymentConf,
    Evaluation,
    Metric,
    Origin,
    SmokeTest,
    Training,
    TrainingConf,
)

ORIGIN = Origin(
    project_path="web/phishing",
    ref="main",
    commit_sha="0123456789abcdef",
    commit_title="feat: look at the whole address",
    pipeline_url="https://gitlab.example/web/phishing/-/pipelines/7",
    job_url="https://gitlab.example/web/phishing/-/jobs/9",
    user="ann",
)
EVIDENCE = "s3://ml-ops-test/web-safety/phishing-url/1.3.0_retrain.0/"
TRAINING = TrainingConf(
    schema_version=1,
    project="web-safety",
    model="phishing-url",
    model_version="1.3.0+retrain.0",
    image_version="1.3.0",
    image_uri="127.0.0.1:5000/web-safety/phishing-url@sha256:" + "a" * 64,
    evidence_uri=EVIDENCE,
    training=Training(
        channels={"train": "s3://ml-ops-test/data/phishing-url/train/"},
        instance_type="ml.m5.large",
        instance_count=1,
        volume_gb=10,
        max_runtime_seconds=600,
        spot=False,
        max_wait_seconds=0,
        hyper_parameters={"depth": "3"},
    ),
    evaluation=Evaluation(
        data="s3://ml-ops-test/data/phishing-url/test/",
        instance_type="ml.m5.large",
        volume_gb=10,
        max_runtime_seconds=600,
        metrics=(
            Metric(name="f1", goal="maximize", min=0.8, max_regression=0.02),
            Metric(name="log_loss", goal="minimize", max=0.5, max_regression=0.1),
        ),
    ),
    origin=ORIGIN,
)
DEPLOYMENT = DeploymentConf(
    schema_version=1,
    project="web-safety",
    model="phishing-url",
    model_version="1.3.0+retrain.0",
    evidence_uri=EVIDENCE,
    deployment=Deployment(
        endpoint_name="web-safety--phishing-url",
        instance_type="ml.m5.large",
        instance_count=1,
        startup_timeout_seconds=120,
        smoke_test=SmokeTest(content_type="application/json", body='{"rows": [[1, 0]]}'),
    ),
    origin=ORIGIN,
)
