"""Where a reader finds a page of the documents: the image of jobs has no folder `docs`.

No address is written here. The image knows which project and commit it was built from (the Dockerfile sets
both variables), so a job's log leads to the page as it was for that release.
"""

from __future__ import annotations

import os
import re

_CHECKOUT = os.path.abspath(f"{__file__}/../../../..")  # noqa: PTH100  # pathlib costs what `mlops --help` does
_PAGE = re.compile(r"(?<![\w./-])docs/[a-z/-]+\.md")


def address(page: str) -> str:
    """Return where a page such as `docs/reference/exit-codes.md` is: in GitLab, or in this checkout."""
    if base := _in_gitlab():
        return base + page
    file = f"{_CHECKOUT}/{page}"
    return file if os.access(file, os.R_OK) else f"{page} in the repository of ml-ops"


def with_addresses(text: str) -> str:
    """Return a text in which pages have their address in GitLab; unchanged if that is not known."""
    base = _in_gitlab()
    return _PAGE.sub(lambda page: base + page[0], text) if base else text


def _in_gitlab() -> str:
    source, revision = os.environ.get("MLOPS_SOURCE", ""), os.environ.get("MLOPS_REVISION", "")
    known = source.startswith(("https://", "http://")) and revision
    return f"{source.rstrip('/')}/-/blob/{revision}/" if known else ""
