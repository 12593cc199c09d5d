"""Training jobs. https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo.html"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from mlops_local.aws.sagemaker import objects
from mlops_local.aws.sagemaker.images import ImageLookup
from mlops_local.aws.sagemaker.jobs import (
    TEXT_LIMIT,
    Ending,
    RunningJob,
    RunningJobs,
    StopRequestedError,
    ended,
    read_text,
)
from mlops_local.aws.sagemaker.store import Parameters, Record, ResourceKind, Table, Tags
from mlops_local.aws.sdk import Sdk
from mlops_local.base.archives import pack
from mlops_local.base.config import LocalAwsConfig
from mlops_local.base.wire import ServiceError
from mlops_local.engines import ContainerJob, Engine, ImageError

KIND = ResourceKind(
    prefix="TrainingJob",
    arn="training-job",
    status="TrainingJobStatus",
    summaries="TrainingJobSummaries",
    newest_first=False,
)
_DEFAULT_SECONDS = 24 * 3600
_MESSAGES = {
    "Starting": "Preparing the instances for training",
    "Downloading": "Downloading the input data",
    "Training": "Training image download completed. Training in progress.",
    "Uploading": "Uploading generated training model",
    "Completed": "Training job completed",
    "Failed": "Training job failed",
    "Stopped": "Training job stopped",
    "Stopping": "Stopping the training job",
    "MaxRuntimeExceeded": "Training job stopped because it ran longer than MaxRuntimeInSeconds",
}


class TrainingJobs:
    """The training jobs of one account."""

    def __init__(
        self, config: LocalAwsConfig, sdk: Sdk, engine: Engine, images: ImageLookup, tags: Tags
    ) -> None:
        self.table = Table(config, KIND, tags)
        self._config = config
        self._sdk = sdk
        self._engine = engine
        self._images = images
        self._runs = RunningJobs(config, sdk, engine, "training")

    def create(self, wanted: Parameters) -> Parameters:
        """CreateTrainingJob."""
        name = wanted["TrainingJobName"]
        if not (wanted.get("AlgorithmSpecification") or {}).get("TrainingImage"):
            raise ServiceError("ValidationException", "TrainingImage must be specified")
        if not wanted.get("ResourceConfig"):
            raise ServiceError("ValidationException", "ResourceConfig must be specified")
        self._sdk.check_role(wanted["RoleArn"])
        self._images.check_for_job(wanted["AlgorithmSpecification"]["TrainingImage"], wanted["RoleArn"])
        now = datetime.now(UTC)
        output = wanted["OutputDataConfig"]["S3OutputPath"].rstrip("/")
        record = {
            **{key: value for key, value in wanted.items() if key != "Tags"},
            "StoppingCondition": wanted.get("StoppingCondition") or {"MaxRuntimeInSeconds": _DEFAULT_SECONDS},
            "ModelArtifacts": {"S3ModelArtifacts": f"{output}/{name}/output/model.tar.gz"},
            "TrainingJobStatus": "InProgress",
            "SecondaryStatus": "Starting",
            "SecondaryStatusTransitions": [
                {"Status": "Starting", "StartTime": now, "StatusMessage": _MESSAGES["Starting"]}
            ],
        }
        taken = ServiceError(
            "ResourceInUse",
            "Training job names must be unique within an AWS account and region, and a training job with "
            f"this name already exists ({self.table.arn(name)})",
        )
        arn = self.table.add(name, record, wanted.get("Tags") or [], taken)
        self._runs.start(name, lambda run: self._run(name, run))
        return {"TrainingJobArn": arn}

    def describe(self, wanted: Parameters) -> Record:
        """DescribeTrainingJob."""
        record = self.table.find(wanted["TrainingJobName"])
        if record is None:
            raise ServiceError("ValidationException", "Requested resource not found.")
        return record

    def stop(self, wanted: Parameters) -> Parameters:
        """StopTrainingJob; a job that has ended is refused.

        https://github.com/awslabs/benchmark-ai has AWS's words in a log.
        """
        name = wanted["TrainingJobName"]
        ended(self.describe(wanted)["TrainingJobStatus"], "training")
        running = self.table.change_if(
            name, lambda record: record["TrainingJobStatus"] == "InProgress", TrainingJobStatus="Stopping"
        )
        if running:
            self._enter(name, "Stopping")
            self._runs.stop(name)
        return {}

    def _enter(self, name: str, status: str, **members: Any) -> None:
        """Go on to a secondary status."""
        record = self.table.find(name)
        if record is None:
            return
        now = datetime.now(UTC)
        transitions = [dict(one) for one in record["SecondaryStatusTransitions"]]
        transitions[-1].setdefault("EndTime", now)
        transitions.append({"Status": status, "StartTime": now, "StatusMessage": _MESSAGES[status]})
        self.table.change(name, SecondaryStatus=status, SecondaryStatusTransitions=transitions, **members)

    def _end(self, name: str, status: str, secondary: str = "", reason: str = "") -> None:
        now = datetime.now(UTC)
        record = self.table.find(name) or {}
        started = record.get("TrainingStartTime")
        seconds = max(1, round((now - started).total_seconds())) if started else None
        self._enter(
            name,
            secondary or status,
            TrainingJobStatus=status,
            FailureReason=reason[:TEXT_LIMIT] or None,
            TrainingEndTime=now,
            TrainingTimeInSeconds=seconds,
            BillableTimeInSeconds=seconds,
        )

    def _run(self, name: str, run: RunningJob) -> None:
        record = self.describe({"TrainingJobName": name})
        try:
            ending, code = self._train(name, run, record)
            if ending == "exited" and code:
                text = read_text(run.folder / "output" / "failure")
                self._end(name, "Failed", reason=_algorithm_error(text, code))
                return
            if ending == "exited":
                self._enter(name, "Uploading")
            self._upload(run, record)
            self._measure(name, run, record)
            ends: dict[Ending, tuple[str, str]] = {
                "exited": ("Completed", ""),
                "stopped": ("Stopped", ""),
                "timed out": ("Stopped", "MaxRuntimeExceeded"),
            }
            self._end(name, *ends[ending])
        except StopRequestedError:
            self._end(name, "Stopped")
        except (objects.MissingInputError, ImageError, ClientError, BotoCoreError) as error:
            self._end(name, "Failed", reason=f"ClientError: {error}")
        except Exception as error:
            self._end(name, "Failed", reason=f"InternalServerError: {error!r}")
            raise

    def _train(self, name: str, run: RunningJob, record: Record) -> tuple[Ending, int]:
        algorithm = record["AlgorithmSpecification"]
        self._engine.prepare(algorithm["TrainingImage"])
        run.check()
        self._enter(name, "Downloading", TrainingStartTime=datetime.now(UTC))
        self._lay_out(run, record)
        run.check()
        self._enter(name, "Training")
        job = ContainerJob(
            name=f"training-{name}-{self._config.port}",
            image=algorithm["TrainingImage"],
            base=run.folder,
            log=run.folder.parent / "log.txt",
            environment={
                "TRAINING_JOB_NAME": name,
                "TRAINING_JOB_ARN": self.table.arn(name),
                **(record.get("Environment") or {}),
            },
            entrypoint=tuple(algorithm.get("ContainerEntrypoint") or ()),
            arguments=tuple(algorithm.get("ContainerArguments") or ("train",)),
        )
        seconds = record["StoppingCondition"].get("MaxRuntimeInSeconds", _DEFAULT_SECONDS)
        return self._runs.execute(run, job, name, seconds, record["RoleArn"])

    def _lay_out(self, run: RunningJob, record: Record) -> None:
        """Make /opt/ml as a training container finds it."""
        for folder in ("input/config", "input/data", "model", "output/data", "checkpoints"):
            (run.folder / folder).mkdir(parents=True)
        channels = record.get("InputDataConfig") or []
        configuration = {
            "hyperparameters": record.get("HyperParameters") or {},
            "inputdataconfig": {
                channel["ChannelName"]: {
                    "TrainingInputMode": "File",
                    "S3DistributionType": "FullyReplicated",
                    "RecordWrapperType": "None",
                }
                for channel in channels
            },
            "resourceconfig": {"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "lo"},
        }
        for file, document in configuration.items():
            text = json.dumps(document)
            (run.folder / "input" / "config" / f"{file}.json").write_text(text, encoding="utf-8")
        for channel in channels:
            source = channel["DataSource"].get("S3DataSource")
            if source is None:
                raise objects.MissingInputError("Only S3 data sources can be read here")
            run.check()
            objects.download_prefix(
                self._sdk.acting(record["RoleArn"]).s3,
                source["S3Uri"],
                run.folder / "input" / "data" / channel["ChannelName"],
                region=self._config.region,
                role=record["RoleArn"],
            )

    def _upload(self, run: RunningJob, record: Record) -> None:
        artifact = record["ModelArtifacts"]["S3ModelArtifacts"]
        for folder, target in (
            (run.folder / "model", artifact),
            (run.folder / "output" / "data", artifact.replace("model.tar.gz", "output.tar.gz")),
        ):
            if target == artifact or any(folder.iterdir()):
                archive = run.folder.parent / target.rpartition("/")[2]
                pack(folder, archive)
                objects.upload(self._sdk.acting(record["RoleArn"]).s3, archive, target)

    def _measure(self, name: str, run: RunningJob, record: Record) -> None:
        """Find the metrics that MetricDefinitions look for in the log; the last value counts."""
        definitions = record["AlgorithmSpecification"].get("MetricDefinitions") or []
        log = (run.folder.parent / "log.txt").read_text(encoding="utf-8", errors="replace")
        now = datetime.now(UTC)
        metrics = []
        for definition in definitions:
            values = re.findall(definition["Regex"], log)
            if values:
                metrics.append(
                    {"MetricName": definition["Name"], "Value": float(values[-1]), "Timestamp": now}
                )
        if metrics:
            self.table.change(name, FinalMetricDataList=metrics)


def _algorithm_error(text: str, code: int) -> str:
    """The failure file's text, cut so that the exit code still fits."""
    end = f", exit code: {code}"
    return f"AlgorithmError: {text}"[: TEXT_LIMIT - len(end)] + end
