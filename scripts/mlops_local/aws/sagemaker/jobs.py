"""What training and processing jobs share: a thread each, a time limit, and the wish to be stopped."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from mlops_local.aws.sagemaker.shipping import Shipper
from mlops_local.aws.sdk import Sdk
from mlops_local.base.config import LocalAwsConfig
from mlops_local.base.wire import ServiceError
from mlops_local.engines import ContainerJob, Engine

Ending = Literal["exited", "stopped", "timed out"]

_POLL_SECONDS = 0.2
# FailureReason and ExitMessage hold at most this many characters (botocore, sagemaker).
TEXT_LIMIT = 1024


class StopRequestedError(Exception):
    """The job was stopped before its container ran."""


def ended(status: str, kind: str) -> None:
    """Refuse to stop what has ended.

    Raises:
        ServiceError: `ValidationException`.
    """
    if status in ("Completed", "Failed", "Stopped"):
        raise ServiceError(
            "ValidationException",
            f"The request was rejected because the {kind} job is in status {status}.",
        )


@dataclass
class RunningJob:
    """One running job."""

    folder: Path
    stop: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Raise StopRequestedError once the job is to stop."""
        if self.stop.is_set():
            raise StopRequestedError


class RunningJobs:
    """The threads of all jobs of one kind."""

    def __init__(self, config: LocalAwsConfig, sdk: Sdk, engine: Engine, kind: str) -> None:
        self._folder = config.home / "sagemaker" / kind
        self._sdk = sdk
        self._engine = engine
        self._runs: dict[str, RunningJob] = {}
        self._group = {"training": "TrainingJobs", "processing": "ProcessingJobs"}[kind]

    def start(self, name: str, body: Callable[[RunningJob], None]) -> None:
        """Run a job's body in a thread, with an empty folder for its container's /opt/ml."""
        folder = self._folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        run = self._runs[name] = RunningJob(folder / "ml")
        run.folder.mkdir()
        threading.Thread(target=body, args=(run,), name=f"job {name}", daemon=True).start()

    def stop(self, name: str) -> None:
        """Ask a job to end."""
        self._runs[name].stop.set()

    def execute(
        self, run: RunningJob, job: ContainerJob, name: str, seconds: float, role: str
    ) -> tuple[Ending, int]:
        """Run the job's container until it ends, is stopped or takes too long; how, and its exit code.

        Args:
            seconds: How long it may take.
            role: The ARN of the role that the container and its log work with.

        Raises:
            ImageError: when it cannot be started.
        """
        stream = f"{name}/algo-1-{int(time.time())}"
        sdk = self._sdk.acting(role)
        shipper = Shipper(sdk.logs, job.log, f"/aws/sagemaker/{self._group}", stream)
        try:
            container = self._engine.start(replace(job, environment={**job.environment, **sdk.variables}))
            deadline = time.monotonic() + seconds
            while True:
                code = container.wait(_POLL_SECONDS)
                if code is not None:
                    return "exited", code
                if run.stop.is_set():
                    container.stop()
                    return "stopped", 0
                if time.monotonic() > deadline:
                    container.stop()
                    return "timed out", 0
        finally:
            shipper.finish()


def read_text(file: Path) -> str:
    """What a container left in a file, cut to what the API returns; empty without one."""
    if not file.is_file():
        return ""
    with file.open("rb") as content:
        return content.read(4 * TEXT_LIMIT).decode(errors="replace").strip()[:TEXT_LIMIT]
