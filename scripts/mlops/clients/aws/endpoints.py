"""SageMaker endpoints: made, changed, deleted and asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mlops.base.errors import DeploymentRefusedError
from mlops.clients.aws.sagemaker import describe_endpoint, missing
from mlops.clients.aws.session import passing

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_sagemaker.type_defs import TagTypeDef
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient

# Seconds between tries while SageMaker does not see yet what it has just made.
_PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0)
_ANSWER_LIMIT = 64 * 1024


class EndpointTakenError(Exception):
    """Another deployment changed the endpoint in the same moment."""


class NoAnswerError(Exception):
    """The model refused a request, failed at it or took too long; the message is what SageMaker says."""


def create(
    sagemaker: SageMakerClient,
    name: str,
    config: str,
    tags: Sequence[TagTypeDef],
    pause: Callable[[float], None],
) -> None:
    """Have SageMaker begin to make an endpoint.

    Args:
        sagemaker: Who makes it.
        name: Of the endpoint.
        config: The name of its configuration, which may have been made a moment ago.
        tags: Of the endpoint.
        pause: Waits for that many seconds.

    Raises:
        EndpointTakenError: when there is one by now.
    """
    with _first_come():
        _retry_until_visible(
            lambda: sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config, Tags=tags), pause
        )


def update(
    sagemaker: SageMakerClient,
    name: str,
    config: str,
    kept: Mapping[str, Any],
    pause: Callable[[float], None],
) -> None:
    """Have SageMaker begin to change an endpoint; `kept` is what it is to keep of its old configuration.

    Raises:
        EndpointTakenError: when it changes already.
    """
    with _first_come():
        _retry_until_visible(
            lambda: sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=config, **kept), pause
        )


def delete(sagemaker: SageMakerClient, name: str, pause: Callable[[float], None]) -> None:
    """Delete an endpoint that failed to come up, and wait until it is gone.

    Raises:
        EndpointTakenError: when another deployment deletes it.
        DeploymentRefusedError: when that takes longer than a minute.
    """
    with _first_come():
        sagemaker.delete_endpoint(EndpointName=name)
    for seconds in (*_PAUSES, *_PAUSES):
        if describe_endpoint(sagemaker, name) is None:
            return
        pause(seconds)
    raise DeploymentRefusedError(
        f"The failed endpoint {name} is still being deleted", next_step="Try again in a few minutes."
    )


def invoke(runtime: SageMakerRuntimeClient, name: str, content_type: str, body: str) -> str:
    """Ask an endpoint once, and return the beginning of its answer, at most 64 KiB.

    An error of the SDK passes through when the endpoint could not be asked: that says nothing of the model.

    Raises:
        NoAnswerError: when the model did not answer with HTTP 200 within its 60 seconds.
    """
    from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError

    try:
        answer = runtime.invoke_endpoint(EndpointName=name, ContentType=content_type, Body=body)
    except (ClientError, BotoCoreError) as error:
        # A model has 60 seconds to answer, after which it is the model that failed.
        if passing(error) and not isinstance(error, ReadTimeoutError):
            raise
        details = getattr(error, "response", {})
        raise NoAnswerError(str(details.get("OriginalMessage") or error)) from error
    return answer["Body"].read(_ANSWER_LIMIT).decode(errors="replace")


@contextmanager
def _first_come() -> Iterator[None]:
    """Of two calls at once SageMaker takes one. It refuses the other by words alone."""
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        message = str(error.response.get("Error", {}).get("Message", ""))
        if not any(words in message for words in ("already existing", "in-progress")):
            raise
        raise EndpointTakenError(message) from error


def _retry_until_visible(call: Callable[[], object], pause: Callable[[float], None]) -> None:
    """Repeat a call that names a configuration made a moment ago: SageMaker may not see it yet."""
    from botocore.exceptions import ClientError

    for seconds in (*_PAUSES, None):
        try:
            call()
            return
        except ClientError as error:
            if seconds is None or not missing(error):
                raise
            pause(seconds)
