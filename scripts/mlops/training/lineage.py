"""What a model was made from. Pure functions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mlops.base.errors import StorageError
from mlops.contracts.evidence import Lineage
from mlops.contracts.runs import SCHEMA_VERSION, TrainingConf, request_fingerprint

if TYPE_CHECKING:
    from mlops.clients.aws.s3 import StoredObject


def data_fingerprint(listings: Mapping[str, Sequence[StoredObject]]) -> str:
    """One SHA-256 for all data of a training: it changes when an object is added, removed or rewritten.

    Args:
        listings: The objects of each channel. Keys are taken as they are, so the same files elsewhere are
            other data: no test shows that they stay the same.

    Raises:
        StorageError: when a channel is empty; SageMaker would say so after minutes, and less clearly.
    """
    digest = hashlib.sha256()
    for channel in sorted(listings):
        objects = listings[channel]
        if not objects:
            raise StorageError(
                f"The channel '{channel}' has no data",
                cause="no object's key begins with its prefix",
                next_step="Check training.data in mlops.yml, and that the data was uploaded.",
            )
        for item in sorted(objects, key=lambda one: one.key):
            # Lengths first, so no two lists of fields read the same
            for part in (channel, item.key, str(item.size), item.etag):
                digest.update(f"{len(part.encode())}:{part}".encode())
    return digest.hexdigest()


def lineage(  # pylint: disable=too-many-arguments
    conf: TrainingConf,
    *,
    training_job: str,
    model_artifact: str,
    fingerprint: str,
    dag_run_id: str,
    created_at: str,
) -> Lineage:
    """The lineage.json of a finished training."""
    return Lineage(
        schema_version=SCHEMA_VERSION,
        project=conf.project,
        model=conf.model,
        model_version=conf.model_version,
        image_version=conf.image_version,
        image_uri=conf.image_uri,
        training_job=training_job,
        model_artifact=model_artifact,
        channels=conf.training.channels,
        data_fingerprint=fingerprint,
        hyper_parameters=conf.training.hyper_parameters,
        request_fingerprint=request_fingerprint(conf.training, conf.evaluation),
        dag_run_id=dag_run_id,
        created_at=created_at,
        origin=conf.origin,
    )
