"""What the DAG `model_retraining` decides: as `mlops retrain` does, where no manifest is at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mlops.base.errors import ContractError
from mlops.clients.aws.parameter_store import read_settings
from mlops.contracts.evidence import Recipe
from mlops.contracts.locations import recipe_uri
from mlops.contracts.platform_settings import PlatformSettings
from mlops.contracts.runs import (
    EVENT_SOURCE,
    RETRAINING_DAG,
    Notifications,
    RetrainingConf,
    TrainingConf,
    of_merge_request,
)
from mlops.runs import airflow_runs
from mlops.runs.conf import read_conf
from mlops.training import model_versions, request, retraining_rules

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_ssm import SSMClient

    from mlops.clients.aws.s3 import Storage


@dataclass(frozen=True, kw_only=True)
class RetrainingPlan:
    """What was decided. It travels as XCom."""

    conf: RetrainingConf
    settings: PlatformSettings
    notifications: Notifications
    why: str
    """Why the model is due, or why it is not."""
    training: TrainingConf | None = None
    """None if nothing is due."""
    training_run: str = ""
    starts: bool = False
    """Whether that run is to be started; else it is under way, or it is done."""


def prepare(  # pylint: disable=too-many-arguments,too-many-locals
    conf: Mapping[str, Any],
    *,
    ssm: SSMClient,
    storage: Storage,
    sagemaker: SageMakerClient,
    alarms: Callable[[str], retraining_rules.Alarms],
    state_of: Callable[[str], str],
) -> RetrainingPlan:
    """Decide by the recipe of the last release. The event is a hint: what it says is looked at, not believed.

    Args:
        conf: Of the run.
        ssm: The settings.
        storage: Recipe, evidence and data.
        sagemaker: The models.
        alarms: The drift alarms of a project.
        state_of: The state of a run of `model_training`; empty if there is none of that id.

    Raises:
        SettingsError, ContractError, VersionError: when the conf is not one to run.
        StorageError, AwsError: when S3 or CloudWatch does not answer.
    """
    settings = read_settings(ssm)
    parsed = read_conf(RETRAINING_DAG, conf, storage, settings)
    if not isinstance(parsed, RetrainingConf):
        raise ContractError("conf is not a request for a retraining")
    plan = RetrainingPlan(conf=parsed, settings=settings, notifications=Notifications(), why="")
    uri = recipe_uri(settings.bucket, parsed.project, parsed.model)
    if not storage.exists(uri):
        return replace(plan, why="no release of it was ever trained: its push does that")
    recipe = storage.read_record(Recipe, uri)
    if of_merge_request(recipe.origin):  # an earlier release of the platform let them
        return replace(
            plan, why="its recipe is a merge request's: a training of the default branch replaces it"
        )
    decision = retraining_rules.decide(
        retraining_rules.of_recipe(recipe),
        settings.bucket,
        sagemaker=sagemaker,
        storage=storage,
        alarms=alarms(parsed.project),
    )
    plan = replace(plan, notifications=recipe.notifications, why=decision.why)
    if not decision.due:
        return plan
    training = _training(recipe, decision, settings.bucket, storage)
    work = request.work(training, parsed.occurrence.id)
    run_id, starts = airflow_runs.find_run(
        work, state_of, lambda: model_versions.is_trained(training, sagemaker, storage)
    )
    return replace(plan, training=training, training_run=run_id, starts=starts)


def _training(
    recipe: Recipe, decision: retraining_rules.Decision, bucket: str, storage: Storage
) -> TrainingConf:
    """The next training of the recipe's image. Who pushed it stays known; the link to that pipeline goes."""
    version = model_versions.next_version(storage, retraining_rules.of_recipe(recipe), bucket, decision.last)
    origin = replace(recipe.origin, pipeline_source=EVENT_SOURCE, pipeline_url="", job_url="", user="")
    return request.of_recipe(recipe, version, bucket, origin)
