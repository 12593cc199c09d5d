"""Data capture: an endpoint's requests and answers as JSON lines on S3, written with the model's role.

Below the configuration's destination: `<endpoint>/<variant>/yyyy/mm/dd/hh/mm-ss-mmm-<uuid>.jsonl`
https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-data-capture-endpoint.html
SageMaker collects for minutes before it writes a file; here it is a moment.
"""

from __future__ import annotations

import base64
import json
import logging
import random
import threading
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from botocore.exceptions import BotoCoreError, ClientError

from mlops_local.aws.sagemaker import objects
from mlops_local.aws.sagemaker.store import Record
from mlops_local.aws.sdk import Sdk

_LOG = logging.getLogger(__name__)
_SECONDS = 0.5
_LINES_LIMIT = 1000

Mode = Literal["Input", "Output"]


@dataclass(frozen=True, kw_only=True)
class Payload:
    """A request's or an answer's body."""

    content_type: str
    body: bytes


@dataclass
class Capture:
    """What one variant of an endpoint keeps."""

    sdk: Sdk
    settings: Record
    """The configuration's DataCaptureConfig."""
    folder: str
    """`<endpoint>/<variant>`."""
    _lines: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _due: threading.Timer | None = None

    def summary(self) -> Record:
        """A DataCaptureConfigSummary."""
        return {
            "EnableCapture": True,
            "CaptureStatus": "Started",
            "CurrentSamplingPercentage": self.settings["InitialSamplingPercentage"],
            "DestinationS3Uri": self.settings["DestinationS3Uri"],
            "KmsKeyId": self.settings.get("KmsKeyId", ""),
        }

    def keep(self, request: Payload, answer: Payload, inference_id: str | None) -> None:
        """Keep an invocation, if the dice say so; it is on S3 a moment later."""
        # which requests are kept is a matter of luck, not of secrecy
        if random.random() * 100 >= self.settings["InitialSamplingPercentage"]:  # noqa: S311
            return
        modes = {option["CaptureMode"] for option in self.settings["CaptureOptions"]}
        data = {}
        if modes & {"Input", "InputAndOutput"}:
            data["endpointInput"] = self._payload("INPUT", request)
        if modes & {"Output", "InputAndOutput"}:
            data["endpointOutput"] = self._payload("OUTPUT", answer)
        metadata = {
            "eventId": str(uuid.uuid4()),
            **({"inferenceId": inference_id} if inference_id else {}),
            "inferenceTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        line = json.dumps({"captureData": data, "eventMetadata": metadata, "eventVersion": "0"})
        with self._lock:
            self._lines.append(line)
            full = len(self._lines) >= _LINES_LIMIT
            if self._due is None:
                self._due = threading.Timer(_SECONDS, self.flush)
                self._due.daemon = True
                self._due.start()
        if full:
            self.flush()

    def flush(self) -> None:
        """Write what was kept so far."""
        with self._lock:
            lines, self._lines = self._lines, []
            if self._due is not None:
                self._due.cancel()
            self._due = None
        if not lines:
            return
        now = datetime.now(UTC)
        name = f"{now:%M-%S}-{now.microsecond // 1000:03d}-{uuid.uuid4()}.jsonl"
        uri = f"{self.settings['DestinationS3Uri'].rstrip('/')}/{self.folder}/{now:%Y/%m/%d/%H}/{name}"
        bucket, key = objects.split(uri)
        try:
            self.sdk.s3.put_object(Bucket=bucket, Key=key, Body=("\n".join(lines) + "\n").encode())
        except (ClientError, BotoCoreError):
            # An endpoint serves whether or not it can keep what it is asked.
            _LOG.warning("%d captured requests did not reach %s", len(lines), uri, exc_info=True)

    def _payload(self, mode: str, payload: Payload) -> dict[str, Any]:
        headers = self.settings.get("CaptureContentTypeHeader") or {}
        plain = payload.content_type.partition(";")[0].strip().lower()
        encoding = "BASE64"
        for key, name in (("CsvContentTypes", "CSV"), ("JsonContentTypes", "JSON")):
            if plain in headers.get(key, []):
                encoding = name
        try:
            text = payload.body.decode() if encoding != "BASE64" else ""
        except UnicodeDecodeError:
            encoding = "BASE64"
        if encoding == "BASE64":
            text = base64.b64encode(payload.body).decode()
        return {
            "observedContentType": payload.content_type,
            "mode": mode,
            "data": text,
            "encoding": encoding,
        }


def capture_of(settings: Record, sdk: Sdk, folder: str) -> Capture | None:
    """What an endpoint configuration asks for; None if nothing is to be kept."""
    wanted = settings.get("DataCaptureConfig") or {}
    return Capture(sdk, wanted, folder) if wanted.get("EnableCapture", bool(wanted)) else None
