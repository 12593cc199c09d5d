"""The provider's operators for SageMaker's jobs: they find a job that is there already, and wait whatever comes.

A job's name follows from its run, so one of that name was started by this very task: by a try whose worker or
scheduler was lost before it could wait to the end. Starting a second one would cost the same again.

A job has ended when SageMaker says so, and only then. The provider fails its task as soon as one look at the job
fails, after the few seconds that the SDK tries (`utils/waiter_with_logging.py` of amazon 9.25.0), and takes a processing
job that was stopped for one that completed (`SageMakerHook.check_status`). So what waits is ours: while SageMaker cannot
be asked the task asks again, until the run's own time-out ends it.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.operators.sagemaker import (
    SageMakerBaseOperator,
    SageMakerProcessingOperator,
    SageMakerTrainingOperator,
    serialize,
)
from airflow.providers.amazon.aws.triggers.sagemaker import SageMakerTrigger
from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk.exceptions import AirflowFailException, TaskDeferralError

from run_tasks import TRIES_LEFT

if TYPE_CHECKING:
    from airflow.sdk import Context

# How many intervals pass before a task asks again that could not ask.
_PATIENCE = 4
_RUNNING = frozenset({"InProgress", "Stopping"})


class _Job(SageMakerBaseOperator):
    """Starts a job, or finds it, and waits for its end.

    Args:
        deferrable: Whether the task gives its worker back while it waits.
    """

    kind: str
    """`Training` or `Processing`, as SageMaker's members begin, and as the result's key."""
    check_interval: int
    """Seconds between two looks; a part of one as well, for it is slept."""
    max_attempts: int
    _there = False
    """Whether the job was seen, or made."""

    def __init__(self, *, deferrable: bool, **more: Any) -> None:
        # The provider's own ways of waiting are not used.
        super().__init__(deferrable=False, wait_for_completion=False, **more)
        self.gives_worker_back = deferrable

    def execute(self, context: Context) -> dict[str, Any]:
        """What Describe says at the end, below `Training` or `Processing`."""
        return self.execute_complete(context)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """As the provider's; but a trigger that failed says nothing of the job, so that is looked at."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralError:
            self.log.warning("The triggerer could not wait for %s, for the reason above", self._name)
        return self.execute_complete(context, wary=True)

    def execute_complete(
        self, context: Context, event: dict[str, Any] | None = None, *, wary: bool = False
    ) -> dict[str, Any]:
        """Look at the job, start it where there is none, and wait while it runs or cannot be looked at.

        Args:
            context: Of the task.
            event: What a trigger says; the job is asked all the same.
            wary: Whether a trigger has just failed: the next one may fail at once as well.
        """
        del event
        while True:
            found = self._look_or_start()
            if found and found[f"{self.kind}JobStatus"] not in _RUNNING:
                return self._result(found)
            pause = self.check_interval if found and not wary else _PATIENCE * self.check_interval
            if not self.gives_worker_back:
                time.sleep(pause)
            elif found and not wary:
                trigger = SageMakerTrigger(
                    job_name=self._name,
                    job_type=self.kind,
                    poke_interval=self.check_interval,
                    max_attempts=self.max_attempts,
                    aws_conn_id=None,
                )
                self.defer(trigger=trigger, method_name="execute_complete")
            else:
                # Airflow fails a task that gets no worker to resume, as a person may: the job, which was not seen
                # to end, must not be stopped for that.
                context["ti"].xcom_push(key=TRIES_LEFT, value=False)
                self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=pause)), method_name="execute_complete")

    @property
    def _name(self) -> str:
        return str(self.config[f"{self.kind}JobName"])

    def _look_or_start(self) -> dict[str, Any]:
        """Describe's answer; empty while SageMaker, or what it needs, cannot be asked."""
        from mlops.clients.aws.session import passing

        try:
            if not self._there and not self._check_if_job_exists(self._name, self._describe):
                self._start()
            self._there = True
            return self._describe(self._name)
        except Exception as error:
            if not passing(error):
                raise
            self.log.warning(
                "AWS cannot be asked about %s now: %s. That says nothing about the job: the task asks again",
                self._name,
                error,
            )
            return {}

    @abstractmethod
    def _describe(self, name: str) -> dict[str, Any]:
        """What SageMaker says of the job."""

    @abstractmethod
    def _start(self) -> None:
        """Create the job."""

    def _result(self, found: dict[str, Any]) -> dict[str, Any]:
        """The task's result; AirflowFailException where the job ended badly, since another would end the same way."""
        status = found[f"{self.kind}JobStatus"]
        if status != "Completed":
            reasons = ("FailureReason", "ExitMessage", "SecondaryStatus")
            reason = next((found[name] for name in reasons if found.get(name)), "SageMaker gives no reason")
            raise AirflowFailException(f"The job {self._name} ended as {status}: {reason}")
        self.log.info("%s completed", self._name)
        return {self.kind: serialize(found)}


class TrainingJob(_Job, SageMakerTrainingOperator):
    """A training job."""

    kind = "Training"

    def _describe(self, name: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.hook.describe_training_job(name)
        return answer

    def _start(self) -> None:
        self.preprocess_config()
        self.hook.create_training_job(self.config, wait_for_completion=False, print_log=False)


class ProcessingJob(_Job, SageMakerProcessingOperator):
    """A processing job."""

    kind = "Processing"

    def _describe(self, name: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.hook.describe_processing_job(name)
        return answer

    def _start(self) -> None:
        self.preprocess_config()
        self.hook.create_processing_job(self.config, wait_for_completion=False)
