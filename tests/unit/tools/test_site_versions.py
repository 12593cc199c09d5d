"""The site has a folder for each line of releases, built from its tag, and the list from which readers choose."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tools import site_versions
from tools.site_versions import newest, publish

SETTINGS = """\
site_name: small
site_url: !ENV [MLOPS_SITE_URL, ""]
copyright: !ENV [MLOPS_SITE_REF, ""]
plugins: []
"""


@pytest.fixture(name="repository")
def make_repository(tmp_path: Path) -> Path:
    """Releases 1.0.0, without a site, 1.1.0, 1.1.1 and 2.0.0, and the tags that follow them."""
    folder = tmp_path / "repository"
    (folder / "docs" / "guides").mkdir(parents=True)
    _git(folder, "init", "--quiet", "--initial-branch=main")
    (folder / "docs" / "index.md").write_text("# Home\n")
    (folder / "docs" / "guides" / "it.md").write_text("# It\n")
    _release(folder, "v1.0.0")
    (folder / "mkdocs.yml").write_text(SETTINGS)
    _release(folder, "v1.1.0")
    (folder / "docs" / "index.md").write_text("# Mended\n")
    _release(folder, "v1.1.1", "1.1", "1")
    (folder / "docs" / "index.md").write_text("# Second\n")
    _release(folder, "v2.0.0", "2.0", "2")
    (folder / "docs" / "index.md").write_text("# Not released\n")
    return folder


def _git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Ann", "-c", "user.email=ann@example.com")
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _release(folder: Path, *tags: str) -> None:
    _git(folder, "add", "--all")
    _git(folder, "commit", "--quiet", "--message", tags[0])
    for tag in tags:
        _git(folder, "tag", tag)


def test_of_each_line_the_newest_release_is_there() -> None:
    tags = ["v1.9.0", "v1.10.0", "v1.9.11", "v1.9.2", "1", "1.9", "models/v3.0.0", "v2.0.0-mr1.2"]

    assert [one.version for one in newest(tags)] == ["1.10.0", "1.9.11"]
    many = newest(f"v1.{minor}.0" for minor in range(30))
    assert (many[0].version, len(many)) == ("1.29.0", site_versions.LINES)


def test_every_release_has_its_own_words_and_address(repository: Path, tmp_path: Path) -> None:
    site = tmp_path / "public"

    built = publish(repository, site, "https://docs.example.com/ml-ops")

    assert [one.version for one in built] == ["2.0.0", "1.1.1"]
    assert json.loads((site / "versions.json").read_text()) == [
        {"version": "2.0", "title": "2.0.0", "aliases": ["2", "latest"]},
        {"version": "1.1", "title": "1.1.1", "aliases": ["1"]},
    ]
    for line, words, tag in (("2.0", "Second", "v2.0.0"), ("1.1", "Mended", "v1.1.1")):
        page = (site / line / "index.html").read_text()
        assert words in page and tag in page
        assert f'href="https://docs.example.com/ml-ops/{line}/"' in page
    assert "Not released" not in "".join(page.read_text() for page in site.rglob("*.html"))


def test_other_names_of_a_line_lead_to_the_same_page(repository: Path, tmp_path: Path) -> None:
    site = tmp_path / "public"

    publish(repository, site, "")

    for alias, line in (("latest", "2.0"), ("2", "2.0"), ("1", "1.1")):
        page = site / alias / "guides" / "it" / "index.html"
        assert f'url=../../../{line}/guides/it/"' in page.read_text()
        assert (page.parent / f"../../../{line}/guides/it/index.html").resolve().is_file()
        assert f'url=../{line}/"' in (site / alias / "index.html").read_text()
    assert 'url=latest/"' in (site / "index.html").read_text()
    # Nothing of the building stays in the clone.
    assert len(_git(repository, "worktree", "list").splitlines()) == 1


def test_without_a_release_that_has_a_site_nothing_is_published(repository: Path, tmp_path: Path) -> None:
    for tag in ("v1.1.0", "v1.1.1", "v2.0.0"):
        _git(repository, "tag", "--delete", tag)

    with pytest.raises(SystemExit, match="No release has a site"):
        publish(repository, tmp_path / "public", "")
