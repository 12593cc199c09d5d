"""SageMaker's JSON API: which operation is whose, and everything checked against botocore's model of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from werkzeug.wrappers import Request, Response

from mlops_local.aws import shapes
from mlops_local.aws.account import AccountError
from mlops_local.aws.sagemaker import played
from mlops_local.aws.sagemaker.endpoints import EndpointConfigs, Endpoints
from mlops_local.aws.sagemaker.fleets import Fleets
from mlops_local.aws.sagemaker.images import ImageLookup
from mlops_local.aws.sagemaker.models import Models
from mlops_local.aws.sagemaker.packages import ModelPackages, event_detail
from mlops_local.aws.sagemaker.processing import ProcessingJobs
from mlops_local.aws.sagemaker.runtime import ROUTE, EndpointRuntime
from mlops_local.aws.sagemaker.state_changes import watch
from mlops_local.aws.sagemaker.store import Parameters, Record, Tags
from mlops_local.aws.sagemaker.training import TrainingJobs
from mlops_local.aws.sdk import Sdk
from mlops_local.base.config import LocalAwsConfig
from mlops_local.base.wire import AMZ_JSON, ServiceError, error_response, json_response
from mlops_local.engines import Engine
from mlops_local.registry.api import LocalRegistry

# Resources that have tags here.
_OURS = re.compile(
    r"arn:[^:]+:sagemaker:[^:]*:\d{12}:"
    r"(training-job|processing-job|model|endpoint|endpoint-config|model-package-group)/.+"
)


class SageMaker:
    """SageMaker, as far as it is played."""

    def __init__(self, config: LocalAwsConfig, sdk: Sdk, engine: Engine, registry: LocalRegistry) -> None:
        self._tags = Tags()
        self.publish: Callable[[str, str, Parameters], None] = lambda _type, _arn, _detail: None
        """Hears of changes of state: an event's type, the resource's ARN and the event's detail."""
        images = ImageLookup(config, registry)
        training = TrainingJobs(config, sdk, engine, images, self._tags)
        processing = ProcessingJobs(config, sdk, engine, images, self._tags)
        models = Models(config, sdk, images, self._tags)
        packages = ModelPackages(config, sdk, self._tags, self._package_changed)
        models.package = packages.describe
        configs = EndpointConfigs(config, models, self._tags)
        endpoints = Endpoints(config, Fleets(config, sdk, engine, models), configs, self._tags)
        for table in (training.table, processing.table, endpoints.table):
            watch(table, self._tags, self._changed)
        self._runtime = EndpointRuntime(config, endpoints)
        self._packages = packages
        self._others = (training.table, processing.table, models.table, configs.table, endpoints.table)
        self._operations: dict[str, Callable[[Parameters], Parameters]] = {
            "CreateTrainingJob": training.create,
            "DescribeTrainingJob": training.describe,
            "StopTrainingJob": training.stop,
            "ListTrainingJobs": training.table.page,
            "CreateProcessingJob": processing.create,
            "DescribeProcessingJob": processing.describe,
            "StopProcessingJob": processing.stop,
            "ListProcessingJobs": processing.table.page,
            "CreateModel": models.create,
            "DescribeModel": models.describe,
            "DeleteModel": models.delete,
            "ListModels": models.table.page,
            "CreateEndpointConfig": configs.create,
            "DescribeEndpointConfig": configs.describe,
            "DeleteEndpointConfig": configs.delete,
            "ListEndpointConfigs": configs.table.page,
            "CreateEndpoint": endpoints.create,
            "UpdateEndpoint": endpoints.update,
            "UpdateEndpointWeightsAndCapacities": endpoints.scale,
            "DescribeEndpoint": endpoints.describe,
            "DeleteEndpoint": endpoints.delete,
            "ListEndpoints": endpoints.table.page,
            "CreateModelPackageGroup": packages.create_group,
            "DescribeModelPackageGroup": packages.describe_group,
            "DeleteModelPackageGroup": packages.delete_group,
            "ListModelPackageGroups": packages.groups.page,
            "CreateModelPackage": packages.create,
            "DescribeModelPackage": packages.describe,
            "UpdateModelPackage": packages.update,
            "DeleteModelPackage": packages.delete,
            "ListModelPackages": packages.page,
            "AddTags": lambda wanted: {"Tags": self._tags.put(wanted["ResourceArn"], wanted["Tags"])},
            "ListTags": lambda wanted: {"Tags": self._tags.of(wanted["ResourceArn"])},
            "DeleteTags": self._delete_tags,
        }

    def handle(self, request: Request) -> Response:
        """Answer one API call; moto's own SageMaker, which reports work that nobody did, answers none."""
        if ROUTE.fullmatch(request.path):
            return self._runtime.handle(request)
        operation = request.headers.get("X-Amz-Target", "").rpartition(".")[2]
        carry_out = self._operations.get(operation)
        try:
            if carry_out is None:
                raise played.refused_operation("sagemaker", operation or request.path)
            document = _document(request)
            if operation.endswith("Tags"):
                _check_taggable(str(document.get("ResourceArn")))
            model = shapes.service_model("sagemaker").operation_model(operation)
            parameters = shapes.read(model.input_shape, document)
            played.check(operation, parameters)
            answer = carry_out(parameters)
            return json_response(shapes.write(model.output_shape, answer), content_type=AMZ_JSON)
        except ServiceError as error:
            return error_response(error, AMZ_JSON)

    def keep(self) -> Any:
        """The groups of models and all tags: what an apply makes.

        Raises:
            AccountError: when there is more, which lives in processes and files.
        """
        if self._packages.versions_exist() or any(table.keep() for table in self._others):
            raise AccountError("SageMaker has jobs, models or endpoints")
        return {"groups": self._packages.groups.keep(), "tags": self._tags.keep()}

    def restore(self, kept: Any) -> None:
        """Have what `keep` gave."""
        self._packages.restore_groups(kept["groups"])
        self._tags.restore(kept["tags"])

    def _package_changed(self, record: Record) -> None:
        self.publish("SageMaker Model Package State Change", record["ModelPackageArn"], event_detail(record))

    def _changed(self, kind: str, arn: str, detail: Parameters) -> None:
        self.publish(kind, arn, detail)

    def _delete_tags(self, wanted: Parameters) -> Parameters:
        self._tags.take(wanted["ResourceArn"], wanted["TagKeys"])
        return {}


def _check_taggable(arn: str) -> None:
    if not _OURS.fullmatch(arn):
        raise ServiceError("ValidationException", f"Tags of {arn} are not played locally.")


def _document(request: Request) -> dict[str, object]:
    try:
        document = json.loads(request.get_data() or b"{}")
    except ValueError as error:
        raise ServiceError("SerializationException", f"the body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ServiceError("SerializationException", "the body is not a JSON object")
    return document
