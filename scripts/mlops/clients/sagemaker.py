"""SageMaker: which models there are, which one is in production, and why a job failed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from mlops.errors import EvidenceError
from mlops.versions import ModelVersion, endpoint_name, parse_resource_name, resource_prefix

if TYPE_CHECKING:
    from botocore.exceptions import ClientError
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_sagemaker.type_defs import DescribeEndpointOutputTypeDef

# The model wanted is nearly always among the newest; a page of 100 takes SageMaker longer than one of 10.
_PAGE = 10

# An endpoint in these states serves nobody: it has not begun to, it ended, or it never could.
_NOT_SERVING = frozenset({"Creating", "Failed", "Deleting", "OutOfService"})

JobKind = Literal["training", "processing"]
LOG_GROUPS: dict[JobKind, str] = {
    "training": "/aws/sagemaker/TrainingJobs",
    "processing": "/aws/sagemaker/ProcessingJobs",
}


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """A SageMaker model that an endpoint serves: all that is needed to run it again.

    Image and artifact are empty when the model was deleted; the endpoint serves it all the same.
    """

    name: str
    version: str
    image_uri: str
    artifact: str
    """The S3 object of its model.tar.gz."""
    endpoint_config: str
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ListedModel:
    """One of a model's versions in SageMaker's list of models."""

    name: str
    version: str
    created_at: str
    """ISO 8601, with SageMaker's own time zone."""


def missing(error: ClientError) -> bool:
    """Whether SageMaker says that there is no such thing: it has no error code for it, only words."""
    details = error.response.get("Error", {})
    words = str(details.get("Message", "")).lower()
    return details.get("Code") in {"ResourceNotFound", "ValidationException"} and any(
        phrase in words for phrase in ("could not find", "does not exist", "cannot find", "not found")
    )


def list_models(sagemaker: SageMakerClient, project: str, model: str) -> Iterator[ListedModel]:
    """All versions of one model, newest first; a caller that stops early saves the calls for the rest.

    SageMaker finds `NameContains` anywhere in a name, so `a--url` also brings `a--url-old` and `data--url`:
    every name is parsed and compared.
    """
    prefix = resource_prefix(project, model)
    more: Any = {}
    while True:
        page = sagemaker.list_models(
            NameContains=prefix, SortBy="CreationTime", SortOrder="Descending", MaxResults=_PAGE, **more
        )
        for item in page["Models"]:
            parsed = parse_resource_name(item["ModelName"])
            if parsed is not None and parsed[:2] == (project, model):
                yield ListedModel(
                    name=item["ModelName"],
                    version=str(parsed[2]),
                    created_at=item["CreationTime"].isoformat(),
                )
        if not page.get("NextToken"):
            return
        more = {"NextToken": page["NextToken"]}


def latest_model(
    sagemaker: SageMakerClient, project: str, model: str, image_version: str = ""
) -> ListedModel | None:
    """The newest version of a model, or of one of its images; None when there is none."""
    for listed in list_models(sagemaker, project, model):
        if not image_version or str(ModelVersion.parse(listed.version).image) == image_version:
            return listed
    return None


def describe_model(sagemaker: SageMakerClient, name: str) -> dict[str, Any] | None:
    """SageMaker's description of a model; None when there is none."""
    from botocore.exceptions import ClientError

    try:
        return dict(sagemaker.describe_model(ModelName=name))
    except ClientError as error:
        if missing(error):
            return None
        raise


def describe_endpoint(sagemaker: SageMakerClient, name: str) -> DescribeEndpointOutputTypeDef | None:
    """SageMaker's description of an endpoint; None when there is none."""
    from botocore.exceptions import ClientError

    try:
        return sagemaker.describe_endpoint(EndpointName=name)
    except ClientError as error:
        if missing(error):
            return None
        raise


def describe_endpoint_config(sagemaker: SageMakerClient, name: str) -> dict[str, Any] | None:
    """SageMaker's description of an endpoint configuration; None when there is none."""
    from botocore.exceptions import ClientError

    try:
        return dict(sagemaker.describe_endpoint_config(EndpointConfigName=name))
    except ClientError as error:
        if missing(error):
            return None
        raise


def find_champion(sagemaker: SageMakerClient, project: str, model: str) -> ServedModel | None:
    """The model that the endpoint serves now; None when nothing was deployed.

    During an update the endpoint still names, and serves, the old configuration.

    Raises:
        EvidenceError: when the endpoint serves what is no version of this model.
    """
    endpoint = describe_endpoint(sagemaker, endpoint_name(project, model))
    if endpoint is None or endpoint["EndpointStatus"] in _NOT_SERVING:
        return None
    config = sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
    name = config["ProductionVariants"][0].get("ModelName", "")
    parsed = parse_resource_name(name)
    if parsed is None or parsed[:2] != (project, model):
        raise EvidenceError(
            f"The endpoint serves {name!r}, which is no version of {project}/{model}",
            cause="somebody else changed the endpoint",
            next_step="Delete the endpoint, or deploy a version of this model to it by hand.",
        )
    container = (describe_model(sagemaker, name) or {}).get("PrimaryContainer", {})
    return ServedModel(
        name=name,
        version=str(parsed[2]),
        image_uri=container.get("Image", ""),
        artifact=container.get("ModelDataUrl", ""),
        endpoint_config=endpoint["EndpointConfigName"],
        environment=dict(container.get("Environment", {})),
    )


def job_failure(sagemaker: SageMakerClient, kind: JobKind, name: str) -> str:
    """Why SageMaker ended a job, in its own words; empty when it did not, or there is no such job."""
    from botocore.exceptions import ClientError

    description: Any
    try:
        if kind == "training":
            description = sagemaker.describe_training_job(TrainingJobName=name)
            status = description["TrainingJobStatus"]
        else:
            description = sagemaker.describe_processing_job(ProcessingJobName=name)
            status = description["ProcessingJobStatus"]
    except ClientError as error:
        if missing(error):
            return ""
        raise
    if status in {"Completed", "InProgress"}:
        return ""
    reason = description.get("FailureReason") or description.get("ExitMessage") or ""
    if status in {"Stopped", "Stopping"} and not reason:
        reason = f"The job was stopped ({description.get('SecondaryStatus', status)})."
    return reason or f"SageMaker gives no reason; the job's state is {status}."
