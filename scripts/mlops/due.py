"""Whether an image has to be trained, and which model version that makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops import console
from mlops.contract import request_fingerprint
from mlops.evidence import COMPARISON, LINEAGE, Comparison, Lineage
from mlops.run_conf import evidence_uri
from mlops.versions import ModelVersion, parse_image_version

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

    from mlops.clients.storage import Storage
    from mlops.manifest import Model


def version_to_train(
    sagemaker: SageMakerClient, storage: Storage, model: Model, image_version: str, bucket: str
) -> ModelVersion:
    """The version that an image's model has or is to get.

    That is the last one, unless what was learned of it does not hold any more; then it is the next one. A
    training that did not get as far as its comparison does not count: it is repeated under its own version.

    Raises:
        StorageError: when S3 does not tell.
        EvidenceError: when the endpoint serves what is no version of this model.
    """
    from mlops import manifest
    from mlops.clients.sagemaker import latest_model

    latest = latest_model(sagemaker, model.project, model.name, image_version)
    if latest is None:
        return ModelVersion(parse_image_version(image_version), 0)
    version = ModelVersion.parse(latest.version)
    evidence = evidence_uri(bucket, model.project, model.name, version)
    if not storage.exists(evidence + COMPARISON):
        return version
    asked = request_fingerprint(manifest.training(model, bucket), manifest.evaluation(model, bucket))
    reason = _outdated(sagemaker, storage, storage.read_record(Lineage, evidence + LINEAGE), asked, evidence)
    if not reason:
        return version
    console.say(f"{model.name} {version} is trained again: {reason}")
    return ModelVersion(version.image, version.retrain + 1)


def _outdated(
    sagemaker: SageMakerClient, storage: Storage, made_from: Lineage, asked: str, evidence: str
) -> str:
    """Why the evidence of a version does not hold any more; empty when it does."""
    from mlops.clients.sagemaker import find_champion

    if made_from.request_fingerprint != asked:
        return "mlops.yml asks for another training or evaluation"
    champion = find_champion(sagemaker, made_from.project, made_from.model)
    now = champion.version if champion else None
    compared = storage.read_record(Comparison, evidence + COMPARISON).champion
    if now not in (made_from.model_version, compared):
        return f"it was compared with {compared or 'nothing'}, and {now or 'nothing'} is in production now"
    return ""
