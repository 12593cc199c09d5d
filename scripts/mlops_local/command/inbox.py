"""`mlops local inbox`: what the channels received, as a person would read it."""

from __future__ import annotations

import json
from typing import Any

from mlops.base.result import Outcome
from mlops_local.stack.stack import Stack, require


def messages(stack: Stack) -> list[dict[str, Any]]:
    """Every message since the stack came up, oldest first."""
    file = stack.folder / "aws" / "inbox.jsonl"
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]


def inbox(name: str) -> Outcome:
    """The messages of a running stack.

    Raises:
        LocalStackError: when it is not up.
    """
    received = messages(require(name))
    blocks = [
        f"{message['at']}  {message['channel']} to {message['to']}\n  {message['subject']}\n"
        + "\n".join(f"    {line}" for line in message["text"].splitlines())
        for message in received
    ]
    return Outcome(summary="\n\n".join(blocks) or "The inbox is empty", data={"messages": received})
