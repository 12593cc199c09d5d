"""The costs that the documents tell are computed from prices, values and Terraform files."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tools import cost_tables

CHECKOUT = Path(__file__).parents[3]
TERRAFORM = CHECKOUT / "terraform"
ROW = re.compile(r"^\| (?P<what>[^|]+) \|[^|]*\| (?P<usd>[^a-z]+) \|$")


@pytest.fixture(name="prices")
def read_prices() -> dict[str, Any]:
    prices: dict[str, Any] = json.loads(
        (CHECKOUT / "docs" / "operate" / "prices.json").read_text(encoding="utf-8")
    )
    return prices


@pytest.fixture(name="terraform")
def copy_terraform(tmp_path: Path) -> Path:
    return shutil.copytree(TERRAFORM, tmp_path / "terraform", ignore=shutil.ignore_patterns(".terraform"))


def rows(chapter: str) -> dict[str, list[float]]:
    document = (CHECKOUT / "docs" / "operate" / "costs.md").read_text(encoding="utf-8")
    part = document.split(f"### {chapter}\n")[1].split("\n### ")[0]
    matches = [match for match in map(ROW.match, part.splitlines()) if match]
    return {
        match["what"]: [float(usd.replace(",", "")) for usd in match["usd"].split(" | ")] for match in matches
    }


def test_the_document_is_current(prices: dict[str, Any]) -> None:
    document = (CHECKOUT / "docs" / "operate" / "costs.md").read_text(encoding="utf-8")
    assert cost_tables.renewed(document, TERRAFORM, prices) == document, "run: python -m tools.cost_tables"


@pytest.mark.parametrize("chapter", ["Always", "By use, for a use that is assumed"])
def test_what_a_table_sums_up_is_in_it(chapter: str) -> None:
    found = rows(chapter)
    together = found.pop("**Together**")
    assert len(found) >= 7
    for number, total in enumerate(together):
        # each line is rounded to a cent
        assert total == pytest.approx(sum(usd[number] for usd in found.values()), abs=0.005 * len(found))


def test_the_budget_covers_what_is_there() -> None:
    found = rows("Both, and the budget")
    always, used = rows("Always")["**Together**"], rows("By use, for a use that is assumed")["**Together**"]
    for number, total in enumerate(found["Both"]):
        assert total == pytest.approx(always[number] + used[number], abs=0.02)
        left = found["Left for training and endpoints"][number]
        assert left == pytest.approx(found["Budget of the values files"][number] - total, abs=0.02)
        assert left > 0


def test_costs_follow_the_values(terraform: Path, prices: dict[str, Any]) -> None:
    file = terraform / "environments" / "dev" / "values.tfvars"
    text = file.read_text(encoding="utf-8")
    text = re.sub(r"airflow +=.*", 'airflow = { class = "mw1.medium", min_workers = 3 }', text)
    file.write_text(re.sub(r"network +=.*", "network = { zones = 3 }", text), encoding="utf-8")
    usd = {row.what: row.usd[0] for row in cost_tables.always(terraform, prices)}
    assert usd["MWAA: schedulers, web servers, one worker"] == pytest.approx(0.74 * 730)
    assert usd["MWAA: further workers that always run"] == pytest.approx(2 * 0.11 * 730)
    services = cost_tables.endpoints(terraform)
    assert usd["Interface endpoints"] == pytest.approx(services * 3 * 0.011 * 730)


def test_costs_follow_endpoints_and_models(terraform: Path, prices: dict[str, Any]) -> None:
    services, models = cost_tables.endpoints(terraform), cost_tables.models(terraform)
    assert services > 5 and models >= 1
    network = terraform / "modules" / "network" / "variables.tf"
    text = network.read_text(encoding="utf-8")
    network.write_text(text.replace('"airflow.api", ', ""), encoding="utf-8")
    assert cost_tables.endpoints(terraform) == services - 1

    before = {row.what: row.usd[0] for row in cost_tables.always(terraform, prices)}
    listed = terraform / "root" / "models.auto.tfvars"
    text = listed.read_text(encoding="utf-8")
    listed.write_text(text.replace("= {\n  ", '= {\n  fraud = {\n    cards = "models/fraud"\n  }\n  ', 1))
    after = {row.what: row.usd[0] for row in cost_tables.always(terraform, prices)}
    assert cost_tables.models(terraform) == models + 1
    assert after["Dashboards"] - before["Dashboards"] == pytest.approx(3)
    assert after["Alarms"] - before["Alarms"] == pytest.approx(0.7)


def test_a_value_that_is_nowhere_is_named(terraform: Path) -> None:
    file = terraform / "environments" / "prod" / "values.tfvars"
    file.write_text(re.sub(r"budget +=.*", "", file.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(SystemExit, match="monthly_usd is neither in the values nor"):
        cost_tables.environments(terraform)


def test_every_price_tells_where_it_is_from(prices: dict[str, Any]) -> None:
    assert (prices["currency"], prices["region"]) == ("USD", "eu-west-1")
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", prices["read"])
    for name, price in prices["prices"].items():
        assert price["usd"] > 0 and price["what"] and price["per"], name
        assert price["region"] in {"eu-west-1", "us-east-1", "every region"}, name
        assert price["source"].startswith("https://"), name
        assert price["dated"] is None or re.fullmatch(r"\d{4}-\d{2}-\d{2}", price["dated"]), name


def test_the_lambdas_alarms_are_counted() -> None:
    text = (TERRAFORM / "modules" / "dag-trigger" / "failures.tf").read_text(encoding="utf-8")
    of_the_lambda = re.search(r"lambda_alarms = \{\n(.*?)^  \}", text, re.MULTILINE | re.DOTALL)
    assert of_the_lambda
    counted = len(re.findall(r"^    \w+ = \{$", of_the_lambda[1], re.MULTILINE))
    others = text.count('resource "aws_cloudwatch_metric_alarm"') - 1
    assert counted + others == cost_tables.ALARM_METRICS_OF_THE_LAMBDA
