"""SageMaker models: a name for an image and an artifact."""

from __future__ import annotations

from mlops.local.aws.config import LocalAwsConfig
from mlops.local.aws.sagemaker import objects
from mlops.local.aws.sagemaker.store import Kind, Parameters, Record, Table, Tags, not_found
from mlops.local.aws.sdk import Sdk
from mlops.local.aws.wire import ServiceError

KIND = Kind(prefix="Model", arn="model", summaries="Models")


class Models:
    """The models of one account."""

    def __init__(self, config: LocalAwsConfig, sdk: Sdk, tags: Tags) -> None:
        self.table = Table(config, KIND, tags)
        self._sdk = sdk

    def create(self, wanted: Parameters) -> Parameters:
        """CreateModel."""
        name = wanted["ModelName"]
        for container in containers(wanted):
            url = container.get("ModelDataUrl")
            if url and not objects.exists(self._sdk.s3, url):
                raise ServiceError("ValidationException", f"Could not find model data at {url}.")
        record = {key: value for key, value in wanted.items() if key != "Tags"}
        taken = ServiceError(
            "ValidationException", f'Cannot create already existing model "{self.table.arn(name)}".'
        )
        return {"ModelArn": self.table.add(name, record, wanted.get("Tags") or [], taken)}

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
