"""What is not merged is not deployed, and no override helps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops.base.errors import DeploymentRefusedError, MlopsError
from mlops.clients.aws.session import passing
from mlops.contracts.evidence import LINEAGE, Lineage
from mlops.contracts.runs import DeploymentConf, Origin, of_merge_request
from mlops.contracts.versions import ModelVersion

if TYPE_CHECKING:
    from mlops.clients.aws.s3 import Storage


def check_merged(conf: DeploymentConf, storage: Storage) -> None:
    """Refuse what is not merged. It is not for one person to decide, so no override helps.

    Raises:
        DeploymentRefusedError: for a pre-release, for what a merge request trained, and when one asks.
    """
    if ModelVersion.parse(conf.model_version).image.prerelease:
        why = "it is a merge request's pre-release"
    elif of_merge_request(_trained_by(conf, storage)):
        why = "a merge request trained it"
    elif of_merge_request(conf.origin):
        why = "a merge request asks for it"
    else:
        return
    raise DeploymentRefusedError(
        f"{conf.model} {conf.model_version} may not be deployed",
        cause=f"{why}, and what is not merged is not deployed, not by an override either",
        next_step="Merge it: the pipeline of the default branch trains a release, which can be deployed.",
    )


def _trained_by(conf: DeploymentConf, storage: Storage) -> Origin:
    try:
        return storage.read_record(Lineage, conf.evidence_uri + LINEAGE).origin
    except MlopsError as error:  # `evidence_objections` says so
        if passing(error):
            raise
        return Origin()
