"""Writes the tables of `docs/operate/costs.md`: `python -m tools.cost_tables`.

Prices and assumed usage are in `docs/operate/prices.json`; what an environment has is read from its values
and from the Terraform files, which are as `terraform fmt` leaves them.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ENVIRONMENTS = ("dev", "stage", "prod")
# What modules/observability and modules/dag-trigger make; an alarm on an expression pays for each of its
# metrics.
ALARM_METRICS_OF_A_MODEL = 7
ALARM_METRICS_OF_AIRFLOW = 4
ALARM_METRICS_OF_THE_LAMBDA = 4
LAMBDA_GB = 0.25
DAYS_A_MONTH = 365 / 12

_BEGIN, _END = "<!-- tables -->\n", "<!-- end of tables -->\n"


@dataclass(frozen=True)
class Environment:
    """What of an environment's values costs money."""

    name: str
    airflow_class: str
    min_workers: int
    zones: int
    log_retention_days: int
    budget: float

    @property
    def retained_months(self) -> float:
        """How many months' logs there are at a time, once there are enough."""
        return self.log_retention_days / DAYS_A_MONTH


@dataclass(frozen=True)
class Row:
    """One kind of cost, in every environment."""

    what: str
    how: str
    usd: tuple[float, ...]


def environments(terraform: Path) -> list[Environment]:
    """The three real environments, as their values.tfvars and the root's defaults have them."""
    defaults = (terraform / "root" / "variables.tf").read_text(encoding="utf-8")
    found = []
    for name in ENVIRONMENTS:
        values = (terraform / "environments" / name / "values.tfvars").read_text(encoding="utf-8")

        def value(key: str, optional: str, text: str = values) -> str:
            match = re.search(rf'\b{key}\s*= "?([^",\s}}]+)', text) or re.search(
                optional, defaults, re.DOTALL
            )
            if match is None:
                raise SystemExit(f"{key} is neither in the values nor in root/variables.tf")
            return match[1]

        found.append(
            Environment(
                name=name,
                airflow_class=value("class", r'class\s+= optional\(string, "([^"]+)"\)'),
                min_workers=int(value("min_workers", r"min_workers\s+= optional\(number, (\d+)\)")),
                zones=int(value("zones", r"zones\s+= optional\(number, (\d+)\)")),
                log_retention_days=int(
                    value("log_retention_days", r'variable "log_retention_days" .*?default\s+= (\d+)')
                ),
                budget=float(value("monthly_usd", r"$^")),
            )
        )
    return found


def endpoints(terraform: Path) -> int:
    """How many interface endpoints the network has in each zone."""
    text = (terraform / "modules" / "network" / "variables.tf").read_text(encoding="utf-8")
    lists = re.findall(r'variable "\w+_endpoints" \{.*?default\s+= \[([^\]]*)\]', text, re.DOTALL)
    return len({service for entry in lists for service in re.findall(r'"([^"]+)"', entry)})


def models(terraform: Path) -> int:
    """How many models there are."""
    text = (terraform / "root" / "models.auto.tfvars").read_text(encoding="utf-8")
    return len(re.findall(r'^    [a-z0-9-]+\s*= "', text, re.MULTILINE))


def always(terraform: Path, prices: Mapping[str, Any]) -> list[Row]:
    """What is paid by the month, whatever happens."""
    price, hours = _usd(prices), prices["hours_a_month"]
    known = environments(terraform)
    services, count = endpoints(terraform), models(terraform)
    metrics = ALARM_METRICS_OF_A_MODEL * count + ALARM_METRICS_OF_AIRFLOW + ALARM_METRICS_OF_THE_LAMBDA

    def row(what: str, how: str, *usd: float) -> Row:
        return Row(what, how, usd if len(usd) > 1 else usd * len(known))

    return [
        row(
            "MWAA: schedulers, web servers, one worker",
            ", ".join(f"{one.name} {one.airflow_class}" for one in known),
            *(price[one.airflow_class] * hours for one in known),
        ),
        row(
            "MWAA: further workers that always run",
            ", ".join(f"{one.name} {one.min_workers - 1}" for one in known),
            *((one.min_workers - 1) * price[f"{one.airflow_class} worker"] * hours for one in known),
        ),
        row(
            "Interface endpoints",
            f"{services} services, in {', '.join(f'{one.zones} zones ({one.name})' for one in known)}",
            *(services * one.zones * price["endpoint"] * hours for one in known),
        ),
        row("KMS key", "1; each yearly rotation adds as much", price["key"]),
        row("Secret of the Slack connection", "1", price["secret"]),
        row("Dashboards", f"1 a model ({count}), 1 of the platform", (count + 1) * price["dashboard"]),
        row("Alarms", f"{metrics} metrics", metrics * price["alarm"]),
    ]


def usage(terraform: Path, prices: Mapping[str, Any]) -> list[Row]:
    """What is paid by use, for the use that `prices.json` assumes."""
    price, assumed = _usd(prices), prices["assumed"]
    known = environments(terraform)

    def row(what: str, key: str, unit: str, *usd: float) -> Row:
        return Row(what, " / ".join(f"{assumed[one.name][key]:,}" for one in known) + f" {unit}", usd)

    def each(key: str, usd: float) -> tuple[float, ...]:
        return tuple(assumed[one.name][key] * usd for one in known)

    second = LAMBDA_GB * price["lambda second"]
    return [
        row(
            "MWAA: workers added under load",
            "worker hours",
            "hours",
            *(assumed[one.name]["worker hours"] * price[f"{one.airflow_class} worker"] for one in known),
        ),
        row("MWAA: metadata database", "metadata GB", "GB", *each("metadata GB", price["metadata"])),
        row(
            "Data through interface endpoints",
            "endpoint GB",
            "GB",
            *each("endpoint GB", price["endpoint data"]),
        ),
        row("Logs written", "log GB", "GB", *each("log GB", price["logs"])),
        row(
            "Logs kept",
            "log GB",
            "GB a month, for as long as the values say",
            *(assumed[one.name]["log GB"] * one.retained_months * price["logs kept"] for one in known),
        ),
        row(
            "Metrics of evaluations",
            "evaluation metrics",
            "of challengers and champions",
            *each("evaluation metrics", price["metric"]),
        ),
        row("S3", "s3 GB", "GB", *each("s3 GB", price["s3"])),
        row("ECR", "ecr GB", "GB", *each("ecr GB", price["ecr"])),
        row(
            "Lambda",
            "lambda calls",
            "calls of a second",
            *each("lambda calls", price["lambda call"] + second),
        ),
    ]


def tables(terraform: Path, prices: Mapping[str, Any]) -> str:
    """Everything between the two marks of `docs/operate/costs.md`."""
    known = environments(terraform)
    fixed, used = always(terraform, prices), usage(terraform, prices)
    totals = [sum(row.usd[number] for row in fixed + used) for number in range(len(known))]
    rest = [one.budget - total for one, total in zip(known, totals, strict=True)]
    price, hours = _usd(prices), prices["hours_a_month"]
    hosted, evaluated = price["ml.m5.xlarge hosting"], 2 * price["ml.m5.xlarge processing"] / 4
    head = "| USD a month | counted | dev | stage | prod |\n|---|---|--:|--:|--:|"
    parts = [
        "### Always\n",
        head,
        *(_line(row.what, row.how, row.usd) for row in fixed),
        _line("**Together**", "", _sums(fixed)),
        "\n### By use, for a use that is assumed\n",
        head,
        *(_line(row.what, row.how, row.usd) for row in used),
        _line("**Together**", "", _sums(used)),
        "\n### Both, and the budget\n",
        head,
        _line("Both", "", totals),
        _line("Budget of the values files", "`budget`", [one.budget for one in known]),
        _line("Left for training and endpoints", "", rest),
        "\n### Training and endpoints, by use\n",
        "| what | USD |\n|---|--:|",
        f"| a training of an hour on one ml.m5.xlarge | {price['ml.m5.xlarge training']:.2f} |",
        f"| challenger and champion evaluated, a quarter of an hour each | {evaluated:.2f} |",
        f"| an endpoint of one ml.m5.xlarge, for a month | {hosted * hours:.2f} |",
        f"| an endpoint of two, for a month | {2 * hosted * hours:.2f} |",
        "\n### Prices\n",
        "| price | USD | per | region | dated | source |\n|---|--:|---|---|---|---|",
        *(_source(entry) for entry in prices["prices"].values()),
    ]
    return "\n".join(parts) + "\n"


def renewed(document: str, terraform: Path, prices: Mapping[str, Any]) -> str:
    """The document with current tables between its marks."""
    before, rest = document.split(_BEGIN)
    return f"{before}{_BEGIN}\n{tables(terraform, prices)}\n{_END}{rest.split(_END)[1]}"


def _usd(prices: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(entry["usd"]) for name, entry in prices["prices"].items()}


def _sums(rows: list[Row]) -> list[float]:
    return [sum(row.usd[number] for row in rows) for number in range(len(ENVIRONMENTS))]


def _line(what: str, how: str, usd: tuple[float, ...] | list[float]) -> str:
    return f"| {what} | {how} | " + " | ".join(f"{amount:,.2f}" for amount in usd) + " |"


def _source(entry: Mapping[str, Any]) -> str:
    usd = f"{entry['usd']:.10f}".rstrip("0")
    whole, _, fraction = usd.partition(".")
    copy = entry.get("read_in", "")
    read_in = (
        f", read in [a copy]({copy})" if copy.startswith("https://") else f", read in {copy}" if copy else ""
    )
    return (
        f"| {entry['what']} | {whole}.{fraction.ljust(2, '0')} | {entry['per']} | {entry['region']} "
        f"| {entry['dated'] or 'no date'} | [{_host(entry['source'])}]({entry['source']}){read_in} |"
    )


def _host(address: str) -> str:
    return address.split("/")[2]


def main(checkout: Path) -> None:
    """Renew the tables of `docs/operate/costs.md`."""
    prices = json.loads((checkout / "docs" / "operate" / "prices.json").read_text(encoding="utf-8"))
    file = checkout / "docs" / "operate" / "costs.md"
    old = file.read_text(encoding="utf-8")
    new = renewed(old, checkout / "terraform", prices)
    if new != old:
        file.write_text(new, encoding="utf-8")
        sys.stdout.write(f"{file}: tables renewed\n")


if __name__ == "__main__":
    main(Path())
