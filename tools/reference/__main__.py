"""Renews the generated parts of every page: `python -m tools.reference`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

# The Lambda's modules lie beside each other, as in its zip.
sys.path.insert(0, str(Path(__file__).parents[2] / "lambda_trigger"))

# pylint: disable=wrong-import-position
from tools.reference import commands, local_aws, manifest, records, tables, templates
from tools.reference.markdown import renewed


def pages(checkout: Path) -> dict[str, Mapping[str, str]]:
    """Return the generated parts of each page, by its path below `docs`."""
    keys = manifest.keys()
    monitoring = ("keys-of-monitoring", "keys-of-thresholds")
    return {
        "explain/architecture.md": {"stages": tables.stages(checkout)},
        "guides/monitoring.md": {name: keys[name] for name in monitoring},
        "operate/terraform.md": {"stateful": tables.stateful()},
        "reference/commands.md": {"commands": commands.commands()},
        "reference/dags.md": {"dags": tables.dags(checkout / "dags")},
        "reference/events.md": {"events": tables.events()},
        "reference/exit-codes.md": {"exit-codes": tables.exit_codes()},
        "reference/local-aws.md": {
            "operations": local_aws.operations(),
            "values": local_aws.values(),
            "services": local_aws.services(),
        },
        "reference/manifest.md": {**keys, "known-goals": manifest.known_goals()},
        "reference/records.md": {"records": records.records(checkout / "scripts" / "mlops")},
        "reference/templates.md": templates.inputs(checkout / "ci-templates"),
    }


def main(checkout: Path) -> None:
    """Renew every page that has generated parts."""
    for name, parts in pages(checkout).items():
        file = checkout / "docs" / name
        old = file.read_text(encoding="utf-8")
        new = renewed(old, parts)
        if new != old:
            file.write_text(new, encoding="utf-8")
            sys.stdout.write(f"{file}: renewed\n")


if __name__ == "__main__":
    main(Path())
