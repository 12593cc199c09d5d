"""The provider's operators for SageMaker's jobs, going on with a job that is there already.

A job's name follows from its run, so one of that name was started by this very task: by a try whose worker or
scheduler was lost before it could wait to the end. Starting a second one would cost the same again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.operators.sagemaker import (
    SageMakerProcessingOperator,
    SageMakerTrainingOperator,
)

if TYPE_CHECKING:
    from airflow.sdk import Context


class TrainingJob(SageMakerTrainingOperator):
    """Starts a training job, or finds it, and waits for its end."""

    def execute(self, context: Context) -> dict[str, Any]:
        """What DescribeTrainingJob says at the end, below `Training`."""
        name, describe = self.config["TrainingJobName"], self.hook.describe_training_job
        if not self._check_if_job_exists(name, describe):
            started: dict[str, Any] = super().execute(context)
            return started
        self.log.info("An earlier try started %s: waiting for it", name)
        self.hook.check_status(name, "TrainingJobStatus", describe, self.check_interval)
        return self.execute_complete(context, ended(name))


class ProcessingJob(SageMakerProcessingOperator):
    """Starts a processing job, or finds it, and waits for its end."""

    def execute(self, context: Context) -> dict[str, Any]:
        """What DescribeProcessingJob says at the end, below `Processing`."""
        name, describe = self.config["ProcessingJobName"], self.hook.describe_processing_job
        if not self._check_if_job_exists(name, describe):
            started: dict[str, Any] = super().execute(context)
            return started
        self.log.info("An earlier try started %s: waiting for it", name)
        self.hook.check_status(name, "ProcessingJobStatus", describe, self.check_interval)
        return self.execute_complete(context, ended(name))


def ended(name: str) -> dict[str, str]:
    """What the provider's trigger says of a job that ended well."""
    return {"status": "success", "message": f"{name} ended", "job_name": name}
