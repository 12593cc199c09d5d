"""Images that jobs and models name: looked up when they are named, as SageMaker does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_local.base.wire import ServiceError

if TYPE_CHECKING:
    from mlops_local.base.config import LocalAwsConfig
    from mlops_local.registry.api import LocalRegistry

# Docker's version 2, schema 2. Schema 1, which SageMaker takes as well, the registry here does not.
_TAKEN_TYPE = "application/vnd.docker.distribution.manifest.v2+json"


class ImageLookup:
    """What the account's registry has."""

    def __init__(self, config: LocalAwsConfig, registry: LocalRegistry) -> None:
        self._config = config
        self._registry = registry

    def check_for_job(self, uri: str, role_arn: str) -> None:
        """Refuse an image that a job cannot pull.

        https://github.com/aws/amazon-sagemaker-examples/issues/1476 and /2534 have the words. Whether jobs
        refuse OCI manifests is not known, so they are taken here.

        Raises:
            ServiceError: `ValidationException`.
        """
        if self._registry.find(uri) is None:
            repository = uri.partition("/")[2].partition("@")[0].partition(":")[0]
            raise ServiceError(
                "ValidationException",
                f"Cannot find the requested image: {uri}. Please check if your ECR repository {repository} "
                f"exists in registry ID: {self._config.account} and role {role_arn} has proper pull "
                "permissions for SageMaker",
            )

    def check_for_model(self, uri: str) -> None:
        """Refuse an image that no model can have: another registry's, missing, or of a refused type.

        Not ECR's: https://github.com/aws/sagemaker-python-sdk/issues/4700. Missing:
        https://github.com/aws-samples/easy-amazon-sagemaker-deployments/issues/4. OCI manifests:
        https://github.com/aws/amazon-sagemaker-feedback/issues/180. OCI indexes:
        https://github.com/mlflow/mlflow/issues/13834. Manifest lists: it takes Docker's manifests of schema 1
        and 2 and nothing else, https://github.com/mlflow/mlflow/pull/14699.

        Raises:
            ServiceError: `ValidationException`.
        """
        if uri.partition("/")[0] != self._config.registry:
            raise ServiceError(
                "ValidationException",
                f'Using non-ECR image "{uri}" without Vpc repository access mode is not supported.',
            )
        image = self._registry.find(uri)
        if image is None:
            raise ServiceError("ValidationException", f"Requested image {uri} not found.")
        media_type = image.image_manifest_media_type
        if media_type != _TAKEN_TYPE:
            raise ServiceError(
                "ValidationException",
                f"Unsupported manifest media type {media_type} for image {uri}. Ensure that valid manifest "
                "media type is used for specified image.",
            )
