"""What the README shows works as shown."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from mlops.manifest import reader

CHECKOUT = Path(__file__).parents[2]
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")


def block(first_line: str) -> str:
    found = [
        text for text in re.findall(r"```\w*\n(.*?)```", README, re.DOTALL) if text.startswith(first_line)
    ]
    assert len(found) == 1
    return str(found[0])


def test_the_manifest_in_the_readme_is_valid(tmp_path: Path) -> None:
    (tmp_path / "mlops.yml").write_text(block("# mlops.yml"), encoding="utf-8")
    assert reader.load(tmp_path / "mlops.yml").model().repository == "web-safety/phishing-url"


def test_the_include_in_the_readme_is_the_examples() -> None:
    shown = yaml.safe_load(block("# .gitlab-ci.yml"))
    example = yaml.safe_load((CHECKOUT / "examples/phishing-url/.gitlab-ci.yml").read_text(encoding="utf-8"))
    assert shown == example
    assert (CHECKOUT / shown["include"][0]["file"]).is_file()


def test_every_link_of_the_docs_leads_somewhere() -> None:
    pages = [
        CHECKOUT / "README.md",
        CHECKOUT / "CONTRIBUTING.md",
        *(CHECKOUT / "docs").rglob("*.md"),
        CHECKOUT / "terraform" / "README.md",
    ]
    links = [
        (page, link)
        for page in pages
        for link in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    ]
    inner = [(page, link) for page, link in links if "://" not in link]
    assert len(inner) > 5
    assert [(page.name, link) for page, link in inner if not (page.parent / link).exists()] == []
