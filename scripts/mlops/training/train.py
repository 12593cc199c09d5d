"""`mlops train`: have Airflow train the image's version, once, and evaluate it against the champion."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlops.base import console
from mlops.base.errors import SettingsError, UsageError
from mlops.base.result import Outcome
from mlops.ci import dotenv
from mlops.contracts.locations import evidence_uri
from mlops.contracts.runs import TRAINING_DAG, TrainingConf, request_fingerprint
from mlops.contracts.versions import ModelVersion, parse_image_version
from mlops.runs import airflow_runs
from mlops.runs.platform import Platform
from mlops.training import model_versions, request

if TYPE_CHECKING:
    from mlops.ci.pipeline import Pipeline
    from mlops.manifest.reader import Model

_IMAGE = re.compile(r"[^@\s]+@sha256:[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class TrainingImage:
    """What containerize handed over."""

    uri: str
    """`<registry>/<project>/<model>@sha256:<digest>`."""
    version: str

    @classmethod
    def read(cls, arguments: argparse.Namespace, variables: Mapping[str, str]) -> TrainingImage:
        """From the command line, or from the variables of the job containerize.

        Raises:
            SettingsError: when one is missing or wrong.
            VersionError: when the version is none.
        """
        uri = arguments.image_uri or variables.get("IMAGE_URI", "")
        version = arguments.image_version or variables.get("IMAGE_VERSION", "")
        for name, value, option in (
            ("IMAGE_URI", uri, "--image-uri"),
            ("IMAGE_VERSION", version, "--image-version"),
        ):
            if not value:
                raise SettingsError(
                    f"{name} is missing",
                    cause="it comes from the job containerize, in containerize.env",
                    next_step=f"Have this job need containerize, or give {option}.",
                )
        if not _IMAGE.fullmatch(uri):
            raise SettingsError(
                "IMAGE_URI does not name one image by its digest",
                cause=f"found {uri!r}, allowed is <registry>/<repository>@sha256:<digest>",
                next_step="Use IMAGE_URI of containerize.env as it is.",
            )
        return cls(uri=uri, version=str(parse_image_version(version)))


def run(arguments: argparse.Namespace) -> Outcome:
    """Start the training, or find it.

    Raises:
        MlopsError: of many kinds; see `train`.
    """
    from mlops.ci.pipeline import Pipeline
    from mlops.manifest import reader

    pipeline = Pipeline.from_environment(os.environ)
    model = reader.load(arguments.manifest, arguments.environment).model(arguments.model)
    image = TrainingImage.read(arguments, os.environ)

    from mlops.clients.aws.session import explained

    with explained():
        return train(model, image, pipeline, Platform.connect(), report=Path(arguments.dotenv))


def train(
    model: Model, image: TrainingImage, pipeline: Pipeline, platform: Platform, *, report: Path
) -> Outcome:
    """Train the image as the manifest asks, once: a run under way is joined, a failed one repeated.

    Raises:
        UsageError: in a schedule, which never trains here, and when a merge request or a branch would train
            a release.
        TriggerError: when Airflow does not take the run.
        StorageError: when S3 does not answer.
    """
    if pipeline.kind == "schedule":
        raise UsageError(
            "A schedule does not train with this command",
            cause="it would train the same version of the same image again",
            next_step="Leave this job out of scheduled pipelines.",
        )
    if pipeline.kind in {"merge_request", "branch"} and not parse_image_version(image.version).prerelease:
        raise UsageError(
            f"What is not merged does not train the release {image.version}",
            cause="its mlops.yml is not merged yet, and retraining repeats what a release's training says",
            next_step="Take IMAGE_VERSION of this pipeline's job containerize: it is a pre-release.",
        )
    bucket, sagemaker, storage = platform.bucket, platform.sagemaker, platform.storage
    version = model_versions.version_to_train(sagemaker, storage, model, image.version, bucket)
    evidence = evidence_uri(bucket, model.project, model.name, version)

    conf = request.of_manifest(model, image.uri, version, bucket, pipeline.origin)
    if model_versions.is_trained(conf, sagemaker, storage):
        _hand_over(report, conf, run_id="")
        summary = f"{model.name} {version} is trained and evaluated already: nothing to train"
        return Outcome(summary=summary, data=_data(version, evidence, run_id="", state="success", url=""))

    work = request.work(conf, pipeline.pipeline_id)
    answer = airflow_runs.start_or_join(
        platform.runs, work, lambda: model_versions.is_trained(conf, sagemaker, storage)
    )
    _hand_over(report, conf, answer.run_id)
    verb = "started" if answer.created else f"joined, it is {answer.state}"
    if answer.run_url:
        console.say(f"Airflow run: {answer.run_url}")
    return Outcome(
        summary=f"Training of {model.name} {version}: run {answer.run_id} {verb}",
        data=_data(version, evidence, answer.run_id, str(answer.state), answer.run_url),
        next_steps=(
            f"mlops evaluate --model {model.name} --model-version {version} --run-id {answer.run_id}",
        ),
    )


def _hand_over(report: Path, conf: TrainingConf, run_id: str) -> None:
    dotenv.write(
        report,
        {
            "MODEL_VERSION": conf.model_version,
            "DAG_ID": TRAINING_DAG,
            "DAG_RUN_ID": run_id,
            "EVIDENCE_URI": conf.evidence_uri,
            "TRAINED": "true" if run_id else "false",
            # A run that was joined may be an earlier manifest's: evaluate looks.
            "TRAINING_REQUEST": request_fingerprint(conf.training, conf.evaluation),
        },
    )


def _data(version: ModelVersion, evidence: str, run_id: str, state: str, url: str) -> dict[str, object]:
    return {
        "model_version": str(version),
        "evidence_uri": evidence,
        "dag_id": TRAINING_DAG,
        "dag_run_id": run_id,
        "state": state,
        "run_url": url,
        "trained": bool(run_id),
    }
