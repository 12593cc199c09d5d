"""Tables of a page's own: exit codes, events, DAGs, stages."""

from __future__ import annotations

import ast
from pathlib import Path

from events import DAY, HOUR, RULES, Rule
from mlops.base import errors
from mlops.base.errors import EXIT_BROKEN_PIPE, EXIT_INTERRUPTED, EXIT_OK, EXIT_UNEXPECTED, MlopsError
from mlops.cli import COMMANDS
from mlops.contracts import runs
from mlops.platform.guards import STATEFUL
from tools.reference.markdown import code, sentence, table

# Without an error of ours.
_OTHERS = {
    EXIT_OK: "done, or nothing to do",
    EXIT_UNEXPECTED: "unexpected: a log with versions and traceback was written; its name is the last line",
    EXIT_INTERRUPTED: "interrupted",
    EXIT_BROKEN_PIPE: "the program that read the output stopped reading, as `head` does",
}
# The stage whose work a DAG does; what has no DAG is done by its job.
_DAG_OF = {
    "train": runs.TRAINING_DAG,
    "retrain": runs.RETRAINING_DAG,
    "deploy": runs.DEPLOYMENT_DAG,
    "monitor": runs.MONITORING_DAG,
    "notify": runs.NOTICE_DAG,
}


def exit_codes() -> str:
    """Return every exit code with its error, in their order."""
    classes = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, MlopsError)]
    rows = [(number, "", meaning) for number, meaning in _OTHERS.items()]
    rows += [(one.exit_code, code(one.__name__), sentence(one.__doc__ or "")) for one in classes]
    return table(("code", "error", "meaning"), [(str(number), *rest) for number, *rest in sorted(rows)])


def events() -> str:
    """Return what each event of AWS starts: the Lambda's own table."""
    return table(("source", "event", "when", "starts", "one run"), map(_event, RULES))


def _event(rule: Rule) -> tuple[str, ...]:
    starts = code(rule.dag_id) or f"nothing: {rule.because}"
    if rule.unless_busy:
        starts += f", unless a run of `{rule.unless_busy}` reports it"
    window = {0: "its own time", HOUR: "an hour", DAY: "a day"}[rule.window]
    one = "the data window, at its end" if rule.at_end else window
    return (
        code(rule.source),
        rule.detail_type,
        rule.when,
        starts,
        f"a model and {one}" if rule.dag_id else "",
    )


def dags(folder: Path) -> str:
    """Return every DAG with the record that its conf is, and what it does."""
    rows = []
    for dag_id, record in runs.CONFS.items():
        confs = [record.__name__, *(["ApprovalConf"] if dag_id == runs.DEPLOYMENT_DAG else [])]
        links = " or ".join(f"[{name}](records.md#{name.lower()})" for name in confs)
        source = (folder / f"{dag_id}.py").read_text(encoding="utf-8")
        rows.append((f"[`{dag_id}`](#{dag_id})", links, sentence(ast.get_docstring(ast.parse(source)) or "")))
    return table(("DAG", "conf", "what it does"), rows)


def stateful() -> str:
    """Return what of Terraform's resources cannot be made again, and what goes with it."""
    return table(("type", "goes with it"), [(code(kind), lost) for kind, lost in STATEFUL.items()])


def stages(checkout: Path) -> str:
    """Return, for each stage, its template, command, module and DAG."""
    modules = {command.name: command.module for command in COMMANDS}
    templates = {file.stem for file in (checkout / "ci-templates").glob("*.yml")}
    tools = {"lint": "`pylint`", "test": "`pytest`"}
    order = [*tools, *(name for name in modules if name in templates or name in _DAG_OF)]
    rows = [
        (
            name,
            code(f"ci-templates/{name}.yml") if name in templates else "",
            tools.get(name) or code(f"mlops {name}"),
            code(f"scripts/{modules[name].replace('.', '/')}.py") if name in modules else "",
            code(f"dags/{_DAG_OF[name]}.py") if name in _DAG_OF else "",
        )
        for name in order
    ]
    return table(("stage", "template", "command", "module", "DAG"), rows)
