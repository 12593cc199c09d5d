"""The pages about templates name every template, input, default and job."""

from __future__ import annotations

import re
from typing import Any

import yaml

from mlops_local.base import paths


def _sections() -> dict[str, str]:
    pages = ("guides/pipeline.md", "reference/templates.md")
    text = "".join((paths.checkout() / "docs" / page).read_text(encoding="utf-8") for page in pages)
    parts = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_input_is_documented_with_its_default(templates: Any) -> None:
    sections = _sections()
    for template in templates.values():
        rows = dict(re.findall(r"^\| `([a-z0-9-]+)` \| (.*?) \|", sections[template.name], re.MULTILINE))
        assert set(rows) == set(template.inputs), template.name
        for name, spec in template.inputs.items():
            default = spec.get("default")
            where = f"{template.name}: {name}"
            if default is None:
                assert rows[name] == "required", where
            elif default == "":
                assert rows[name] == "empty", where
            elif not isinstance(default, list):
                shown = str(default).lower() if isinstance(default, bool) else str(default)
                assert rows[name] == f"`{shown}`", where


def test_every_job_has_a_row_in_the_table_of_rules(stages: Any) -> None:
    rows = re.findall(r"^\| ([a-z]+) \|", _sections()["When which job runs"], re.MULTILINE)

    assert sorted(set(rows) - {"job"}) == sorted(stages)


def test_the_documented_start_is_a_pipeline(planner: Any) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", _sections()["Start"], re.DOTALL)
    document = yaml.safe_load(block)
    (include,) = document["include"]
    assert (include.pop("project"), include.pop("ref")) == ("platform/ml-ops", "1")
    include["local"] = "/" + include.pop("file")

    assert len(planner(document)) == 7
