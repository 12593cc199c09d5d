"""One notification, as channels send it and as tasks hand it on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Message:
    """One notification in both forms; `subject` is also what Slack shows where it cannot show blocks."""

    subject: str
    body: str
    blocks: tuple[dict[str, Any], ...]
