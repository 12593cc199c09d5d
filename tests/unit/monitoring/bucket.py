"""S3 in memory, and captured requests as SageMaker writes them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from mlops.base.errors import StorageError
from mlops.base.strict_json import dumps, loads
from mlops.clients.aws.s3 import StoredObject, split_uri

NAME = "ml-ops-test"
NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)


@dataclass
class Bucket:
    """What monitoring needs of `clients.storage.Storage`; counts what is asked of it."""

    objects: dict[str, bytes] = field(default_factory=dict)
    listings: list[str] = field(default_factory=list)
    read: int = 0

    def put(self, key: str, content: str | bytes) -> None:
        self.objects[key] = content.encode() if isinstance(content, str) else content

    def listing(self, prefix: str) -> Iterator[StoredObject]:
        key = split_uri(prefix)[1]
        self.listings.append(key)
        for name in sorted(self.objects):
            if name.startswith(key):
                yield StoredObject(name, len(self.objects[name]), "etag", NOW)

    def lines(self, uri: str, limit: int) -> Iterator[bytes]:
        content = self.objects[split_uri(uri)[1]]
        self.read += min(limit, len(content))
        whole = content[:limit].splitlines(keepends=True)
        yield from whole if limit >= len(content) or whole[-1].endswith(b"\n") else whole[:-1]

    def exists(self, uri: str) -> bool:
        return split_uri(uri)[1] in self.objects

    def read_record(self, record: Any, uri: str) -> Any:
        if not self.exists(uri):
            raise StorageError(f"{uri} does not exist")
        return loads(record, self.objects[split_uri(uri)[1]], uri)

    def write_record(self, record: object, uri: str) -> None:
        self.put(split_uri(uri)[1], dumps(record))


def event(
    request: Any,
    answer: Any = None,
    *,
    time: datetime = NOW,
    content_type: str = "application/json",
    encoding: str = "JSON",
) -> str:
    """A line of a capture file."""

    def payload(body: Any, mode: str) -> dict[str, str]:
        text = body if isinstance(body, str) else json.dumps(body)
        data = base64.b64encode(text.encode()).decode() if encoding == "BASE64" else text
        return {"observedContentType": content_type, "mode": mode, "data": data, "encoding": encoding}

    data = {"endpointInput": payload(request, "INPUT")}
    if answer is not None:
        data["endpointOutput"] = payload(answer, "OUTPUT")
    metadata = {"eventId": "1", "inferenceTime": time.strftime("%Y-%m-%dT%H:%M:%SZ")}
    return json.dumps({"captureData": data, "eventMetadata": metadata, "eventVersion": "0"}) + "\n"
