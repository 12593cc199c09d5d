"""What e-mail and Slack would have received, one JSON line a message in `<home>/inbox.jsonl`.

    {"at": "2026-01-31T12:00:00Z", "channel": "email" | "slack", "to": ..., "subject": ..., "text": ...}

Slack's incoming webhook answers as Slack does, and on demand as it does on a bad day:
https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
"""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from werkzeug.wrappers import Request, Response

from mlops_local.base.wire import json_response

# https://docs.slack.dev/reference/block-kit/blocks
BLOCK_LIMIT = 50
SECTION_LIMIT = 3000


class Inbox:
    """The messages of one stack."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()

    def deliver(self, channel: str, to: str, subject: str, text: str, **more: object) -> None:
        """Append one message."""
        message = {
            "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "channel": channel,
            "to": to,
            "subject": subject,
            "text": text,
            **more,
        }
        with self._lock, self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(message) + "\n")

    def messages(self) -> list[dict[str, Any]]:
        """All messages, oldest first."""
        with self._lock:
            if not self._file.exists():
                return []
            return [json.loads(line) for line in self._file.read_text(encoding="utf-8").splitlines()]


class SlackInbox:
    """An incoming webhook below `/slack/`."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._lock = threading.Lock()
        self._faults: list[tuple[int, int]] = []

    def set_faults(self, request: Request) -> Response:
        """Answer the next `count` messages with `status`: `{"status": 429, "count": 2, "retry_after": 1}`."""
        try:
            wanted = json.loads(request.get_data())
            fault = (int(wanted["status"]), int(wanted.get("retry_after", 1)))
            count = int(wanted.get("count", 1))
        except (ValueError, KeyError, TypeError) as error:
            return json_response({"error": f"no fault: {error!r}"}, status=400)
        with self._lock:
            self._faults = [fault] * count
        return json_response({"faults": count})

    def webhook(self, request: Request) -> Response:
        """Take one message."""
        path = request.path.removeprefix("/slack/").strip("/")
        if not path.startswith("services/"):
            return _plain("no_service", 404)
        with self._lock:
            fault = self._faults.pop(0) if self._faults else None
        if fault is not None:
            return _fault(*fault)
        try:
            payload, text = _read(request)
        except _RefusedError as error:
            return _plain(str(error), 400)
        subject = next((line.strip() for line in text.splitlines() if line.strip()), "")
        # the last part of a webhook's path is its secret
        self._inbox.deliver("slack", path.rpartition("/")[0], subject, text, payload=payload)
        return _plain("ok", 200)


class _RefusedError(Exception):
    """Slack does not take the message; the text is Slack's word for why."""


def _read(request: Request) -> tuple[dict[str, Any], str]:
    """A message, and what a person would read of it."""
    if request.method != "POST":
        raise _RefusedError("invalid_payload")
    try:
        payload: dict[str, Any] = json.loads(request.get_data())
        text = _text(payload)
    except (ValueError, TypeError, AttributeError) as error:
        raise _RefusedError("invalid_payload") from error
    if not text:
        raise _RefusedError("no_text")
    return payload, text


def _text(payload: dict[str, Any]) -> str:
    """Everything a person would read of a message: its text and its blocks."""
    attachments = payload.get("attachments") or []
    blocks = [*(payload.get("blocks") or []), *(b for a in attachments for b in a.get("blocks") or [])]
    if len(blocks) > BLOCK_LIMIT:
        raise _RefusedError("invalid_blocks")
    texts = [payload.get("text") or "", *(a.get("text") or "" for a in attachments)]
    for block in blocks:
        parts = [block.get("text"), *(block.get("fields") or []), *(block.get("elements") or [])]
        for part in parts:
            text = part.get("text") if isinstance(part, dict) else part
            if isinstance(text, dict):  # a button's label
                text = text.get("text")
            if not isinstance(text, str):
                continue
            if len(text) > SECTION_LIMIT:
                raise _RefusedError("invalid_blocks")
            texts.append(text)
    return "\n".join(text for text in texts if text)


def _fault(status: int, retry_after: int) -> Response:
    answer = _plain("rate_limited" if status == 429 else "internal_error", status)
    if status == 429:
        answer.headers["Retry-After"] = str(retry_after)
    return answer


def _plain(text: str, status: int) -> Response:
    return Response(text, status=status, content_type="text/plain")
