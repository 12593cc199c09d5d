"""SageMaker: which models there are, which one is in production, and why a job failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal

from mlops.base.errors import AwsError, EvidenceError
from mlops.contracts.versions import ModelVersion, endpoint_name, parse_resource_name, resource_prefix

if TYPE_CHECKING:
    from botocore.exceptions import ClientError
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_sagemaker.type_defs import DescribeEndpointOutputTypeDef
    from semver import Version

# The model wanted is nearly always among the newest; a page of 100 takes SageMaker longer than one of 10. Who
# has to go on goes far.
_PAGE = 10
_LONG_PAGE = 100

# An endpoint in these states serves no requests: it has not begun to, it ended, or it never could.
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


@dataclass(frozen=True, kw_only=True)
class NewestModels:
    """What SageMaker says of one model's versions, merge requests' pre-releases left out."""

    newest: ListedModel | None
    of_image: ListedModel | None
    """The newest of the image that was asked for."""
    now: datetime
    """SageMaker's clock."""
    sure: bool
    """Whether `newest` is all there is to know; else older ones may stand further back in the list."""


@dataclass(frozen=True, kw_only=True)
class _Page:
    models: list[ListedModel]
    next_token: str | None
    date: str
    """The answer's header of that name."""


def missing(error: ClientError) -> bool:
    """Whether SageMaker says that there is no such thing: it has no error code for it, only words."""
    details = error.response.get("Error", {})
    words = str(details.get("Message", "")).lower()
    return details.get("Code") in {"ResourceNotFound", "ValidationException"} and any(
        phrase in words for phrase in ("could not find", "does not exist", "cannot find", "not found")
    )


def list_models(
    sagemaker: SageMakerClient, project: str, model: str, image_version: str = "", first_page: int = _PAGE
) -> Iterator[ListedModel]:
    """All versions of one model, or of one of its images, newest first; who stops early saves calls.

    SageMaker finds `NameContains` anywhere in a name, so `a--url` also brings `a--url-old` and `data--url`:
    every name is parsed and compared.
    """
    token: str | None = ""
    while token is not None:
        page = _page(sagemaker, project, model, image_version, token, _LONG_PAGE if token else first_page)
        yield from page.models
        token = page.next_token


def latest_model(
    sagemaker: SageMakerClient, project: str, model: str, image_version: str = ""
) -> ListedModel | None:
    """The newest version of a model, or of one of its images; None when there is none."""
    return next(list_models(sagemaker, project, model, image_version), None)


def newest_models(
    sagemaker: SageMakerClient, project: str, model: str, image_version: str, released_at: datetime | None
) -> NewestModels:
    """The newest version of a model's released images, and of one of them, in one call as a rule, or in two.

    Two, where the newest ten models that SageMaker finds are none of ours, or pre-releases of merge requests,
    or where a pipeline of an older image was run again after this one's.

    Args:
        sagemaker: The account.
        project: The project.
        model: The model.
        image_version: A released image.
        released_at: When it was; where that is known, a call can be saved.
    """
    page = _page(sagemaker, project, model)
    released = [one for one in page.models if not _image(one).prerelease]
    newest = released[0] if released else None
    of_image = next((one for one in released if str(_image(one)) == image_version), None)
    older = (
        newest is not None
        and released_at is not None
        and datetime.fromisoformat(newest.created_at) < released_at
    )
    if of_image is None and page.next_token and not older:
        of_image = next(list_models(sagemaker, project, model, image_version, _LONG_PAGE), None)
        newest = newest or of_image
    return NewestModels(
        newest=newest,
        of_image=of_image,
        now=_time(page.date),
        sure=newest is not None or page.next_token is None,
    )


def _image(listed: ListedModel) -> Version:
    return ModelVersion.parse(listed.version).image


def _page(  # pylint: disable=too-many-arguments,too-many-positional-arguments
    sagemaker: SageMakerClient,
    project: str,
    model: str,
    image_version: str = "",
    token: str = "",
    size: int = _PAGE,
) -> _Page:
    more: Any = {"NextToken": token} if token else {}
    answer = sagemaker.list_models(
        NameContains=resource_prefix(project, model, image_version),
        SortBy="CreationTime",
        SortOrder="Descending",
        MaxResults=size,
        **more,
    )
    models = []
    for item in answer["Models"]:
        parsed = parse_resource_name(item["ModelName"])
        if parsed is None or parsed[:2] != (project, model):
            continue
        if image_version and str(parsed[2].image) != image_version:
            continue
        models.append(
            ListedModel(
                name=item["ModelName"],
                version=str(parsed[2]),
                created_at=item["CreationTime"].isoformat(),
            )
        )
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return _Page(models=models, next_token=answer.get("NextToken") or None, date=headers.get("date", ""))


def _time(said: str) -> datetime:
    """When AWS answered, by its own clock."""
    try:
        return parsedate_to_datetime(said)
    except ValueError as error:
        raise AwsError(
            "AWS does not say what time it is",
            cause=f"the header Date of its answer is {said!r}",
            next_step="Look at what stands between here and AWS: a proxy may have removed it.",
        ) from error


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
        EvidenceError: when the endpoint serves what is not a version of this model.
    """
    endpoint = describe_endpoint(sagemaker, endpoint_name(project, model))
    if endpoint is None or endpoint["EndpointStatus"] in _NOT_SERVING:
        return None
    config = sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
    name = config["ProductionVariants"][0].get("ModelName", "")
    parsed = parse_resource_name(name)
    if parsed is None or parsed[:2] != (project, model):
        raise EvidenceError(
            f"The endpoint serves {name!r}, which is not a version of {project}/{model}",
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


def earlier_job(
    sagemaker: SageMakerClient,
    kind: JobKind,
    names: Sequence[str],
    about: Mapping[str, str],
    *,
    own: Sequence[str] = (),
) -> str:
    """The job that an earlier try of a task started and this one can wait for; empty when there is none.

    Args:
        sagemaker: Who is asked.
        kind: Of the jobs.
        names: The jobs of earlier tries.
        about: The environment of this try's job: with other data it would be another job.
        own: Those of `names` that no person asked to do again: their end is this try's, whatever it is.
    """
    from botocore.exceptions import ClientError

    description: Any
    for name in names:
        try:
            if kind == "training":
                description = sagemaker.describe_training_job(TrainingJobName=name)
                # What was trained is there; what was evaluated may have been cleared for a new comparison.
                useful = description["TrainingJobStatus"] in {"InProgress", "Completed"}
            else:
                description = sagemaker.describe_processing_job(ProcessingJobName=name)
                useful = description["ProcessingJobStatus"] == "InProgress"
        except ClientError as error:
            if missing(error):
                continue
            raise
        if (useful or name in own) and description.get("Environment", {}) == dict(about):
            return name
    return ""


def job_runs(sagemaker: SageMakerClient, kind: JobKind, name: str) -> bool:
    """Whether a job has begun and not ended."""
    from botocore.exceptions import ClientError

    try:
        if kind == "training":
            return sagemaker.describe_training_job(TrainingJobName=name)["TrainingJobStatus"] == "InProgress"
        described = sagemaker.describe_processing_job(ProcessingJobName=name)
    except ClientError as error:
        if missing(error):
            return False
        raise
    return described["ProcessingJobStatus"] == "InProgress"


def stop_job(sagemaker: SageMakerClient, kind: JobKind, name: str) -> None:
    """Have SageMaker end a job; it refuses one that ended already."""
    if kind == "training":
        sagemaker.stop_training_job(TrainingJobName=name)
    else:
        sagemaker.stop_processing_job(ProcessingJobName=name)


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
