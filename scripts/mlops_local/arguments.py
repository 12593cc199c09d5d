"""The arguments of `mlops local`; imported only when that command is asked for."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser


def add_arguments(parser: ArgumentParser) -> None:
    """The subcommands and their options."""
    parser.add_argument(
        "--name", default="default", help="which stack; two names never collide (default: default)"
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    up = actions.add_parser("up", help="start GitLab, AWS and Airflow on this machine")
    up.add_argument(
        "--engine",
        choices=("auto", "docker", "process"),
        default="auto",
        help="how jobs run: in containers, or as processes; auto takes Docker if its engine answers",
    )

    up.add_argument(
        "--environment",
        default="local",
        metavar="NAME",
        help="which of terraform/environments to play; local leaves out what takes long (default: local)",
    )
    _add_fresh(up)

    run = actions.add_parser("run", help="push a model repo to the local GitLab and run its pipeline")
    run.add_argument("repository", nargs="?", default=".", help="the model repo (default: this folder)")
    run.add_argument(
        "--deploy",
        action="store_true",
        help="click the deploy jobs of the models afterwards; fails unless each of them deploys",
    )
    run.add_argument(
        "--override", default="", metavar="REASON", help="with --deploy: in spite of the evidence"
    )
    kind = run.add_mutually_exclusive_group()
    kind.add_argument("--merge-request", type=int, metavar="IID", help="as the pipeline of a merge request")
    kind.add_argument("--schedule", action="store_true", help="as a scheduled pipeline")

    actions.add_parser("inbox", help="what e-mail and Slack received")
    actions.add_parser("status", help="what is running, and where")
    actions.add_parser("env", help="print the variables that point a shell at this stack")
    logs = actions.add_parser("logs", help="print a log of the stack")
    logs.add_argument("log", nargs="?", default="", help="a name from the list that `logs` alone prints")
    down = actions.add_parser("down", help="stop everything this stack started")
    down.add_argument("--all", action="store_true", help="every stack of this checkout")

    demo = actions.add_parser("demo", help="five pushes, from git push to a served prediction")
    demo.add_argument("--engine", choices=("auto", "docker", "process"), default="auto", help="as for `up`")
    demo.add_argument("--summary", default="demo-summary.json", metavar="FILE", help="where the summary goes")
    _add_fresh(demo)
    demo.add_argument("--keep", action="store_true", help="leave the stack running")

    # `--name` and `--json` read well before the action and after it.
    for action in actions.choices.values():
        action.add_argument("--name", default=SUPPRESS, help=SUPPRESS)
        action.add_argument("--json", action="store_true", default=SUPPRESS, help=SUPPRESS)


def _add_fresh(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="let Terraform make the account, also where a snapshot has what it would make",
    )
