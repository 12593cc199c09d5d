"""A hook of MkDocs: links that leave `docs/` lead to the project's files, and those files must be there.

In GitLab such a link works as it is written. On the site it becomes the file's page in GitLab, at the release
or commit that the site is built from; without a pipeline, the file of this checkout.
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
# A warning in MkDocs' own log ends a build with --strict.
_LOG = logging.getLogger("mkdocs.hooks.site_links")


def on_page_markdown(markdown: str, /, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the page's Markdown with its outward links in the form of the site."""
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

    return _LINK.sub(replace, markdown)


def address(file: Path, path: str, config: MkDocsConfig) -> str:
    """Where a reader of the site finds a file of the repository."""
    project, ref = config.repo_url, config.extra.get("ref")
    if not project or not ref:
        return file.resolve().as_uri()
    return f"{project.rstrip('/')}/-/{'tree' if file.is_dir() else 'blob'}/{ref}/{path}"
