"""What a DAG run was asked for, checked against what the platform allows."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlops.base.errors import ContractError
from mlops.contracts.locations import capture_uri, evidence_uri
from mlops.contracts.runs import (
    ApprovalConf,
    Conf,
    DeploymentConf,
    EventConf,
    TrainingConf,
    is_conf_pointer,
    of_merge_request,
    parse_conf,
)
from mlops.contracts.versions import ModelVersion, check_names

if TYPE_CHECKING:
    from mlops.clients.aws.s3 import Storage
    from mlops.contracts.platform_settings import PlatformSettings


def read_conf(
    dag_id: str, conf: Mapping[str, Any], storage: Storage, settings: PlatformSettings
) -> Conf | EventConf:
    """The typed conf of a run, fetched from S3 where only a pointer travelled.

    Raises:
        ContractError: when it does not fit the DAG, or asks for what this platform does not own.
        StorageError: when a pointer leads nowhere.
        VersionError: when a version or a name does not follow the rules.
    """
    pointer = is_conf_pointer(conf)
    if pointer:
        conf = _follow(conf["conf_uri"], conf["conf_sha256"], storage, settings)
    parsed = parse_conf(dag_id, conf)
    if pointer and isinstance(parsed, ApprovalConf):  # the Lambda makes it of an event, and it always fits
        raise ContractError(
            "conf_uri leads to an approval",
            cause="an approval comes with SageMaker's event alone",
            next_step="Approve the version in the model registry, or run the job deploy.",
        )
    check_names(parsed.project, parsed.model)
    if isinstance(parsed, TrainingConf | DeploymentConf):
        _check_version(parsed, settings)
    return parsed


def _check_version(parsed: Conf, settings: PlatformSettings) -> None:
    version = ModelVersion.parse(parsed.model_version)
    evidence = evidence_uri(settings.bucket, parsed.project, parsed.model, version)
    if parsed.evidence_uri != evidence:
        raise ContractError(
            "conf.evidence_uri is not where this platform keeps the model's evidence",
            cause=f"found {parsed.evidence_uri}, allowed is {evidence}",
            next_step="Check that CI and Airflow belong to the same environment.",
        )
    if isinstance(parsed, TrainingConf):
        _check_image(parsed, version)
    capture = parsed.deployment.data_capture if parsed.deployment else None
    allowed = capture_uri(settings.bucket, parsed.project, parsed.model)
    if capture is not None and capture.destination != allowed:
        raise ContractError(
            "conf.deployment.data_capture is not where this platform keeps what endpoints are asked",
            cause=f"found {capture.destination}, allowed is {allowed}",
            next_step="Check that CI and Airflow belong to the same environment.",
        )


def _follow(uri: str, sha256: str, storage: Storage, settings: PlatformSettings) -> dict[str, Any]:
    if not uri.startswith(f"s3://{settings.bucket}/"):
        raise ContractError(
            "conf_uri leads out of the platform's bucket",
            cause=f"found {uri}, the bucket is {settings.bucket}",
        )
    text = storage.read(uri)
    if hashlib.sha256(text).hexdigest() != sha256:
        raise ContractError(
            f"{uri} is not the conf that was sent",
            cause="its SHA-256 differs from conf_sha256",
            next_step="Start the run again; only CI may write there.",
        )
    try:
        conf = json.loads(text)
    except ValueError as error:
        raise ContractError(f"{uri} is not valid JSON", cause=str(error)) from error
    if not isinstance(conf, dict):
        raise ContractError(f"{uri} must be an object")
    return conf


def _check_image(conf: TrainingConf, version: ModelVersion) -> None:
    """A digest pins what runs: a tag could be moved between training and serving."""
    repository = re.escape(f"{conf.project}/{conf.model}")
    if not re.fullmatch(rf"[A-Za-z0-9.:-]+/{repository}@sha256:[0-9a-f]{{64}}", conf.image_uri):
        raise ContractError(
            "conf.image_uri is not an image of this model",
            cause=f"found {conf.image_uri}, "
            f"allowed is <registry>/{conf.project}/{conf.model}@sha256:<digest>",
        )
    if of_merge_request(conf.origin) and not version.image.prerelease:
        raise ContractError(
            "A merge request does not train a release",
            cause=f"conf.origin is a merge request's, and conf.image_version is {conf.image_version}",
            next_step="Merge it: the pipeline of the default branch trains the release. With ci-templates and"
            " job image of the platform's current release, a merge request trains a pre-release.",
        )
    if conf.image_version != str(version.image):
        raise ContractError(
            "conf.image_version and conf.model_version contradict each other",
            cause=f"found {conf.image_version} and {conf.model_version}",
        )
