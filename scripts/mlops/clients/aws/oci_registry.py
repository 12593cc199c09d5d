"""The registry: ECR's API to look, the OCI distribution API to read and write images.

ECR's tags are immutable, so the registry itself decides who takes a tag first.
https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md

SageMaker takes less than ECR does. CreateModel refuses OCI manifests and indexes, so an image has one Docker
manifest, version 2, schema 2 (https://github.com/aws/amazon-sagemaker-feedback/issues/180,
https://distribution.github.io/distribution/spec/manifest-v2-2/). The one image also trains and evaluates, and
all instance types of processing jobs have amd64 processors (ProcessingInstanceType of the service's model).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from mlops.base.errors import AuthenticationError, RegistryError, UnsupportedImageError

if TYPE_CHECKING:
    import requests
    from botocore.exceptions import BotoCoreError, ClientError
    from mypy_boto3_ecr import ECRClient

# Terraform's module `registry` writes it, and no job may: the path of the GitLab project a model belongs to.
OWNER_TAG = "mlops:gitlab-project"
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
PLATFORM = "linux/amd64"
_OCI_TYPE = "application/vnd.oci.image.manifest.v1+json"
_INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFEST_TYPES = (MANIFEST_TYPE, _OCI_TYPE, *_INDEX_TYPES)
_SECONDS = (10, 300)
RELEASE_AGAIN = "Run a pipeline of the default branch: it builds the content again, under the next version."


@dataclass(frozen=True, kw_only=True)
class RegistryImage:
    """An image in the registry, with all its tags."""

    digest: str
    tags: tuple[str, ...]
    pushed_at: datetime
    media_type: str
    """Of its manifest; empty if ECR does not say."""

    def check(self, name: str, next_step: str) -> None:
        """Refuse an image with a manifest that SageMaker refuses; its processor is not looked at.

        Raises:
            UnsupportedImageError: with the advice given.
        """
        if flaw := _type_flaw(self.media_type or MANIFEST_TYPE):
            raise unsupported(name, flaw, next_step)


@dataclass(frozen=True, kw_only=True)
class Login:
    """Where the registry is and who we are there, for twelve hours."""

    url: str
    user: str
    password: str

    def __repr__(self) -> str:
        return f"Login(url={self.url!r})"


class Registry:
    """One model's repository in ECR.

    Every failure is a RegistryError with the registry's own words, or an AuthenticationError.
    """

    def __init__(self, ecr: ECRClient, repository: str, host: str = "") -> None:
        """`host` is where images are pulled from, when it is not the account's own ECR host name."""
        self._ecr = ecr
        self._host = host
        self._account = ""
        self.repository = repository

    def find(self, tag: str) -> RegistryImage | None:
        """The image with a tag, in one call."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer = self._ecr.describe_images(repositoryName=self.repository, imageIds=[{"imageTag": tag}])
        except self._ecr.exceptions.ImageNotFoundException:
            return None
        except (ClientError, BotoCoreError) as error:
            self._refuse("look for images in", error)
        for detail in answer["imageDetails"]:
            self._account = detail["registryId"]
            self._host = self._host or account_host(self._ecr, self._account)
            return _image(detail)
        return None

    def images(self) -> Iterator[RegistryImage]:
        """All images with a tag."""
        from botocore.exceptions import BotoCoreError, ClientError

        pages = self._ecr.get_paginator("describe_images").paginate(
            repositoryName=self.repository,
            filter={"tagStatus": "TAGGED"},
            PaginationConfig={"PageSize": 1000},
        )
        try:
            for page in pages:
                yield from map(_image, page["imageDetails"])
        except (ClientError, BotoCoreError) as error:
            self._refuse("list the images of", error)

    def owner(self) -> str:
        """The GitLab project that the model belongs to, empty if Terraform names none.

        In one call, and in two where no image was found before.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            tags = self._ecr.list_tags_for_resource(resourceArn=self._arn())["tags"]
        except (ClientError, BotoCoreError) as error:
            self._refuse("read the tags of", error)
        return next((tag["Value"] for tag in tags if tag["Key"] == OWNER_TAG), "")

    def _arn(self) -> str:
        """ECR needs the ARN to read tags; look it up unless an image has already shown the account."""
        if not self._account:
            answer = self._ecr.describe_repositories(repositoryNames=[self.repository])
            return answer["repositories"][0]["repositoryArn"]
        meta = self._ecr.meta
        return f"arn:{meta.partition}:ecr:{meta.region_name}:{self._account}:repository/{self.repository}"

    @property
    def uri(self) -> str:
        """What an image's URI begins with: `<host>/<repository>`; asks ECR only if it cannot be known."""
        if not self._host:
            self._host = self.login.url.partition("://")[2]
        return f"{self._host}/{self.repository}"

    @cached_property
    def login(self) -> Login:
        """Credentials for the OCI side."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            (grant,) = self._ecr.get_authorization_token()["authorizationData"]
        except (ClientError, BotoCoreError) as error:
            self._refuse("log in to", error)
        user, _, password = base64.b64decode(grant["authorizationToken"]).decode().partition(":")
        return Login(url=grant["proxyEndpoint"].rstrip("/"), user=user, password=password)

    def labels(self, digest: str) -> dict[str, str]:
        """The labels of an image; of an index, those of its first image."""
        manifest = json.loads(self._manifest(digest).content)
        if manifest.get("mediaType") in _INDEX_TYPES:
            real = [one for one in manifest["manifests"] if one.get("platform", {}).get("os") != "unknown"]
            return self.labels(real[0]["digest"]) if real else {}
        config = self._request("GET", f"blobs/{manifest['config']['digest']}").json()
        labels: dict[str, str] = (config.get("config") or {}).get("Labels") or {}
        return labels

    def flaw(self, digest: str) -> str:
        """What SageMaker does not take of a pushed image, as a cause; empty when it takes all of it.

        The registry is asked: which types an engine pushes is known only after the push.
        """
        answer = self._manifest(digest)
        manifest = json.loads(answer.content)
        if flaw := _type_flaw(manifest.get("mediaType") or answer.headers["Content-Type"]):
            return flaw
        config = self._request("GET", f"blobs/{manifest['config']['digest']}").json()
        platform = f"{config.get('os')}/{config.get('architecture')}"
        return "" if platform == PLATFORM else f"it is for {platform}, and SageMaker's jobs run on {PLATFORM}"

    def tag(self, digest: str, tag: str) -> None:
        """Give an image one more tag."""
        manifest = self._manifest(digest)
        self.put_manifest(manifest.content, tag, manifest.headers["Content-Type"])

    def put_blob(self, content: bytes, digest: str) -> None:
        """Upload a layer or config, unless it is there."""
        if self._request("HEAD", f"blobs/{digest}", missing_is_fine=True).status_code == 200:
            return
        place = self._request("POST", "blobs/uploads/").headers["Location"]
        headers = {"Content-Type": "application/octet-stream"}
        self._request("PUT", place, params={"digest": digest}, data=content, headers=headers)

    def put_manifest(self, content: bytes, tag: str, media_type: str = MANIFEST_TYPE) -> None:
        """Publish an image under a tag; refused if the tag exists already."""
        self._request("PUT", f"manifests/{tag}", data=content, headers={"Content-Type": media_type})

    def _manifest(self, digest: str) -> requests.Response:
        return self._request("GET", f"manifests/{digest}", headers={"Accept": ", ".join(_MANIFEST_TYPES)})

    @cached_property
    def _session(self) -> requests.Session:
        import requests
        from requests.adapters import HTTPAdapter
        from urllib3.util import Retry

        session = requests.Session()
        session.auth = (self.login.user, self.login.password)
        retries = Retry(
            total=4,
            backoff_factor=0.5,
            status_forcelist=(429, 500, 502, 503, 504),
            allowed_methods=None,  # blobs and manifests are addressed by their content: again is the same
            raise_on_status=False,
        )
        session.mount(self.login.url, HTTPAdapter(max_retries=retries))
        return session

    def _request(
        self, method: str, place: str, *, missing_is_fine: bool = False, **options: Any
    ) -> requests.Response:
        import requests
        from requests.compat import urljoin

        home = f"{self.login.url}/v2/{self.repository}/"
        url = urljoin(home, place)
        if not url.startswith(home):  # our password goes nowhere else
            raise RegistryError(f"The registry {self.uri} sends us elsewhere", cause=f"to {url}")
        try:
            answer = self._session.request(method, url, timeout=_SECONDS, **options)
        except requests.RequestException as error:
            raise RegistryError(
                f"The registry {self.uri} does not answer",
                cause=str(error),
                next_step="Run the job again; if it stays, look at the network between runner and registry.",
            ) from error
        if answer.ok or (missing_is_fine and answer.status_code == 404):
            return answer
        cause = f"HTTP {answer.status_code}: {_problem(answer)}"
        if answer.status_code in {401, 403}:
            raise AuthenticationError(
                f"The registry {self.uri} refuses us",
                cause=cause,
                next_step="Grant the job's role to read and push images of this repository.",
            )
        raise RegistryError(
            f"The registry {self.uri} refused to {_VERBS[method]} {place.partition('/')[0]}",
            cause=cause,
            next_step="Look at the cause; the job may be run again.",
        )

    def _refuse(self, verb: str, error: ClientError | BotoCoreError) -> NoReturn:
        code = getattr(error, "response", {}).get("Error", {}).get("Code", "")
        if code == "RepositoryNotFoundException":
            raise RegistryError(
                f"There is no repository {self.repository} in the registry",
                cause=str(error),
                next_step=f"Add {self.repository} to terraform/root/models.auto.tfvars and apply it.",
            ) from error
        if code == "AccessDeniedException":
            raise AuthenticationError(
                f"The job's role may not {verb} {self.repository}",
                cause=str(error),
                next_step="Grant it what ml-ops-build may: ecr:DescribeImages, ecr:DescribeRepositories and"
                " ecr:ListTagsForResource on this repository, and ecr:GetAuthorizationToken.",
            ) from error
        raise RegistryError(
            f"Cannot {verb} {self.repository}",
            cause=str(error),
            next_step="Run the job again; if it stays, look at the account and the network between.",
        ) from error


_VERBS = {"GET": "give", "HEAD": "show", "POST": "take", "PUT": "take"}


def account_host(ecr: ECRClient, account: str) -> str:
    """The host name of an account's registry; empty if the client does not talk to AWS itself.

    https://docs.aws.amazon.com/AmazonECR/latest/userguide/Registries.html
    """
    region = ecr.meta.region_name
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"{account}.dkr.ecr.{region}.{suffix}" if ecr.meta.endpoint_url.endswith(suffix) else ""


def unsupported(name: str, flaw: str, next_step: str) -> UnsupportedImageError:
    """The refusal of an image."""
    return UnsupportedImageError(f"SageMaker does not take the image {name}", cause=flaw, next_step=next_step)


def _type_flaw(media_type: str) -> str:
    return "" if media_type == MANIFEST_TYPE else f"its manifest is {media_type}, and must be {MANIFEST_TYPE}"


def _image(detail: Any) -> RegistryImage:
    return RegistryImage(
        digest=detail["imageDigest"],
        tags=tuple(detail.get("imageTags", ())),
        pushed_at=detail["imagePushedAt"],
        media_type=detail.get("imageManifestMediaType", ""),
    )


def _problem(answer: requests.Response) -> str:
    """The registry's own words (error codes of the distribution specification)."""
    try:
        return "; ".join(f"{one['code']}: {one.get('message', '')}" for one in answer.json()["errors"])
    except (ValueError, KeyError, TypeError):
        return answer.text.strip()[:300] or answer.reason
