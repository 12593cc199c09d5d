"""Small images, made and pushed as any client of a registry would."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from .harness import LocalAws

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def sha256(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def layer(files: dict[str, str]) -> bytes:
    """A gzipped tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(text.encode()), 0o755
            archive.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        return str(self.document["errors"][0]["code"])


@dataclass(frozen=True)
class Pusher:
    """Talks to the registry with the credentials that ECR gives."""

    aws: LocalAws
    authorization: str

    @classmethod
    def login(cls, aws: LocalAws) -> Pusher:
        grant = aws.client("ecr").get_authorization_token()["authorizationData"][0]
        return cls(aws, f"Basic {grant['authorizationToken']}")

    def call(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        url = path if path.startswith("http") else self.aws.endpoint + path
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = Request(
            url,
            body if method in ("PUT", "POST", "PATCH") else None,
            method=method,
            headers={"Authorization": self.authorization, **named},
        )
        try:
            with urlopen(request, timeout=30) as answer:
                return Answer(answer.status, dict(answer.headers), answer.read())
        except HTTPError as error:
            return Answer(error.code, dict(error.headers), error.read())

    def push_blob(self, repository: str, content: bytes) -> str:
        digest = sha256(content)
        begun = self.call("POST", f"/v2/{repository}/blobs/uploads/")
        assert begun.status == 202, begun
        done = self.call("PUT", f"{begun.headers['Location']}?digest={digest}", content)
        assert done.status == 201, done
        return digest

    def manifest(self, repository: str, layers: list[bytes], config: dict[str, Any]) -> bytes:
        """Push all blobs of an image and return its manifest."""
        document = {"architecture": "amd64", "os": "linux", "config": config, "rootfs": {"type": "layers"}}
        text = json.dumps(document).encode()

        def descriptor(media_type: str, content: bytes) -> dict[str, Any]:
            digest = self.push_blob(repository, content)
            return {"mediaType": media_type, "digest": digest, "size": len(content)}

        return json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": descriptor(CONFIG, text),
                "layers": [descriptor(LAYER, one) for one in layers],
            }
        ).encode()

    def push(self, repository: str, tag: str, layers: list[bytes], config: dict[str, Any]) -> str:
        """Push an image and return its URI by digest."""
        manifest = self.manifest(repository, layers, config)
        answer = self.call("PUT", f"/v2/{repository}/manifests/{tag}", manifest, Content_Type=MANIFEST)
        assert answer.status == 201, answer
        return f"{self.aws.registry}/{repository}@{sha256(manifest)}"

    def program(self, repository: str, tag: str, script: str) -> str:
        """Push an image that runs one Python script."""
        return self.push(
            repository,
            tag,
            [layer({"opt/program/main.py": script})],
            {"Entrypoint": ["python", "main.py"], "WorkingDir": "/opt/program", "Env": ["FROM_IMAGE=yes"]},
        )
