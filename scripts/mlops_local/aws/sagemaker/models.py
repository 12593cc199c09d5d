"""SageMaker models: a name for an image and an artifact."""

from __future__ import annotations

from mlops_local.aws.sagemaker import objects
from mlops_local.aws.sagemaker.store import Parameters, Record, ResourceKind, Table, Tags, not_found
from mlops_local.aws.sdk import Sdk
from mlops_local.base.config import LocalAwsConfig
from mlops_local.base.wire import ServiceError
from mlops_local.registry.api import LocalRegistry

KIND = ResourceKind(prefix="Model", arn="model", summaries="Models")
# Docker's version 2, schema 2. Schema 1, which SageMaker takes as well, the registry here does not.
_TAKEN_TYPE = "application/vnd.docker.distribution.manifest.v2+json"


class Models:
    """The models of one account."""

    def __init__(self, config: LocalAwsConfig, sdk: Sdk, registry: LocalRegistry, tags: Tags) -> None:
        self.table = Table(config, KIND, tags)
        self._sdk = sdk
        self._registry = registry

    def create(self, wanted: Parameters) -> Parameters:
        """CreateModel."""
        name = wanted["ModelName"]
        if "ExecutionRoleArn" in wanted:
            self._sdk.check_role(wanted["ExecutionRoleArn"])
        for container in containers(wanted):
            self._check_image(container.get("Image", ""))
            url = container.get("ModelDataUrl")
            if url and not objects.exists(self._sdk.s3, url):
                raise ServiceError("ValidationException", f"Could not find model data at {url}.")
        record = {key: value for key, value in wanted.items() if key != "Tags"}
        taken = ServiceError(
            "ValidationException", f'Cannot create already existing model "{self.table.arn(name)}".'
        )
        return {"ModelArn": self.table.add(name, record, wanted.get("Tags") or [], taken)}

    def _check_image(self, uri: str) -> None:
        """Refuse the manifest types that SageMaker refuses, in its words.

        OCI manifests: https://github.com/aws/amazon-sagemaker-feedback/issues/180. OCI indexes:
        https://github.com/mlflow/mlflow/issues/13834. Manifest lists: it takes Docker's manifests of schema 1
        and 2 and nothing else, https://github.com/mlflow/mlflow/pull/14699. Whether jobs refuse them as well
        is not known, so they are taken here.
        """
        image = self._registry.find(uri)
        media_type = image.image_manifest_media_type if image else _TAKEN_TYPE
        if media_type != _TAKEN_TYPE:
            raise ServiceError(
                "ValidationException",
                f"Unsupported manifest media type {media_type} for image {uri}. Ensure that valid manifest "
                "media type is used for specified image.",
            )

    def describe(self, wanted: Parameters) -> Record:
        """DescribeModel."""
        record = self.table.find(wanted["ModelName"])
        if record is None:
            raise not_found("model", self.table.arn(wanted["ModelName"]))
        return record

    def delete(self, wanted: Parameters) -> Parameters:
        """DeleteModel."""
        if not self.table.remove(wanted["ModelName"]):
            raise not_found("model", self.table.arn(wanted["ModelName"]))
        return {}


def containers(model: Record) -> list[Record]:
    """The containers of a model; only the first one is served."""
    primary = model.get("PrimaryContainer")
    return [primary] if primary else list(model.get("Containers") or [])
