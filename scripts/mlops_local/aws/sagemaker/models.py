"""SageMaker models: a name for an image and an artifact."""

from __future__ import annotations

from collections.abc import Callable

from mlops_local.aws.sagemaker import objects
from mlops_local.aws.sagemaker.images import ImageLookup
from mlops_local.aws.sagemaker.played import refused_with
from mlops_local.aws.sagemaker.store import Parameters, Record, ResourceKind, Table, Tags, not_found
from mlops_local.aws.sdk import Sdk
from mlops_local.base.config import LocalAwsConfig
from mlops_local.base.wire import ServiceError

KIND = ResourceKind(prefix="Model", arn="model", summaries="Models")
# A member of our own, which no answer has: what CreateModel found for its containers.
_SERVED = "ServedContainers"


class Models:
    """The models of one account."""

    def __init__(self, config: LocalAwsConfig, sdk: Sdk, images: ImageLookup, tags: Tags) -> None:
        self.table = Table(config, KIND, tags)
        self._sdk = sdk
        self._images = images
        self.package: Callable[[Parameters], Record]
        """DescribeModelPackage, by which a version in the registry becomes a model."""

    def create(self, wanted: Parameters) -> Parameters:
        """CreateModel."""
        name = wanted["ModelName"]
        served = [self._resolved(container) for container in _given(wanted)]
        if "ExecutionRoleArn" in wanted:
            self._sdk.check_role(wanted["ExecutionRoleArn"])
        for container in served:
            self._images.check_for_model(str(container.get("Image", "")))
            url = container.get("ModelDataUrl")
            if url and not objects.exists(self._sdk.s3, url):
                raise ServiceError("ValidationException", f"Could not find model data at {url}.")
        record = {key: value for key, value in wanted.items() if key != "Tags"} | {_SERVED: served}
        taken = ServiceError(
            "ValidationException", f'Cannot create already existing model "{self.table.arn(name)}".'
        )
        return {"ModelArn": self.table.add(name, record, wanted.get("Tags") or [], taken)}

    def _resolved(self, container: Record) -> Record:
        """A container with its image and artifact: its own, or those of a version in the registry.

        https://docs.aws.amazon.com/sagemaker/latest/dg/model-registry-deploy.html

        Raises:
            ServiceError: `ValidationException`, for one that has neither, and for a version that is not
                approved.
        """
        if "ModelPackageName" not in container:
            if not container.get("Image"):
                raise ServiceError(
                    "ValidationException", "You must provide either an Image or a ModelPackageName."
                )
            return container
        package = self.package({"ModelPackageName": container["ModelPackageName"]})
        if package.get("ModelApprovalStatus") != "Approved":
            raise ServiceError(
                "ValidationException",
                f"Model package {package['ModelPackageArn']} is {package.get('ModelApprovalStatus')}; only "
                "an Approved one can be deployed.",
            )
        found = (package.get("InferenceSpecification") or {}).get("Containers") or []
        if len(found) != 1:
            raise ServiceError(
                "ValidationException",
                f"Model package {package['ModelPackageArn']} has {len(found)} containers: one is played.",
            )
        environment = {**(found[0].get("Environment") or {}), **(container.get("Environment") or {})}
        return {**found[0], "Environment": environment}

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
    """What serves a model, with image and artifact."""
    return list(model[_SERVED])


def _given(wanted: Parameters) -> list[Record]:
    """The containers of a request: one.

    Raises:
        ServiceError: `ValidationException` for none, for both ways to give it, and for more than one.
    """
    primary, several = wanted.get("PrimaryContainer"), list(wanted.get("Containers") or [])
    if (primary is None) == (not several):
        raise ServiceError("ValidationException", "Specify either PrimaryContainer or Containers.")
    if len(several) > 1:
        raise refused_with("CreateModel", "more than one container")
    return several if primary is None else [primary]
