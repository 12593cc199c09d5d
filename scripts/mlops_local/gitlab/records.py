"""JSON files that the local GitLab and the pipelines of other processes share."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def read(file: Path) -> Record:
    """The document; empty when there is none yet."""
    try:
        document: Record = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return document


@contextmanager
def edit(file: Path) -> Iterator[Record]:
    """Change the document while nobody else does; it is written in one step, and not after an error."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(f".{file.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        document = read(file)
        yield document
        draft = file.with_name(f".{file.name}.part")
        draft.write_text(json.dumps(document, indent=1), encoding="utf-8")
        draft.replace(file)
