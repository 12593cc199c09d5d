"""The text of every notification, for Slack and for e-mail. Pure functions.

Limits: a Slack message has at most 50 blocks, a section 3,000 characters and a header 150
(https://docs.slack.dev/reference/block-kit/blocks/section-block); an SNS subject is one line of ASCII
under 100 characters, a message at most 256 KiB (https://docs.aws.amazon.com/sns/latest/api/API_Publish.html).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlops.contracts.evidence import COMPARISON, Comparison, DriftReport, Failure, Lineage
from mlops.contracts.message import Message
from mlops.contracts.runs import UNSTORABLE, DeploymentConf, NoticeConf, Origin, TrainingConf
from mlops.contracts.versions import endpoint_name
from mlops.notifications import metric_table

SUBJECT_LIMIT = 99
BODY_LIMIT = 256 * 1024
SECTION_LIMIT = 3000
HEADER_LIMIT = 150
BLOCK_LIMIT = 50
_CAUSE_LIMIT = 2500
_TABLE_ROWS = 30


@dataclass(frozen=True)
class _Part:
    """A paragraph; `code` keeps its columns."""

    text: str
    code: bool = False


Link = tuple[str, str]


def training_finished(conf: TrainingConf, comparison: Comparison, lineage: Lineage) -> Message:
    """A model was trained and evaluated: the metric table, the gate, and what may be done now."""
    against = f"against {comparison.champion}" if comparison.champion else "with nothing in production yet"
    parts = [
        _Part(f"Evaluated on {comparison.evaluated_on}, {against}."),
        _Part(metric_text(comparison), code=True),
    ]
    prerelease = "-" in conf.image_version
    if comparison.gate == "passed":
        title = f"{conf.model} {conf.model_version}: trained, gate passed"
        step = f"to put it into production, {_ways_to_deploy(conf)}"
        if prerelease:
            step = "merge it: the default branch trains a release. A pre-release is never deployed"
        parts.append(_Part(f"Next: {step}."))
    else:
        title = f"{conf.model} {conf.model_version}: trained, gate FAILED"
        parts.append(_Part("Why:\n" + "\n".join(f"• {reason}" for reason in comparison.reasons())))
        step = "Next: improve the model and push."
        if not prerelease:
            step += " The job `deploy` refuses this version without an override."
        parts.append(_Part(step))
    parts.append(_Part(f"Data {lineage.data_fingerprint[:12]}, training job {lineage.training_job}."))
    return _message(title, parts, _links(conf.origin), conf.origin, whole=conf.evidence_uri + COMPARISON)


def deployed(
    conf: DeploymentConf, *, endpoint_config: str, replaced: str | None, answer: str, approval: str = ""
) -> Message:
    """An endpoint serves a model: its details, and how its first answer looked.

    Args:
        conf: What was asked for.
        endpoint_config: The configuration that the endpoint serves now.
        replaced: The model version before; None when the endpoint is new.
        answer: The smoke test's answer.
        approval: Who approved it in the model registry; empty when a job asked for it.
    """
    deployment = conf.deployment
    facts = [
        f"Endpoint: {deployment.endpoint_name}",
        f"Configuration: {endpoint_config}",
        f"Instances: {deployment.instance_count} x {deployment.instance_type}",
        f"Before: {replaced or 'nothing, this endpoint is new'}",
    ]
    parts = [_Part("\n".join(facts)), _Part(f"Smoke test answered:\n{answer[:1000]}", code=True)]
    title = f"{conf.model} {conf.model_version}: deployed"
    if approval:
        parts.insert(0, _Part(approval))
    if conf.override is not None:
        title += " by OVERRIDE"
        parts.insert(
            0, _Part(f"Override by {conf.override.user or 'somebody unknown'}: {conf.override.reason}")
        )
    return _message(title, parts, _links(conf.origin), conf.origin)


def approval_overtaken(conf: DeploymentConf, approval: str, why: str) -> Message:
    """Somebody approved a version that is not deployed, because of a newer decision.

    Args:
        conf: What was approved.
        approval: Who approved it in the model registry.
        why: Which decision holds, and what to do.
    """
    title = f"{conf.model} {conf.model_version}: approved, NOT deployed"
    return _message(title, [_Part(approval), _Part(why)], _links(conf.origin), conf.origin)


def drift_found(report: DriftReport) -> Message:
    """What an endpoint is asked has changed: which columns, how much, and what may be done."""
    names = [column.name for column in report.drifted()]
    title = f"{report.model} {report.model_version}: drift in {', '.join(names[:3])}"
    if len(names) > 3:
        title += f" and {len(names) - 3} more"
    parts = [
        _Part(
            f"{report.rows} rows from {report.window_start} to {report.window_end}, against training data."
        ),
        _Part("\n".join(f"• {column.name}: {column.reason}" for column in report.drifted())),
        _Part(drift_table(report), code=True),
        *([_Part("\n".join(report.notes))] if report.notes else []),
        _Part(
            "Next: look whether the world has changed or a caller is broken. New training data and a "
            "retraining help with the first; with `retraining.on_drift: true` in mlops.yml the platform "
            "retrains by itself."
        ),
    ]
    return _message(title, parts, [], Origin(), f"Run {report.dag_run_id}")


def run_failed(failure: Failure, origin: Origin) -> Message:
    """A DAG run failed: the real cause, where its log is, and what to do."""
    what = failure.model or "a model"
    version = f" {failure.model_version}" if failure.model_version else ""
    title = f"{what}{version}: {failure.dag_id} FAILED at {failure.task_id}"
    parts = [_cause(failure.cause, failure.log_url), _Part(f"Next: {failure.next_step}")]
    return _message(
        title,
        parts,
        [("Log", failure.log_url), *_links(origin)],
        origin,
        f"Run {failure.run_id}",
        whole=failure.log_url,
    )


def noticed(conf: NoticeConf) -> Message:
    """Something failed that no run and no job reports."""
    parts = [
        *([_cause(conf.cause, conf.log_url)] if conf.cause else []),
        _Part(f"Next: {conf.next_step}"),
    ]
    where = " · ".join(part for part in (conf.occurrence.detail_type, conf.occurrence.time) if part)
    title = f"{conf.model}: {conf.what}"
    return _message(title, parts, [("Log", conf.log_url)], Origin(), where, whole=conf.log_url)


def job_failed(  # pylint: disable=too-many-arguments
    *, job: str, stage: str, cause: str, model: str, job_url: str, origin: Origin
) -> Message:
    """A job of a CI pipeline failed outside a DAG run."""
    title = f"{model or origin.project_path or 'pipeline'}: job {job} FAILED"
    parts = [_cause(cause, job_url)] if cause else []
    parts.append(
        _Part(f"Next: read the end of the log of `{job}` (stage {stage}); its last lines say what to do.")
    )
    return _message(title, parts, [("Log", job_url), *_links(origin)], origin, whole=job_url)


def pipeline_failed(model: str, origin: Origin) -> Message:
    """A CI pipeline failed, and nothing here may ask GitLab which of its jobs did."""
    title = f"{model or origin.project_path or 'pipeline'}: pipeline FAILED"
    step = "Next: open the pipeline; the last lines of the failed job's log say what to do."
    # The job that sends this is not the one that failed.
    return _message(title, [_Part(step)], [("Pipeline", origin.pipeline_url)], origin)


def channel_test(origin: Origin) -> Message:
    """What `mlops notify --test` sends."""
    parts = [_Part("This is a test of the notification channels. Nothing failed and there is nothing to do.")]
    return _message("ml-ops: test message", parts, _links(origin), origin)


def storable(text: str) -> str:
    """What a container, a log or a request says, as far as a database and a channel can hold it."""
    return UNSTORABLE.sub("\ufffd", text)


def unknown_channel(name: str) -> str:
    """What the recipients of the default channel should know."""
    return (
        f"mlops.yml asks for the channel '{name}', which there is not here: see docs/guides/notifications.md."
    )


def with_note(message: Message, note: str) -> Message:
    """The message with one line more at its end."""
    context = {"type": "context", "elements": [{"type": "mrkdwn", "text": _escape(note)[:2000]}]}
    body = f"{_cut(message.body, BODY_LIMIT - 4096)}\n\n{note[:1000]}"
    return replace(message, body=body, blocks=(*message.blocks[: BLOCK_LIMIT - 1], context))


def metric_text(comparison: Comparison) -> str:
    """champion, challenger, change and gate of every metric, in aligned columns."""
    rows = [metric_table.HEADERS, *metric_table.rows(comparison, why=False)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in (0, 4) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def drift_table(report: DriftReport) -> str:
    """What a monitoring run found of each column, aligned: 30 of them, those that drifted first."""
    found = [*([report.predictions] if report.predictions else []), *report.columns]
    found.sort(key=lambda column: not column.drifted)
    rows = [("column", "kind", "PSI", "KS", "missing", "unseen", "state")]
    rows += [
        (
            column.name[:40],
            column.kind,
            f"{column.psi:.3f}",
            "-" if column.ks is None else f"{column.ks:.3f}",
            f"{column.missing:.1%}",
            f"{column.unseen:.1%}",
            "DRIFTED" if column.drifted else "stable",
        )
        for column in found[:_TABLE_ROWS]
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.rjust(width) if 2 <= column <= 5 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    if len(found) > _TABLE_ROWS:
        lines.append(f"and {len(found) - _TABLE_ROWS} more")
    return "\n".join([*lines, f"{report.state}: {report.rows} rows"])


def _ways_to_deploy(conf: TrainingConf) -> str:
    """An approval in the model registry, the job `deploy`, or both: what there is for this version."""
    ways = ["run the job `deploy` of this pipeline"] if conf.origin.pipeline_url else []
    if conf.deployment is not None:
        group = endpoint_name(conf.project, conf.model)
        ways.append(f"approve it in the model registry of SageMaker (group {group})")
    return ", or ".join(ways or ["run the job `deploy` of its pipeline"])


def _links(origin: Origin) -> list[Link]:
    return [("Pipeline", origin.pipeline_url), ("Job", origin.job_url)]


def _cause(text: str, whole: str) -> _Part:
    """A cause as far as people read it here."""
    if len(text) > _CAUSE_LIMIT:
        text = f"{text[:_CAUSE_LIMIT].rstrip()}\n{_rest(whole)}"
    return _Part(text, code=True)


def _rest(whole: str) -> str:
    return f"… cut here; the whole: {whole}" if whole else "… cut here"


def _message(  # pylint: disable=too-many-arguments
    title: str,
    parts: Sequence[_Part],
    links: Iterable[Link],
    origin: Origin,
    footnote: str = "",
    *,
    whole: str = "",
) -> Message:
    """Both forms of a message; `whole` is where all of it stands when it has to be cut."""
    title, parts = storable(title), [replace(part, text=storable(part.text)) for part in parts]
    known = [(label, url) for label, url in links if url]
    commit = f"{origin.commit_sha[:8]} {origin.commit_title}".strip()
    facts = (origin.project_path, origin.ref, commit, origin.user, footnote)
    where = storable(" · ".join(part for part in facts if part))
    body = [
        title,
        *(part.text for part in parts),
        "\n".join(f"{label}: {url}" for label, url in known),
        where,
    ]
    return Message(
        subject=_subject(title),
        body=_cut("\n\n".join(paragraph for paragraph in body if paragraph), BODY_LIMIT, whole),
        blocks=tuple(_blocks(title, parts, known, where, whole)),
    )


def _blocks(
    title: str, parts: Sequence[_Part], links: list[Link], where: str, whole: str
) -> list[dict[str, Any]]:
    header = {"type": "header", "text": {"type": "plain_text", "text": _one_line(title)[:HEADER_LIMIT]}}
    sections = [_section(text) for part in parts for text in _sections(part)]
    end = []
    if links:
        end.append(_section(" · ".join(f"<{_url(url)}|{label}>" for label, url in links)))
    if where:
        end.append({"type": "context", "elements": [{"type": "mrkdwn", "text": _escape(where)[:2000]}]})
    room = BLOCK_LIMIT - 2 - len(end)  # the header, and a note that may be added
    if len(sections) > room:
        sections = [*sections[: room - 1], _section(_escape(_rest(whole)))]
    return [header, *sections, *end]


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def _sections(part: _Part) -> list[str]:
    """The part in pieces that fit, broken between lines where that is possible."""
    fence = "```" if part.code else ""
    room = SECTION_LIMIT - 2 * len(fence) - 2
    text = _escape(part.text.replace("```", "'''"))
    pieces: list[str] = []
    while text:
        cut = len(text)
        if cut > room:
            cut = text.rfind("\n", 1, room) if "\n" in text[1:room] else room
            entity = text.rfind("&", cut - 5, cut)
            cut = cut if entity < 0 or ";" in text[entity:cut] else entity
        piece, text = text[:cut], text[cut:].lstrip("\n")
        pieces.append(f"{fence}\n{piece}\n{fence}" if fence else piece)
    return pieces


def _subject(title: str) -> str:
    """One line of ASCII, as SNS wants it."""
    return _one_line(title).encode("ascii", "replace").decode()[:SUBJECT_LIMIT]


def _one_line(text: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f\s]+", " ", text).strip()


def _escape(text: str) -> str:
    """Slack's three control characters: a commit title must not become a link or mention everybody."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _url(url: str) -> str:
    return _escape(url).replace("|", "%7C").replace("\n", "")


def _cut(text: str, limit: int, whole: str = "") -> str:
    """At most `limit` bytes of UTF-8, never half a character."""
    encoded = text.encode()
    if len(encoded) <= limit:
        return text
    rest = f"\n{_rest(whole)}"
    return encoded[: limit - len(rest.encode())].decode(errors="ignore") + rest
