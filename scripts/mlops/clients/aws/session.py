"""AWS clients: one cached session, standard retries, and one error for credentials that do not work.

Where a client connects and who it is come from the SDK's own variables, files and roles.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, overload

from mlops.base.errors import AuthenticationError, AwsError, SettingsError

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_ecr import ECRClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_ssm import SSMClient
    from mypy_boto3_sts import STSClient

# What services call credentials that they do not know or no longer take; a lack of permission is not one.
_REJECTED = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidIdentityToken",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "UnrecognizedClientException",
    }
)
# What the SDK itself tries again, for a few seconds, whatever the HTTP status: botocore/retries/standard.py.
_PASSING = frozenset(
    {
        "PriorRequestNotComplete",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestTimeout",
        "RequestTimeoutException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_NEXT_STEP = "Give the job a role (aws-role-arn of the template), or log in: aws sso login."


@overload
def client(name: Literal["cloudwatch"]) -> CloudWatchClient: ...
@overload
def client(name: Literal["ecr"]) -> ECRClient: ...
@overload
def client(name: Literal["lambda"]) -> LambdaClient: ...
@overload
def client(name: Literal["logs"]) -> CloudWatchLogsClient: ...
@overload
def client(name: Literal["s3"]) -> S3Client: ...
@overload
def client(name: Literal["sagemaker"]) -> SageMakerClient: ...
@overload
def client(name: Literal["sagemaker-runtime"]) -> SageMakerRuntimeClient: ...
@overload
def client(name: Literal["secretsmanager"]) -> SecretsManagerClient: ...
@overload
def client(name: Literal["sns"]) -> SNSClient: ...
@overload
def client(name: Literal["ssm"]) -> SSMClient: ...
@overload
def client(name: Literal["sts"]) -> STSClient: ...
def client(name: str) -> Any:
    """A client of a service. Its calls raise AuthenticationError where AWS does not accept who we are.

    Raises:
        AuthenticationError: when there are no credentials at all.
        SettingsError: when no region is set.
    """
    return _client(name)


@contextmanager
def explained() -> Iterator[None]:
    """Around a whole stage: what AWS says that no client had words for becomes an error for a person.

    Raises:
        AuthenticationError: when the job may no longer take its role.
        AwsError: for any other exception of the SDK.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    from mlops.clients.aws.role_refusal import refused

    try:
        yield
    except ClientError as error:
        if refusal := refused(error, os.environ):  # the role is taken anew when the session ends
            raise refusal from error
        code = error.response.get("Error", {}).get("Code", "")
        denied = code in {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}
        raise AwsError(
            f"AWS refused {error.operation_name}",
            cause=str(error),
            next_step="Grant this to the job's role, in the environment's Terraform."
            if denied
            else "Run this job again; if it stays, look at the service's state and quotas.",
        ) from error
    except BotoCoreError as error:
        raise AwsError(
            "AWS could not be reached",
            cause=str(error),
            next_step="Run this job again; if it stays, look at the network between the runner and AWS.",
        ) from error


def passing(error: BaseException | None) -> bool:
    """Whether AWS could not be asked, or had no time to answer: the same call may work in a minute.

    So it says nothing of what was asked about. An error of ours counts by what it was raised from.
    """
    from botocore import exceptions

    while error is not None:
        if isinstance(error, exceptions.ClientError):
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return status >= 500 or status == 429 or error.response.get("Error", {}).get("Code") in _PASSING
        if isinstance(
            error,
            (
                exceptions.ConnectionError,
                exceptions.HTTPClientError,
                exceptions.IncompleteReadError,
                # The role's credentials come by HTTP as well.
                exceptions.CredentialRetrievalError,
                exceptions.MetadataRetrievalError,
            ),
        ):
            return True
        error = error.__cause__
    return False


@cache
def _client(name: str) -> Any:
    from botocore.config import Config
    from botocore.exceptions import NoRegionError

    config = Config(
        retries={"mode": "standard", "total_max_attempts": 4}, connect_timeout=5, user_agent_extra="ml-ops"
    )
    try:
        made: Any = _session().client(name, config=config)  # type: ignore[call-overload]
    except NoRegionError as error:
        raise SettingsError(
            "No AWS region is set", cause=str(error), next_step="Set AWS_REGION, as a CI variable or here."
        ) from error
    made.meta.events.register("after-call", _check_answer)
    made.meta.events.register("after-call-error", _check_exception)
    return made


@cache
def _session() -> boto3.Session:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    from mlops.clients.aws.role_refusal import refused

    # Lambda, ECS and every other SDK say AWS_REGION; this one reads AWS_DEFAULT_REGION alone.
    session = boto3.Session(region_name=os.environ.get("AWS_REGION"))
    try:
        credentials = session.get_credentials()
        if credentials is not None:
            credentials.get_frozen_credentials()  # takes the role now, where what refuses it can be named
    except ClientError as error:
        raise refused(error, os.environ) or _rejection(str(error)) from error
    except BotoCoreError as error:  # a profile, a process or a token that does not work
        raise _rejection(str(error)) from error
    if credentials is None:
        raise AuthenticationError("There are no AWS credentials", next_step=_NEXT_STEP)
    return session


def _check_answer(parsed: dict[str, Any], **_: object) -> None:
    """Botocore's `after-call`: what a service answered, before the SDK makes it an exception."""
    problem = parsed.get("Error", {})
    if problem.get("Code") in _REJECTED:
        raise _rejection(f"{problem['Code']}: {problem.get('Message', '')}")


def _check_exception(exception: Exception, **_: object) -> None:
    """Botocore's `after-call-error`: the request was never answered."""
    from botocore import exceptions

    if isinstance(
        exception,
        (
            exceptions.NoCredentialsError,
            exceptions.PartialCredentialsError,
            exceptions.CredentialRetrievalError,
            exceptions.TokenRetrievalError,
            exceptions.SSOTokenLoadError,
            exceptions.UnauthorizedSSOTokenError,
        ),
    ):
        raise _rejection(str(exception)) from exception


def _rejection(cause: str) -> AuthenticationError:
    return AuthenticationError("AWS does not accept the job's credentials", cause=cause, next_step=_NEXT_STEP)
