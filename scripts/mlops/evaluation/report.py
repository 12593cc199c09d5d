"""The evaluation report of a job: a table for its log, evaluation.md, metrics.txt, annotations.json.

Names and labels come from a model's own container, so they are escaped where they become Markdown: a note in
a merge request must hold no command, mention or picture of somebody else's making.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlops.base.console import visible
from mlops.base.strict_json import dumps
from mlops.contracts.evidence import COMPARISON, Comparison, ConfusionMatrix, EvaluationReport
from mlops.notifications import metric_table
from mlops.notifications.metric_table import HEADERS, number

MARKDOWN = "evaluation.md"
METRICS = "metrics.txt"
ANNOTATIONS = "annotations.json"

_NUMBERS = ("left", "right", "right", "right", "left")
_CELL_LIMIT = 200
# A matrix of more classes than this is unreadable in a merge request; comparison and evaluation have it all.
_MATRIX_LIMIT = 30

Link = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """Everything a report is made from. `champion` is None when nothing was in production."""

    comparison: Comparison
    challenger: EvaluationReport
    champion: EvaluationReport | None
    evidence_uri: str
    links: tuple[Link, ...] = ()
    """Label and URL, in the order a person wants them."""


def verdict(comparison: Comparison) -> str:
    """The result in one line."""
    against = f"champion {comparison.champion}" if comparison.champion else "no champion"
    return f"{comparison.model} {comparison.challenger} against {against}: gate {comparison.gate}"


def table(comparison: Comparison) -> str:
    """Champion, challenger, change and gate of every metric, in aligned columns."""
    from tabulate import tabulate

    found = metric_table.rows(comparison, why=True)
    return tabulate(found, headers=HEADERS, tablefmt="simple", colalign=_NUMBERS, disable_numparse=True)


def write(directory: Path, evaluated: Evaluated) -> str:
    """Write all files of the report, and return the Markdown."""
    directory.mkdir(parents=True, exist_ok=True)
    text = markdown(evaluated)
    _write(directory / MARKDOWN, text)
    _write(directory / METRICS, open_metrics(evaluated))
    _write(directory / ANNOTATIONS, job_links(evaluated.links))
    _write(directory / COMPARISON, dumps(evaluated.comparison))
    return text


def write_failure(directory: Path, title: str, cause: str, next_step: str, links: Sequence[Link]) -> None:
    """The report of a training that failed: nothing to compare, but the same files to look into."""
    directory.mkdir(parents=True, exist_ok=True)
    lines = [f"## ✗ {_text(title)}", "", _code(cause), "", f"**Next:** {_text(next_step)}", ""]
    _write(directory / MARKDOWN, "\n".join(lines + _link_list(links)))
    _write(directory / ANNOTATIONS, job_links(links))


def markdown(evaluated: Evaluated) -> str:
    """The verdict and the table first; everything else folded away."""
    comparison = evaluated.comparison
    mark = "✓" if comparison.gate == "passed" else "✗"
    parts = [f"## {mark} {_text(verdict(comparison))}", "", _markdown_table(comparison), ""]
    if comparison.gate == "failed":
        parts += ["**Why the gate failed**", "", *(f"- {_text(why)}" for why in comparison.reasons()), ""]
        if "-" not in comparison.challenger:  # a merge request's pre-release never is deployed
            parts += [
                "The job `deploy` refuses this version, unless somebody overrides it with a reason.",
                "",
            ]
    parts += _link_list(evaluated.links)
    parts += _details("Other metrics", _others(evaluated))
    parts += _details("Confusion matrices", _matrices(evaluated))
    parts += _details("Slices", _slices(evaluated))
    parts += _details("Counts", _counts(evaluated))
    parts += _details("Where this comes from", _sources(evaluated))
    return "\n".join(parts).rstrip() + "\n"


def open_metrics(evaluated: Evaluated) -> str:
    """The metrics for GitLab's merge request widget, which compares equal names and labels of two branches.

    So no label holds a version: https://docs.gitlab.com/ci/testing/metrics_reports/
    """
    from prometheus_client import CollectorRegistry, Gauge
    from prometheus_client.openmetrics.exposition import generate_latest

    registry = CollectorRegistry()
    values = Gauge(
        "mlops_evaluation", "Metrics of evaluation.json", ["model", "role", "metric"], registry=registry
    )
    gate = Gauge("mlops_gate", "1 when the gate is passed", ["model"], registry=registry)
    model = evaluated.comparison.model
    gate.labels(model).set(evaluated.comparison.gate == "passed")
    for role, report in _roles(evaluated):
        for name, value in sorted(report.metrics.items()):
            # GitLab splits a line at its blanks.
            values.labels(model, role, re.sub(r"[^A-Za-z0-9_.:-]", "_", name)).set(value)
    text: bytes = generate_latest(registry)  # type: ignore[no-untyped-call]
    return text.decode()


def job_links(links: Iterable[Link]) -> str:
    """Links on the job's page.

    https://docs.gitlab.com/ci/yaml/artifacts_reports/#artifactsreportsannotations
    """
    section = [{"external_link": {"label": label, "url": url}} for label, url in _web(links)]
    return json.dumps({"Model evaluation": section}, indent=2) + "\n"


def _plain(value: float) -> str:
    """What is not a metric of the gate is often a count."""
    return f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e15 else number(value)


def _markdown_table(comparison: Comparison) -> str:
    found = [[_cell(value) for value in row] for row in metric_table.rows(comparison, why=True)]
    return _github(found, HEADERS, _NUMBERS)


def _github(rows: Sequence[Sequence[str]], headers: Sequence[str], alignment: Sequence[str]) -> str:
    from tabulate import tabulate

    return tabulate(rows, headers=headers, tablefmt="github", colalign=alignment, disable_numparse=True)


def _roles(evaluated: Evaluated) -> list[tuple[str, EvaluationReport]]:
    roles = [("challenger", evaluated.challenger)]
    return roles if evaluated.champion is None else [*roles, ("champion", evaluated.champion)]


def _others(evaluated: Evaluated) -> list[str]:
    """What the models report beside the metrics of the gate."""
    gated = {line.name for line in evaluated.comparison.metrics}
    names = sorted({name for _, report in _roles(evaluated) for name in report.metrics} - gated)
    roles = _roles(evaluated)
    found = [
        [_cell(name), *(number(one.metrics[name]) if name in one.metrics else "-" for _, one in roles)]
        for name in names
    ]
    headers = ["metric", *(role for role, _ in roles)]
    return [_github(found, headers, ["left", *["right"] * len(roles)]), ""] if found else []


def _matrices(evaluated: Evaluated) -> list[str]:
    lines: list[str] = []
    for role, report in _roles(evaluated):
        if report.confusion_matrix is not None:
            lines += [f"**{role.capitalize()}**: rows are true labels, columns are predicted ones", ""]
            lines += [_matrix(report.confusion_matrix), ""]
    return lines


def _matrix(matrix: ConfusionMatrix) -> str:
    if len(matrix.labels) > _MATRIX_LIMIT:
        right = sum(matrix.matrix[index][index] for index in range(len(matrix.labels)))
        total = sum(map(sum, matrix.matrix))
        return f"{len(matrix.labels)} classes, too many to show; {right} of {total} are on the diagonal."
    labels = [_cell(label) for label in matrix.labels]
    rows = [[label, *map(str, row)] for label, row in zip(labels, matrix.matrix, strict=True)]
    return _github(rows, ["true \\ predicted", *labels], ["left", *["right"] * len(labels)])


def _slices(evaluated: Evaluated) -> list[str]:
    told = {metric for _, report in _roles(evaluated) for part in report.slices.values() for metric in part}
    names = [line.name for line in evaluated.comparison.metrics if line.name in told]
    found = []
    for name in sorted({name for _, report in _roles(evaluated) for name in report.slices}):
        for role, report in _roles(evaluated):
            values: Mapping[str, float] = report.slices.get(name, {})
            if values:
                others = [f"{other} {_plain(value)}" for other, value in values.items() if other not in names]
                numbers = [number(values[metric]) if metric in values else "-" for metric in names]
                found.append([_cell(name), role, *numbers, _cell(", ".join(others))])
    headers = ["slice", "model", *(_cell(name) for name in names), "more"]
    alignment = ["left", "left", *["right"] * len(names), "left"]
    return [_github(found, headers, alignment), ""] if found else []


def _counts(evaluated: Evaluated) -> list[str]:
    names = sorted({name for _, report in _roles(evaluated) for name in report.counts})
    roles = _roles(evaluated)
    rows = [[_cell(name), *(str(report.counts.get(name, "-")) for _, report in roles)] for name in names]
    headers = ["count", *(role for role, _ in roles)]
    return [_github(rows, headers, ["left", *["right"] * len(roles)]), ""] if rows else []


def _sources(evaluated: Evaluated) -> list[str]:
    comparison = evaluated.comparison
    return [
        f"- Both were evaluated on `{_inline(comparison.evaluated_on)}` at {_text(comparison.created_at)}",
        f"- Evidence: `{_inline(evaluated.evidence_uri)}`",
        "",
    ]


def _details(summary: str, lines: list[str]) -> list[str]:
    """Folded, with the blank lines that Markdown inside HTML needs.

    Nothing when there is nothing to report.
    """
    return ["<details>", f"<summary>{summary}</summary>", "", *lines, "</details>", ""] if lines else []


def _link_list(links: Iterable[Link]) -> list[str]:
    shown = [f"[{_text(label)}](<{url}>)" for label, url in _web(links)]
    return [" · ".join(shown), ""] if shown else []


def _web(links: Iterable[Link]) -> list[Link]:
    return [(label, url) for label, url in links if re.fullmatch(r"https?://[^\s<>\"]+", url)]


# GitLab also makes links of bare addresses, and pictures of `:names:`, where no backslash helps: it joins the
# text again before it looks (lib/banzai/filter/escaped_char_filter.rb). An element in between does.
_LIVE = re.compile(r":(?=//|[\w+\\-]+:)|(?<=\bwww)\.", re.IGNORECASE)


def _text(text: str) -> str:
    """One line that GitLab shows as it is: no link, picture, mention, reference, formula, HTML or action."""
    line = visible(re.sub(r"\s+", " ", text).strip())
    line = re.sub(r"([\\`*_\[\]|~!#@$%^&])", r"\\\1", line)
    line = line.replace("<", "&lt;").replace(">", "&gt;")
    return _LIVE.sub(lambda found: f"<span>{found[0]}</span>", line)


def _cell(text: str) -> str:
    return _text(text if len(text) <= _CELL_LIMIT else text[:_CELL_LIMIT] + "…")


def _inline(text: str) -> str:
    return re.sub(r"[\s`]", "", visible(text))


def _code(text: str) -> str:
    """A block whose fence is longer than any inside."""
    text = visible(text)
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
