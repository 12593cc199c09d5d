"""The registry behind ECR's repositories: what docker, BuildKit and oras need of the OCI distribution API.

https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md. Repositories and images are those of
moto's ECR, so DescribeImages and `docker pull` always agree; blobs are files. As in ECR, a repository is
created through the API (Terraform), never by a push, and an immutable tag refuses even the same image.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import hmac
import json
import re
import secrets
import threading
from typing import TYPE_CHECKING, Any

from werkzeug.wrappers import Request, Response

from mlops_local.base.config import LocalAwsConfig
from mlops_local.base.wire import json_response
from mlops_local.registry.blobs import DIGEST, Blobs, DigestError

if TYPE_CHECKING:
    from moto.ecr.models import Image, Repository

INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    *INDEXES,
)
MANIFEST_LIMIT = 4 * 1024 * 1024
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_ROUTE = re.compile(r"/v2/(?P<name>.+)/(?P<kind>blobs|manifests|tags|referrers)/(?P<reference>.*)")


class LocalRegistryError(Exception):
    """An error with a code of the distribution specification."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class LocalRegistry:
    """One account's registry."""

    def __init__(self, config: LocalAwsConfig) -> None:
        self._config = config
        self._blobs = Blobs(config.home / "registry")
        self._password = secrets.token_urlsafe(24)
        # Versions are decided by whose tag comes first: look and put are one step.
        self._manifests = threading.Lock()

    @property
    def blobs(self) -> Blobs:
        """The files behind the images."""
        return self._blobs

    @property
    def credentials(self) -> tuple[str, str]:
        """User and password, as GetAuthorizationToken gives them."""
        return "AWS", self._password

    def handle(self, request: Request) -> Response:
        """Answer a request below /v2/."""
        try:
            self._authenticate(request)
            answer = self._route(request)
        except LocalRegistryError as error:
            document = {"errors": [{"code": error.code, "message": error.message}]}
            answer = json_response(document, status=error.status)
            if error.status == 401:
                answer.headers["WWW-Authenticate"] = (
                    f'Basic realm="{self._config.endpoint}",service="ecr.amazonaws.com"'
                )
        answer.headers["Docker-Distribution-Api-Version"] = "registry/2.0"
        return answer

    def manifest(self, repository: str, reference: str) -> Image:
        """An image by tag or digest.

        Raises:
            RegistryError: when there is none.
        """
        for image in self._repository(repository).images:
            if reference in image.image_tags or reference == image.get_image_digest():
                return image
        raise LocalRegistryError(
            404, "MANIFEST_UNKNOWN", f"Requested image {repository}:{reference} not found"
        )

    def find(self, uri: str) -> Image | None:
        """An image by its URI; None if it is not in this registry."""
        host, _, rest = uri.partition("/")
        repository, separator, reference = rest.partition("@")
        if not separator:
            repository, _, reference = rest.partition(":")
        if host != self._config.registry:
            return None
        try:
            return self.manifest(repository, reference or "latest")
        except LocalRegistryError:
            return None

    def _authenticate(self, request: Request) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        try:
            given = base64.b64decode(token, validate=True) if scheme.lower() == "basic" else b""
        except ValueError:
            given = b""
        if not hmac.compare_digest(given, ":".join(self.credentials).encode()):
            raise LocalRegistryError(401, "UNAUTHORIZED", "authentication required")

    def _route(self, request: Request) -> Response:
        if request.path in ("/v2/", "/v2"):
            return json_response({})
        match = _ROUTE.fullmatch(request.path)
        if not match:
            raise LocalRegistryError(404, "UNSUPPORTED", "The operation is unsupported.")
        name, kind, reference = match["name"], match["kind"], match["reference"]
        repository = self._repository(name)
        if kind == "tags" and reference == "list" and request.method == "GET":
            tags = sorted({tag for image in repository.images for tag in image.image_tags})
            return json_response({"name": name, "tags": tags})
        if kind == "manifests":
            return self._manifest(request, repository, reference)
        if kind == "blobs" and reference.startswith("uploads/"):
            return self._upload(request, name, reference.removeprefix("uploads/"))
        if kind == "blobs":
            return self._blob(request, name, reference)
        raise LocalRegistryError(404, "UNSUPPORTED", "The operation is unsupported.")

    def _repository(self, name: str) -> Repository:
        from moto.ecr.models import ecr_backends

        found: Repository | None = ecr_backends[self._config.account][self._config.region].repositories.get(
            name
        )
        if found is None:
            account = self._config.account
            message = f"The repository with name '{name}' does not exist in the registry with id '{account}'"
            raise LocalRegistryError(404, "NAME_UNKNOWN", message)
        return found

    # -- blobs ------------------------------------------------------------------------------------------

    def _blob(self, request: Request, name: str, digest: str) -> Response:
        if request.method not in ("GET", "HEAD"):
            raise LocalRegistryError(405, "UNSUPPORTED", "The operation is unsupported.")
        if not DIGEST.fullmatch(digest):
            raise LocalRegistryError(400, "DIGEST_INVALID", f"{digest} is not a digest")
        path = self._blobs.path(name, digest)
        if not path.exists():
            raise LocalRegistryError(404, "BLOB_UNKNOWN", f"blob {digest} unknown to registry")
        size = path.stat().st_size
        answer = Response(
            None if request.method == "HEAD" else path.open("rb"),
            content_type="application/octet-stream",
            direct_passthrough=True,
        )
        answer.headers["Content-Length"] = str(size)
        answer.headers["Docker-Content-Digest"] = digest
        return answer

    def _upload(self, request: Request, name: str, upload: str) -> Response:
        digest = request.args.get("digest", "")
        if request.method == "POST" and not upload:
            return self._begin_upload(request, name, digest)
        size = self._blobs.size(name, upload)
        if size is None:
            raise LocalRegistryError(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
        if request.method == "DELETE":
            self._blobs.abandon(name, upload)
            return Response(status=204)
        if request.method == "GET":
            return self._accepted(name, upload, size, 204)
        if request.method not in ("PATCH", "PUT"):
            raise LocalRegistryError(405, "UNSUPPORTED", "The operation is unsupported.")
        begins = re.match(r"(?:bytes[ =])?(\d+)-", request.headers.get("Content-Range", ""))
        if begins and int(begins[1]) != size:
            raise LocalRegistryError(416, "BLOB_UPLOAD_INVALID", f"the next byte is {size}, not {begins[1]}")
        size = self._blobs.append(name, upload, request.stream)
        if request.method == "PATCH":
            return self._accepted(name, upload, size, 202)
        return self._finish_upload(name, upload, digest)

    def _begin_upload(self, request: Request, name: str, digest: str) -> Response:
        mount, source = request.args.get("mount", ""), request.args.get("from", "")
        if DIGEST.fullmatch(mount) and source:
            self._repository(source)
            if self._blobs.mount(name, mount, source):
                return self._created(f"/v2/{name}/blobs/{mount}", mount)
        upload = self._blobs.begin(name)
        if digest:  # everything in one request
            self._blobs.append(name, upload, request.stream)
            return self._finish_upload(name, upload, digest)
        return self._accepted(name, upload, 0, 202)

    def _finish_upload(self, name: str, upload: str, digest: str) -> Response:
        if not DIGEST.fullmatch(digest):
            raise LocalRegistryError(400, "DIGEST_INVALID", f"{digest!r} is not a digest")
        try:
            self._blobs.finish(name, upload, digest)
        except DigestError as error:
            raise LocalRegistryError(400, "DIGEST_INVALID", str(error)) from error
        return self._created(f"/v2/{name}/blobs/{digest}", digest)

    def _accepted(self, name: str, upload: str, size: int, status: int) -> Response:
        headers = {
            "Location": f"{self._config.endpoint}/v2/{name}/blobs/uploads/{upload}",
            "Docker-Upload-UUID": upload,
            "Range": f"0-{max(size - 1, 0)}",
        }
        return Response(status=status, headers=headers)

    def _created(self, path: str, digest: str) -> Response:
        headers = {"Location": self._config.endpoint + path, "Docker-Content-Digest": digest}
        return Response(status=201, headers=headers)

    # -- manifests --------------------------------------------------------------------------------------

    def _manifest(self, request: Request, repository: Repository, reference: str) -> Response:
        if request.method == "PUT":
            return self._put_manifest(request, repository, reference)
        if request.method not in ("GET", "HEAD"):
            raise LocalRegistryError(405, "UNSUPPORTED", "The operation is unsupported.")
        image = self.manifest(repository.name, reference)
        body = image.image_manifest.encode()
        answer = Response(body, content_type=image.image_manifest_media_type or MANIFESTS[0])
        answer.headers["Docker-Content-Digest"] = image.get_image_digest()
        return answer

    def _put_manifest(self, request: Request, repository: Repository, reference: str) -> Response:
        body = request.stream.read(MANIFEST_LIMIT + 1)
        if len(body) > MANIFEST_LIMIT:
            raise LocalRegistryError(413, "SIZE_INVALID", "the manifest is larger than 4 MiB")
        digest = "sha256:" + hashlib.sha256(body).hexdigest()
        tag = None if DIGEST.fullmatch(reference) else reference
        if tag is None and reference != digest:
            raise LocalRegistryError(400, "DIGEST_INVALID", f"the manifest's digest is {digest}")
        if tag is not None and not _TAG.fullmatch(tag):
            raise LocalRegistryError(400, "TAG_INVALID", f"{tag!r} is not a tag")
        media_type = self._check_manifest(repository, body, request.mimetype)
        with self._manifests:
            self._store(repository, body.decode(), media_type, digest, tag)
        return self._created(f"/v2/{repository.name}/manifests/{digest}", digest)

    def _check_manifest(self, repository: Repository, body: bytes, content_type: str) -> str:
        """Refuse a manifest whose parts have not been pushed; its media type otherwise."""
        try:
            document: dict[str, Any] = json.loads(body)
            media_type = document.get("mediaType") or content_type
            parts = document["manifests"] if media_type in INDEXES else _layers(document)
            digests = [str(part["digest"]) for part in parts]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LocalRegistryError(400, "MANIFEST_INVALID", f"manifest invalid: {error!r}") from error
        if media_type not in MANIFESTS:
            raise LocalRegistryError(400, "MANIFEST_INVALID", f"media type {media_type!r} is not supported")
        for digest in digests:
            if not DIGEST.fullmatch(digest):
                raise LocalRegistryError(400, "MANIFEST_INVALID", f"{digest!r} is not a digest")
            if media_type in INDEXES:
                self.manifest(repository.name, digest)
            elif not self._blobs.path(repository.name, digest).exists():
                raise LocalRegistryError(404, "MANIFEST_BLOB_UNKNOWN", f"blob {digest} unknown to registry")
        return str(media_type)

    def _store(
        self, repository: Repository, manifest: str, media_type: str, digest: str, tag: str | None
    ) -> None:
        from moto.ecr.models import ecr_backends

        tagged = tag is not None and any(tag in image.image_tags for image in repository.images)
        if tag is not None and tagged and immutable(repository, tag):
            raise LocalRegistryError(
                400,
                "TAG_INVALID",
                f"The image tag '{tag}' already exists in the '{repository.name}' repository and cannot be "
                "overwritten because the repository is immutable.",
            )
        known = next((image for image in repository.images if image.get_image_digest() == digest), None)
        if known is not None and (tag is None or tag in known.image_tags):
            return
        backend = ecr_backends[self._config.account][self._config.region]
        # moto types the tag as a string and takes None for a manifest that is only known by its digest
        backend.put_image(repository.name, manifest, tag, media_type, digest)  # type: ignore[arg-type]


def immutable(repository: Repository, tag: str) -> bool:
    """Whether a tag that exists may not be pushed again, exclusion filters (`src-*`) included."""
    mutability = str(getattr(repository.image_tag_mutability, "value", repository.image_tag_mutability))
    filters = repository.image_tag_mutability_exclusion_filters or []
    excluded = any(fnmatch.fnmatchcase(tag, one["filter"]) for one in filters)
    return mutability.startswith("IMMUTABLE") != excluded


def _layers(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    # layers with URLs of their own ("foreign") are never pushed
    return [manifest["config"], *(layer for layer in manifest["layers"] if not layer.get("urls"))]
