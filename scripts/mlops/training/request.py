"""What the DAG `model_training` is asked for, the same for every caller that asks for this version."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops.contracts import runs
from mlops.contracts.locations import evidence_uri
from mlops.contracts.runs import TRAINING_DAG, Origin, TrainingConf
from mlops.contracts.versions import ModelVersion
from mlops.runs import airflow_runs

if TYPE_CHECKING:
    from mlops.contracts.evidence import Recipe
    from mlops.manifest.reader import Model


def of_manifest(
    model: Model, image_uri: str, version: ModelVersion, bucket: str, origin: Origin
) -> TrainingConf:
    """As the manifest asks for it."""
    from mlops.manifest import reader

    return TrainingConf(
        schema_version=runs.SCHEMA_VERSION,
        project=model.project,
        model=model.name,
        model_version=str(version),
        image_version=str(version.image),
        image_uri=image_uri,
        evidence_uri=evidence_uri(bucket, model.project, model.name, version),
        origin=origin,
        **reader.plan(model, bucket).parts(),
    )


def of_recipe(recipe: Recipe, version: ModelVersion, bucket: str, origin: Origin) -> TrainingConf:
    """As the last release was trained."""
    return TrainingConf(
        schema_version=runs.SCHEMA_VERSION,
        project=recipe.project,
        model=recipe.model,
        model_version=str(version),
        image_version=recipe.image_version,
        image_uri=recipe.image_uri,
        evidence_uri=evidence_uri(bucket, recipe.project, recipe.model, version),
        origin=origin,
        **recipe.parts(),
    )


def work(conf: TrainingConf, requester: str) -> airflow_runs.Work:
    """The run of this version: callers that start it in the same moment start the same one.

    Args:
        conf: What is asked for.
        requester: Names the object that a conf lies in which is too large to travel, such as a pipeline's id.
    """
    return airflow_runs.Work(
        dag_id=TRAINING_DAG,
        label=f"{conf.model}-{conf.image_version}",
        # Not who asks: two pipelines of one version share its training.
        identity=f"{TRAINING_DAG}|{conf.project}|{conf.model}|{conf.model_version}",
        conf=conf,
        spill_uri=f"{conf.evidence_uri}conf/{TRAINING_DAG}-{requester}.json",
    )
