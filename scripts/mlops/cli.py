"""The `mlops` command: parses, dispatches, prints. Each command's module is imported only when it runs.

`mlops --help` takes at most four times as long as Python itself, so what this module imports is counted:
dataclasses and typing alone would cost as much as all the rest.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from mlops import __version__
from mlops.base import console
from mlops.base.documents import address
from mlops.base.errors import EXIT_BROKEN_PIPE, EXIT_INTERRUPTED, EXIT_UNEXPECTED, MlopsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mlops.base.result import Outcome

Parser = argparse.ArgumentParser


class Command:
    """A command, the module whose `run(arguments)` carries it out, and how its help reads."""

    # pylint: disable-next=too-many-arguments,too-many-positional-arguments
    def __init__(
        self, name: str, module: str, about: str, example: str, add_arguments: Callable[[Parser], None]
    ) -> None:
        self.name = name
        self.module = module
        self.about = about
        self.example = example
        self.add_arguments = add_arguments


def _manifest(parser: Parser) -> None:
    parser.add_argument(
        "--manifest", default="mlops.yml", metavar="FILE", help="the manifest (default: mlops.yml)"
    )
    parser.add_argument(
        "--model", default="", metavar="NAME", help="the model; not needed when there is only one"
    )


def _environment(parser: Parser) -> None:
    parser.add_argument(
        "--environment",
        default="",
        metavar="NAME",
        help="apply the manifest's overrides for this environment",
    )


def _validate(parser: Parser) -> None:
    parser.add_argument(
        "--manifest", default="mlops.yml", metavar="FILE", help="the manifest (default: mlops.yml)"
    )
    _environment(parser)
    parser.add_argument("--schema", action="store_true", help="print the manifest's JSON Schema and stop")


def _containerize(parser: Parser) -> None:
    _manifest(parser)
    parser.add_argument(
        "--dotenv", default="containerize.env", metavar="FILE", help="variables for later jobs"
    )
    parser.add_argument(
        "--build-arg", action="append", default=[], metavar="NAME=VALUE", help="may be repeated"
    )


def _train(parser: Parser) -> None:
    _manifest(parser)
    _environment(parser)
    parser.add_argument("--dotenv", default="train.env", metavar="FILE", help="variables for later jobs")
    parser.add_argument("--image-uri", metavar="URI", help="default: $IMAGE_URI, from containerize")
    parser.add_argument(
        "--image-version", metavar="VERSION", help="default: $IMAGE_VERSION, from containerize"
    )


def _retrain(parser: Parser) -> None:
    parser.add_argument(
        "--manifest", default="mlops.yml", metavar="FILE", help="the manifest (default: mlops.yml)"
    )
    parser.add_argument("--model", default="", metavar="NAME", help="one model; all of them without it")
    _environment(parser)
    parser.add_argument("--dry-run", action="store_true", help="say what is due; start nothing")
    parser.add_argument(
        "--table",
        default="retraining.md",
        metavar="FILE",
        help="what was decided, as Markdown, and as JSON beside it (default: retraining.md)",
    )


_WAIT = "default: as long as the manifest lets the run take, and an hour"


def _evaluate(parser: Parser) -> None:
    _manifest(parser)
    _environment(parser)
    parser.add_argument("--dotenv", default="evaluate.env", metavar="FILE", help="variables for later jobs")
    parser.add_argument("--model-version", metavar="VERSION", help="default: $MODEL_VERSION, from train")
    parser.add_argument("--run-id", metavar="ID", help="default: $DAG_RUN_ID, from train")
    parser.add_argument(
        "--report", default="evaluation", metavar="DIRECTORY", help="where the report files go"
    )
    parser.add_argument("--no-wait", action="store_true", help="say how the run is doing and return at once")
    parser.add_argument("--timeout", type=int, default=0, metavar="SECONDS", help=_WAIT)


def _deploy(parser: Parser) -> None:
    _manifest(parser)
    _environment(parser)
    parser.add_argument("--dotenv", default="deploy.env", metavar="FILE", help="variables for later jobs")
    parser.add_argument("--model-version", metavar="VERSION", help="default: $MODEL_VERSION, from train")
    parser.add_argument(
        "--override", default="", metavar="REASON", help="deploy in spite of the evidence; recorded"
    )
    parser.add_argument("--no-wait", action="store_true", help="start the deployment and return at once")
    parser.add_argument("--timeout", type=int, default=0, metavar="SECONDS", help=_WAIT)


def _monitor(parser: Parser) -> None:
    _manifest(parser)
    _environment(parser)
    parser.add_argument(
        "--window-end", default="", metavar="TIME", help="the window ends here, ISO 8601 (default: now)"
    )
    parser.add_argument("--timeout", type=int, default=1800, metavar="SECONDS", help="default: 1800")


def _fetch(parser: Parser) -> None:
    parser.add_argument("--model", default="", metavar="NAME", help="the model that the trigger names")
    parser.add_argument(
        "--manifest", default="mlops.yml", metavar="FILE", help="the manifest that the commit must have"
    )
    parser.add_argument("--project-id", required=True, metavar="NUMBER", help="the upstream")
    parser.add_argument("--project-path", required=True, metavar="PATH", help="its path, as it says")
    parser.add_argument("--commit", required=True, metavar="ID", help="its commit, as it says")
    parser.add_argument("--ref", default="", metavar="BRANCH", help="its branch, as it says")
    parser.add_argument(
        "--change", required=True, metavar="KIND", help="default_branch, merge_request or branch, as it says"
    )
    parser.add_argument("--merge-request", default="", metavar="NUMBER", help="its merge request, as it says")
    parser.add_argument(
        "--pipeline-id",
        default="",
        metavar="NUMBER",
        help="its pipeline; the newest of the commit by default",
    )
    parser.add_argument(
        "--artifact-job", default="code", metavar="NAME", help="the job that made the artifact"
    )
    parser.add_argument(
        "--artifact-job-id", default="", metavar="NUMBER", help="that job; looked up by default"
    )
    parser.add_argument("--artifact-sha256", default="", metavar="DIGITS", help="the checksum of the code")
    parser.add_argument("--directory", default="source", metavar="FOLDER", help="where the code goes")
    parser.add_argument("--dotenv", default="fetch.env", metavar="FILE", help="variables for later jobs")


def _answer(parser: Parser) -> None:
    parser.add_argument("--model", required=True, metavar="NAME", help="the model")
    parser.add_argument("--state", choices=("success", "failed"), required=True, help="how the pipeline went")
    parser.add_argument(
        "--report", default="evaluation", metavar="DIRECTORY", help="where evaluate left its report"
    )


def _notify(parser: Parser) -> None:
    _manifest(parser)
    _environment(parser)
    parser.add_argument(
        "--job-prefix", default="", metavar="TEXT", help="what the names of the model's jobs begin with"
    )
    parser.add_argument("--test", action="store_true", help="send a test message to every channel")


def _schedule(parser: Parser) -> None:
    parser.add_argument("action", choices=("ensure",), metavar="ACTION", help="ensure")
    parser.add_argument(
        "--cron", default="", metavar="PATTERN", help="when; default: daily, at a time of the project's own"
    )
    parser.add_argument("--timezone", default="", metavar="NAME", help="of the pattern; default: UTC")
    parser.add_argument("--ref", default="", metavar="BRANCH", help="default: the default branch")
    parser.add_argument(
        "--description", default="Retrain models that are due", metavar="TEXT", help="how GitLab lists it"
    )
    parser.add_argument(
        "--take-ownership", action="store_true", help="even from an owner who is active, such as one who left"
    )
    parser.add_argument("--url", default="", metavar="URL", help="GitLab; default: $CI_SERVER_URL")
    parser.add_argument(
        "--project", default="", metavar="ID", help="number or path of the project; default: $CI_PROJECT_ID"
    )


def _terraform(parser: Parser) -> None:
    actions = ("plan", "apply", "destroy", "output", "bootstrap")
    parser.add_argument("action", choices=actions, metavar="ACTION", help=" | ".join(actions))
    parser.add_argument("environment", metavar="ENVIRONMENT", help="a folder below DIRECTORY/environments")
    parser.add_argument(
        "--directory", default="terraform", help="root, modules and environments (default: terraform)"
    )
    parser.add_argument(
        "--out", default="", metavar="FOLDER", help="where a plan lies (default: terraform-plan/ENVIRONMENT)"
    )
    parser.add_argument(
        "--allow-replace",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="plan: this resource may be replaced or destroyed with all it holds; may be repeated",
    )
    parser.add_argument("--confirm", default="", metavar="ENVIRONMENT", help="destroy: the name once more")
    parser.add_argument(
        "--lock-timeout", type=int, default=120, metavar="SECONDS", help="wait for a locked state: 120"
    )
    parser.add_argument(
        "--timeout", type=int, default=3 * 3600, metavar="SECONDS", help="for each Terraform command: 10800"
    )


def _release(parser: Parser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="say what a release would be; push nothing")
    parser.add_argument("--dotenv", default="", metavar="FILE", help="variables for later jobs")
    parser.add_argument(
        "--at-least",
        choices=("patch", "minor", "major"),
        default="patch",
        help="release this step where the commits call for a smaller one (default: patch)",
    )


def _commits(parser: Parser) -> None:
    parser.add_argument(
        "--message", default="", metavar="FILE", help="check the one message in this file, as a hook does"
    )
    parser.add_argument(
        "--after",
        default="",
        metavar="COMMIT",
        help="leave out this commit and all before it, where a history is older than the rule",
    )


def _local(parser: Parser) -> None:
    from mlops_local.arguments import add_arguments

    add_arguments(parser)


COMMANDS = (
    Command("validate", "mlops.manifest.validate", "check mlops.yml", "mlops validate", _validate),
    Command(
        "containerize",
        "mlops.images.containerize",
        "build, version and push the image, if its content changed",
        "mlops containerize --model phishing-url",
        _containerize,
    ),
    Command("train", "mlops.training.train", "start training of the image's version", "mlops train", _train),
    Command(
        "retrain",
        "mlops.training.retrain",
        "train again what is due: by age, new data, drift, a newer image",
        "mlops retrain --dry-run",
        _retrain,
    ),
    Command(
        "evaluate",
        "mlops.evaluation.evaluate",
        "wait for the training and report challenger against champion",
        "mlops evaluate --model-version 1.3.0+retrain.0",
        _evaluate,
    ),
    Command(
        "deploy",
        "mlops.deployment.deploy",
        "put an evaluated model into production",
        'mlops deploy --model-version 1.3.0+retrain.0 --override "hotfix, agreed with Ann"',
        _deploy,
    ),
    Command(
        "monitor",
        "mlops.monitoring.monitor",
        "compare an endpoint's requests with its training data",
        "mlops monitor --model phishing-url",
        _monitor,
    ),
    Command(
        "fetch",
        "mlops.downstream.fetch",
        "get and check the code of the pipeline that started this one",
        "mlops fetch --project-id 7 --project-path models/phishing-url --change default_branch"
        " --commit 1a2b3c4d5e6f7a8b9c0d1a2b3c4d5e6f7a8b9c0d",
        _fetch,
    ),
    Command(
        "answer",
        "mlops.downstream.answer",
        "report to the project that started this pipeline how it went",
        "mlops answer --model phishing-url --state success",
        _answer,
    ),
    Command(
        "notify",
        "mlops.notifications.notify",
        "notify the channels of what failed",
        "mlops notify --test",
        _notify,
    ),
    Command(
        "schedule",
        "mlops.training.schedule",
        "make or repair the pipeline schedule that retrains",
        'mlops schedule ensure --cron "0 4 * * *" --timezone Europe/Berlin',
        _schedule,
    ),
    Command(
        "terraform",
        "mlops.platform.terraform",
        "plan and apply an environment of the platform",
        "mlops terraform plan dev\n  mlops terraform apply dev",
        _terraform,
    ),
    Command(
        "release",
        "mlops.releasing.release",
        "release this platform: version, changelog, tags",
        "mlops release --dry-run",
        _release,
    ),
    Command(
        "commits",
        "mlops.releasing.commits",
        "check commit messages: Conventional Commits, with a reason",
        "mlops commits\n  mlops commits --message .git/COMMIT_EDITMSG",
        _commits,
    ),
    # A checkout has the local stack beside this package; what is installed from a wheel has not.
    *(
        [Command("local", "mlops_local.dispatch", "run everything on this machine", "mlops local up", _local)]
        if importlib.util.find_spec("mlops_local")
        else []
    ),
)


def build_parser(wanted: str = "") -> Parser:
    """The parser; only the `wanted` command gets its arguments, which keeps `--help` fast."""
    columns = os.environ.get("COLUMNS", "")
    width = int(columns) if columns.isdecimal() else 100  # argparse would import shutil to ask the terminal
    parser = Parser(
        prog="mlops",
        description="From a git push to a served model, on GitLab and AWS.",
        epilog=f"Documents: {address('docs/index.md')}",
        formatter_class=partial(argparse.RawDescriptionHelpFormatter, width=width),
    )
    parser.add_argument("--version", action="version", version=f"mlops {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    codes = address("docs/reference/exit-codes.md")
    for command in COMMANDS:
        sub = commands.add_parser(
            command.name,
            help=command.about,
            description=command.about[0].upper() + command.about[1:] + ".",
            epilog=f"Example:\n  {command.example}\n\nExit codes: {codes}",
            formatter_class=partial(argparse.RawDescriptionHelpFormatter, width=width),
        )
        if command.name == wanted:
            sub.add_argument("--json", action="store_true", help="print the result as JSON")
            command.add_arguments(sub)
    return parser


def _run(argv: Sequence[str]) -> int:
    wanted = next((word for word in argv if not word.startswith("-")), "")
    arguments = build_parser(wanted).parse_args(argv)
    command = next(command for command in COMMANDS if command.name == arguments.command)
    with _job_role():
        outcome: Outcome = importlib.import_module(command.module).run(arguments)
    console.show_outcome(outcome, as_json=arguments.json)
    sys.stdout.flush()
    return outcome.exit_code


def _job_role() -> AbstractContextManager[None]:
    """The role of a CI job that has a token for one."""
    if not os.environ.get("MLOPS_ID_TOKEN"):
        return nullcontext()  # and nothing is imported
    from mlops.clients.aws.job_role import job_role

    return job_role(os.environ)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; never a traceback for an error a person can act on."""
    words = sys.argv[1:] if argv is None else argv
    try:
        return _run(words)
    except MlopsError as error:
        console.show_error(error)
        return error.exit_code
    except BrokenPipeError:
        # The reader closed the pipe, as `head` does; what is left must not be flushed at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except KeyboardInterrupt:
        console.say("✗ Interrupted")
        return EXIT_INTERRUPTED
    except Exception:  # pylint: disable=broad-exception-caught  # whatever it is, a person gets a log to send
        from mlops.base.crash_log import write_crash_log

        console.say(f"✗ Unexpected error; please send {write_crash_log(words)} with your report")
        return EXIT_UNEXPECTED


if __name__ == "__main__":
    sys.exit(main())
