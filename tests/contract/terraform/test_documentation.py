"""The tables of every README are those of the module's variables and outputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import terraform_docs

TERRAFORM = Path(__file__).parents[3] / "terraform"
FOLDERS = terraform_docs.folders(TERRAFORM)

VARIABLES = """
variable "name" {
  description = "A name \\"so\\", a|b."
  type        = string
}

variable "shape" {
  description = "Its shape."
  type = object({
    width = number
  })
  default = {
    width = 1
  }
}
"""
OUTPUTS = 'output "arn" {\n  description = "Its ARN."\n  value       = 1\n}\n'


def test_the_roots_and_every_module_have_variables() -> None:
    assert {TERRAFORM / "root", *(TERRAFORM / "modules").iterdir()} <= set(FOLDERS)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_tables_are_current(folder: Path) -> None:
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert readme == terraform_docs.renewed(readme, folder), "Run: make terraform-docs"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_folder_is_listed(folder: Path) -> None:
    readme = (TERRAFORM / "README.md").read_text(encoding="utf-8")
    assert f"]({folder.relative_to(TERRAFORM)}/README.md)" in readme


def test_old_tables_are_replaced_and_the_rest_stays(tmp_path: Path) -> None:
    module = tmp_path / "modules" / "thing"
    module.mkdir(parents=True)
    (module / "variables.tf").write_text(VARIABLES, encoding="utf-8")
    (module / "outputs.tf").write_text(OUTPUTS, encoding="utf-8")
    readme = module / "README.md"
    readme.write_text(
        "# thing\n\nText.\n\n## Inputs\n\nold\n\n## Outputs\n\nold\n\n## More\n\nEnd.\n", encoding="utf-8"
    )
    terraform_docs.main(tmp_path)
    text = readme.read_text(encoding="utf-8")
    assert text.startswith("# thing\n\nText.\n\n## Inputs\n\n| name |")
    assert '| `name` | `string` | required | A name "so", a\\|b. |' in text
    assert "| `shape` | `object` | `{…}` | Its shape. |" in text
    assert text.endswith("| `arn` | Its ARN. |\n\n## More\n\nEnd.\n")
    assert "old" not in text


def test_a_new_module_gets_a_readme(tmp_path: Path) -> None:
    module = tmp_path / "modules" / "thing"
    module.mkdir(parents=True)
    (module / "variables.tf").write_text(VARIABLES, encoding="utf-8")
    (module / "outputs.tf").write_text(OUTPUTS, encoding="utf-8")
    terraform_docs.main(tmp_path)
    assert (module / "README.md").read_text(
        encoding="utf-8"
    ) == f"# thing\n\n{terraform_docs.tables(module)}\n"
