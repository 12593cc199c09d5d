"""A hook of MkDocs: what of our Markdown the site reads in another way than GitLab does.

A link that leaves `docs/` works in GitLab as it is written, and its file must be there. On the site it
becomes the file's page in GitLab, at the release or commit that the site is built from; without a
pipeline, the file of this checkout. A bar in a table's code is escaped in GitLab, where it would divide
cells, and not on the site.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

_LINK = re.compile(r"\]\((?P<path>\.\./[^)#\s]*)(?P<anchor>#[^)\s]*)?\)")
_CODE = re.compile(r"`[^`\n]+`")
# A warning in MkDocs' own log ends a build with --strict.
_LOG = logging.getLogger("mkdocs.hooks.site_markdown")


def on_page_markdown(markdown: str, /, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the page's Markdown in the form of the site."""
    del files
    docs = Path(config.docs_dir)
    folder = PurePosixPath(page.file.src_uri).parent

    def replace(link: re.Match[str]) -> str:
        path = os.path.normpath(docs.name / folder / link["path"])
        if PurePosixPath(path).is_relative_to(docs.name):
            return link[0]
        file = docs.parent / path
        if not file.exists():
            _LOG.warning("%s links to %s, which is not there", page.file.src_uri, link["path"])
        return f"]({address(file, path, config)}{link['anchor'] or ''})"

    return "\n".join(map(_plain_bars, _LINK.sub(replace, markdown).split("\n")))


def _plain_bars(line: str) -> str:
    return _CODE.sub(lambda code: code[0].replace("\\|", "|"), line) if line.startswith("|") else line


def address(file: Path, path: str, config: MkDocsConfig) -> str:
    """Where a reader of the site finds a file of the repository."""
    project, ref = config.repo_url, config.extra.get("ref")
    if not project or not ref:
        return file.resolve().as_uri()
    return f"{project.rstrip('/')}/-/{'tree' if file.is_dir() else 'blob'}/{ref}/{path}"
