"""`mlops local`: dispatches to one module an action."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from mlops.base.result import Outcome


def run(arguments: Namespace) -> Outcome:
    """Carry out the action; each imports only what it needs."""
    # pylint: disable=too-many-return-statements  # one an action
    match arguments.action:
        case "up":
            from mlops_local.command.up import up

            return up(arguments.name, arguments.engine, arguments.environment, fresh=arguments.fresh)
        case "run":
            from mlops_local.command.run import run as run_pipeline

            return run_pipeline(arguments)
        case "inbox":
            from mlops_local.command.inbox import inbox

            return inbox(arguments.name)
        case "down":
            from mlops_local.command.down import down

            return down(arguments.name, every=arguments.all)
        case "demo":
            from mlops_local.demo.command import demo

            return demo(
                arguments.name,
                arguments.engine,
                Path(arguments.summary),
                keep=arguments.keep,
                fresh=arguments.fresh,
            )
        case "status" | "env":
            from mlops_local.command import status

            return (
                status.status(arguments.name) if arguments.action == "status" else status.env(arguments.name)
            )
        case _:
            from mlops_local.command.status import logs

            return logs(arguments.name, arguments.log)
