"""`mlops terraform`: plans an environment of the platform, and applies exactly what was reviewed."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlops.base import console
from mlops.base.errors import PlanRefusedError, UsageError
from mlops.base.result import Outcome
from mlops.platform import guards, preparation, review, terraform_plan
from mlops.platform.environment import Environment, find

ALLOW_REPLACE = "MLOPS_ALLOW_REPLACE"
# What a GitLab group calls the outputs of module identity; none of them is secret.
_GROUP_VARIABLES = {
    "build": "MLOPS_BUILD_ROLE_ARN",
    "train": "MLOPS_TRAIN_ROLE_ARN",
    "deploy": "MLOPS_DEPLOY_ROLE_ARN",
}
# What the platform's own project calls them, once for each environment.
_PROJECT_VARIABLES = {"plan": "MLOPS_PLAN_ROLE_ARN", "apply": "MLOPS_APPLY_ROLE_ARN"}


def run(arguments: argparse.Namespace) -> Outcome:
    """Carry out one action on one environment.

    Raises:
        UsageError: when there is no such environment, or an option is for another action.
        MlopsError: of the action.
    """
    if arguments.allow_replace and arguments.action != "plan":
        raise UsageError(
            "--allow-replace is for plan", next_step="Plan with it; apply does what was planned."
        )
    if arguments.confirm and arguments.action != "destroy":
        raise UsageError("--confirm is for destroy")
    environment = find(Path(arguments.directory), arguments.environment, arguments.out)
    # The environment's own region, whatever the pipeline's is.
    os.environ["AWS_REGION"] = environment.region
    with _terminated_as_interrupted():
        preparation.check(environment, state=arguments.action != "bootstrap")
        return _ACTIONS[arguments.action](environment, arguments)


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let a cancelled job end as ^C ends it: Terraform writes its state and unlocks it first."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _plan(environment: Environment, arguments: argparse.Namespace) -> Outcome:
    out = environment.out
    _clear(out)
    values = preparation.packages(environment, out)
    terraform = preparation.ready(environment, arguments.timeout, arguments.lock_timeout)
    file = out / review.PLAN_FILE
    with console.section("terraform plan"):
        changed, text = terraform.plan_to(file.resolve(), var=values)
        document = terraform.describe(file.resolve())
    plan = terraform_plan.read(document)
    notes = _notes(environment, plan, document)
    review.write_reports(out, environment.name, plan, notes, text)
    allowed = _allowed(plan, arguments.allow_replace)
    shown = "\n".join(_shown(environment, plan, notes))
    try:
        _guard(environment, plan, allowed)
    except (PlanRefusedError, UsageError):
        file.unlink()
        console.say(shown)
        raise
    review.write(
        environment,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        has_changes=changed,
        versions=terraform.versions(),
        allowed=allowed,
    )
    data = {"environment": environment.name, **terraform_plan.as_data(plan), "notes": notes}
    data |= {"has_changes": changed, "folder": str(out)}
    steps = (f"review {out / review.SUMMARY}", _command("apply", arguments)) if changed else ()
    return Outcome(summary=shown, data=data, next_steps=steps)


def _clear(out: Path) -> None:
    """Let nothing that an earlier plan left be applied in place of one that fails now."""
    out.mkdir(parents=True, exist_ok=True)
    for name in (review.REVIEWED, review.PLAN_FILE, review.SUMMARY):
        (out / name).unlink(missing_ok=True)
    shutil.rmtree(out / preparation.AIRFLOW_PACKAGE, ignore_errors=True)


def _allowed(plan: terraform_plan.Plan, given: Sequence[str]) -> tuple[str, ...]:
    """The options, and what the pipeline's variable names of this plan: it is one for all environments."""
    lost = {loss.address for loss in guards.losses(plan)}
    return tuple(sorted({*given, *(lost & set(os.environ.get(ALLOW_REPLACE, "").split()))}))


def _guard(environment: Environment, plan: terraform_plan.Plan, allowed: Sequence[str]) -> None:
    from mlops.clients.aws import session

    removed = guards.removed_models(plan)
    if removed:
        with session.explained():
            what = f"The plan of {environment.name} removes models"
            guards.refuse_deployed(session.client("sagemaker"), removed, what)
    # Before what needs an option: a repository that was deleted by hand needs none any more.
    destroyed = guards.must_be_empty(plan)
    if destroyed:
        with session.explained():
            ecr, sagemaker = session.client("ecr"), session.client("sagemaker")
            guards.refuse_full(ecr, sagemaker, destroyed, environment)
    guards.refuse_losses(plan, allowed, environment.name)


def _notes(environment: Environment, plan: terraform_plan.Plan, document: Mapping[str, Any]) -> list[str]:
    notes = [*plan.drift, *_unconfirmed(guards.topics(document))]
    if not review.commit(environment.directory):
        notes.append("No git history found: the plan cannot record its commit")
    return notes


def _unconfirmed(topics: Sequence[str]) -> list[str]:
    from mlops.clients.aws import session

    if not topics:
        return []
    with session.explained():
        return guards.unconfirmed(session.client("sns"), topics)


def _shown(environment: Environment, plan: terraform_plan.Plan, notes: Sequence[str]) -> list[str]:
    lines = [terraform_plan.headline(environment.name, plan)]
    if plan.changes:
        lines += ["", terraform_plan.table(plan), ""]
    return lines + [f"! {note}" for note in notes]


def _apply(environment: Environment, arguments: argparse.Namespace) -> Outcome:
    reviewed = review.read(environment)
    if not reviewed.has_changes:
        return Outcome(
            summary=f"✓ {environment.name}: nothing to do, the plan has no changes",
            data={"environment": environment.name, "applied": False},
        )
    terraform = preparation.ready(environment, arguments.timeout, arguments.lock_timeout)
    file = (environment.out / review.PLAN_FILE).resolve()
    plan = terraform_plan.read(terraform.describe(file))
    # Somebody may have deployed, pushed or registered a model since.
    _guard(environment, plan, reviewed.allow_replace)
    preparation.carry_out(environment, terraform, file)
    state = terraform.stored_state()
    outputs = terraform_plan.shown_outputs(state)
    notes = _unconfirmed(guards.topics_of_state(state))
    lines = [terraform_plan.done(environment.name, plan), "", terraform_plan.values_table(outputs)]
    return Outcome(
        summary="\n".join([*lines, *(f"! {note}" for note in notes)]),
        data={"environment": environment.name, "applied": True, "outputs": outputs, "notes": notes},
        next_steps=_after(environment.name, outputs),
    )


def _output(environment: Environment, arguments: argparse.Namespace) -> Outcome:
    terraform = preparation.ready(environment, arguments.timeout, arguments.lock_timeout)
    outputs = terraform_plan.shown_outputs(terraform.stored_state())
    if not outputs:
        return Outcome(
            summary=f"{environment.name} has no outputs: nothing was applied yet",
            next_steps=(_command("plan", arguments),),
        )
    return Outcome(
        summary=terraform_plan.values_table(outputs),
        data=outputs,
        next_steps=_after(environment.name, outputs),
    )


def _after(environment: str, outputs: Mapping[str, Any]) -> tuple[str, ...]:
    """What people do that Terraform must not: values of secrets, variables of GitLab."""
    steps = []
    if outputs.get("slack_secret"):
        steps.append(
            "once: aws secretsmanager put-secret-value --secret-id"
            f" {outputs['slack_secret']} --secret-string file://slack.json"
        )
    roles = outputs.get("role_arns")
    if isinstance(roles, Mapping):
        steps += [
            f"GitLab group variable {_GROUP_VARIABLES[purpose]} = {arn}"
            for purpose, arn in roles.items()
            if purpose in _GROUP_VARIABLES
        ]
        suffix = environment.upper().replace("-", "_")
        steps += [
            f"GitLab project variable {_PROJECT_VARIABLES[purpose]}_{suffix} = {arn}"
            for purpose, arn in roles.items()
            if purpose in _PROJECT_VARIABLES
        ]
    return tuple(steps)


def _command(action: str, arguments: argparse.Namespace) -> str:
    words = ["mlops terraform", action, arguments.environment]
    if arguments.directory != "terraform":
        words += ["--directory", arguments.directory]
    if arguments.out:
        words += ["--out", arguments.out]
    return " ".join(words)


def _destroy(environment: Environment, arguments: argparse.Namespace) -> Outcome:
    from mlops.platform import destroy

    return destroy.destroy(environment, arguments)


def _bootstrap(environment: Environment, arguments: argparse.Namespace) -> Outcome:
    from mlops.platform import bootstrap

    return bootstrap.bootstrap(environment, arguments)


_ACTIONS = {
    "plan": _plan,
    "apply": _apply,
    "output": _output,
    "destroy": _destroy,
    "bootstrap": _bootstrap,
}
