"""Processing jobs.

https://docs.aws.amazon.com/sagemaker/latest/dg/build-your-own-processing-container.html
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
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
from mlops_local.base.config import LocalAwsConfig
from mlops_local.base.wire import ServiceError
from mlops_local.engines import ContainerJob, Engine, ImageError

KIND = ResourceKind(
    prefix="ProcessingJob",
    arn="processing-job",
    status="ProcessingJobStatus",
    summaries="ProcessingJobSummaries",
    newest_first=False,
)
_DEFAULT_SECONDS = 24 * 3600
_ROOT = PurePosixPath("/opt/ml")
_DATA = _ROOT / "processing"


class ProcessingJobs:
    """The processing jobs of one account."""

    def __init__(
        self, config: LocalAwsConfig, sdk: Sdk, engine: Engine, images: ImageLookup, tags: Tags
    ) -> None:
        self.table = Table(config, KIND, tags)
        self._config = config
        self._sdk = sdk
        self._engine = engine
        self._images = images
        self._runs = RunningJobs(config, sdk, engine, "processing")

    def create(self, wanted: Parameters) -> Parameters:
        """CreateProcessingJob."""
        name = wanted["ProcessingJobName"]
        for transfer in (*_inputs(wanted), *_outputs(wanted)):
            path = PurePosixPath(transfer.get("LocalPath", ""))
            if not path.is_relative_to(_DATA) or ".." in path.parts:
                raise ServiceError(
                    "ValidationException", f"LocalPath must start with {_DATA}, found '{path}'"
                )
        self._sdk.check_role(wanted["RoleArn"])
        self._images.check_for_job(wanted["AppSpecification"]["ImageUri"], wanted["RoleArn"])
        record = {
            **{key: value for key, value in wanted.items() if key != "Tags"},
            "ProcessingJobStatus": "InProgress",
        }
        taken = ServiceError(
            "ResourceInUse",
            "Job name must be unique within an AWS account and region, and a job with this name already "
            f"exists ({self.table.arn(name)})",
        )
        arn = self.table.add(name, record, wanted.get("Tags") or [], taken)
        self._runs.start(name, lambda run: self._run(name, run))
        return {"ProcessingJobArn": arn}

    def describe(self, wanted: Parameters) -> Record:
        """DescribeProcessingJob."""
        name = wanted["ProcessingJobName"]
        record = self.table.find(name)
        if record is None:
            raise ServiceError("ValidationException", f"Could not find requested job with name: {name}")
        return record

    def stop(self, wanted: Parameters) -> Parameters:
        """StopProcessingJob; a job that has ended is refused, as a training job is."""
        name = wanted["ProcessingJobName"]
        ended(self.describe(wanted)["ProcessingJobStatus"], "processing")
        running = self.table.change_if(
            name, lambda record: record["ProcessingJobStatus"] == "InProgress", ProcessingJobStatus="Stopping"
        )
        if running:
            self._runs.stop(name)
        return {}

    def _run(self, name: str, run: RunningJob) -> None:
        record = self.describe({"ProcessingJobName": name})
        try:
            ending, code = self._process(name, run, record)
            message = read_text(run.folder / "output" / "message")
            if ending == "exited" and code:
                reason = "AlgorithmError: See job logs for more information"
                self._end(name, "Failed", FailureReason=reason, ExitMessage=message or None)
                return
            s3 = self._sdk.acting(record["RoleArn"]).s3
            for output in _outputs(record):
                objects.upload_folder(s3, _relocated(run, output["LocalPath"]), output["S3Uri"])
            status = "Completed" if ending == "exited" else "Stopped"
            self._end(name, status, ExitMessage=message or None)
        except StopRequestedError:
            self._end(name, "Stopped")
        except (objects.MissingInputError, ImageError, ClientError, BotoCoreError) as error:
            self._end(name, "Failed", FailureReason=f"ClientError: {error}"[:TEXT_LIMIT])
        except Exception as error:
            self._end(name, "Failed", FailureReason=f"InternalServerError: {error!r}"[:TEXT_LIMIT])
            raise

    def _end(self, name: str, status: str, **members: Any) -> None:
        self.table.change(name, ProcessingJobStatus=status, ProcessingEndTime=datetime.now(UTC), **members)

    def _process(self, name: str, run: RunningJob, record: Record) -> tuple[Ending, int]:
        app = record["AppSpecification"]
        self._engine.prepare(app["ImageUri"])
        run.check()
        for folder in ("config", "output", "processing"):
            (run.folder / folder).mkdir()
        hosts = {"current_host": "algo-1", "hosts": ["algo-1"]}
        text = json.dumps(hosts)
        (run.folder / "config" / "resourceconfig.json").write_text(text, encoding="utf-8")
        s3 = self._sdk.acting(record["RoleArn"]).s3
        for source in _inputs(record):
            run.check()
            target = _relocated(run, source["LocalPath"])
            objects.download_prefix(
                s3, source["S3Uri"], target, region=self._config.region, role=record["RoleArn"]
            )
        for output in _outputs(record):
            _relocated(run, output["LocalPath"]).mkdir(parents=True, exist_ok=True)
        run.check()
        self.table.change(name, ProcessingStartTime=datetime.now(UTC))
        job = ContainerJob(
            name=f"processing-{name}-{self._config.port}",
            image=app["ImageUri"],
            base=run.folder,
            log=run.folder.parent / "log.txt",
            environment={"PROCESSING_JOB_NAME": name, **(record.get("Environment") or {})},
            entrypoint=tuple(app.get("ContainerEntrypoint") or ()),
            arguments=tuple(app.get("ContainerArguments") or ()),
        )
        limit = record.get("StoppingCondition") or {"MaxRuntimeInSeconds": _DEFAULT_SECONDS}
        return self._runs.execute(run, job, name, limit["MaxRuntimeInSeconds"], record["RoleArn"])


def _inputs(record: Record) -> list[dict[str, Any]]:
    return [one["S3Input"] for one in record.get("ProcessingInputs") or [] if "S3Input" in one]


def _outputs(record: Record) -> list[dict[str, Any]]:
    outputs = (record.get("ProcessingOutputConfig") or {}).get("Outputs") or []
    return [one["S3Output"] for one in outputs if "S3Output" in one]


def _relocated(run: RunningJob, path: str) -> Path:
    """Where a path below /opt/ml is for this run."""
    return run.folder / PurePosixPath(path).relative_to(_ROOT)
