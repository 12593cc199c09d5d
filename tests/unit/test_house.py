"""The rules of the house, kept by a machine: who imports whom, what is named how, what is documented."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PACKAGE = CHECKOUT / "scripts" / "mlops"
STAGES = {"validate", "containerize", "train", "evaluate", "retrain", "deploy", "notify", "terraform"}
STAGES |= {"fetch", "answer"}
# The one place that knows these; the local stack stands outside the product.
CLIENT_LIBRARIES = {"boto3", "gitlab", "docker", "slack_sdk", "oras", "python_terraform"}


def modules() -> Iterator[Path]:
    yield from sorted(PACKAGE.rglob("*.py"))


def imports(file: Path) -> set[str]:
    """Every module a file imports, at any time."""
    return _imports(ast.parse(file.read_text(encoding="utf-8")), set())


def runtime_imports(file: Path) -> set[str]:
    """As `imports`, without those for type checkers only."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    return _imports(tree, hidden)


def _imports(tree: ast.Module, hidden: set[int]) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def identity(path: Path) -> str:
    return str(path.relative_to(CHECKOUT))


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_stages_do_not_import_each_other(stage: str) -> None:
    others = {f"mlops.{other}" for other in STAGES - {stage}}
    assert not imports(PACKAGE / f"{stage}.py") & others


@pytest.mark.parametrize("file", sorted((PACKAGE / "clients").glob("*.py")), ids=identity)
def test_clients_import_no_stage_and_no_command(file: Path) -> None:
    assert not imports(file) & {f"mlops.{name}" for name in (*STAGES, "cli", "local")}


@pytest.mark.parametrize(
    "file", [file for file in modules() if not {"clients", "local"} & set(file.parts)], ids=identity
)
def test_only_clients_know_the_services_libraries(file: Path) -> None:
    roots = {name.split(".")[0] for name in runtime_imports(file)}
    assert not roots & CLIENT_LIBRARIES


@pytest.mark.parametrize("file", [file for file in modules() if "local" not in file.parts], ids=identity)
def test_the_product_does_not_know_the_local_stack(file: Path) -> None:
    allowed = (
        {"mlops.local.arguments", "mlops.local.arguments.add_arguments"} if file.name == "cli.py" else set()
    )
    assert {name for name in imports(file) if name.startswith("mlops.local")} <= allowed


@pytest.mark.parametrize("file", list(modules()), ids=identity)
def test_every_module_says_what_it_is_for(file: Path) -> None:
    assert ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))


@pytest.mark.parametrize("file", list(modules()), ids=identity)
def test_modules_are_short_and_named_for_what_they_hold(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 500
    assert file.stem not in {"utils", "util", "helpers", "helper", "common", "manager", "misc"}


@pytest.mark.parametrize("stage", sorted(STAGES - {"validate"}))
def test_a_stage_has_a_template_a_command_and_a_module(stage: str) -> None:
    from mlops.cli import COMMANDS

    assert (CHECKOUT / "ci-templates" / f"{stage}.yml").is_file()
    assert any(command.name == stage and command.module == f"mlops.{stage}" for command in COMMANDS)


def declared() -> dict[str, list[str]]:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {"core": project["dependencies"], **project["optional-dependencies"]}


def name_of(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9_.-]+", requirement)
    assert match
    return match[0]


@pytest.mark.parametrize("requirement", [one for group in declared().values() for one in group])
def test_every_dependency_has_its_reason_and_is_locked(requirement: str) -> None:
    name = name_of(requirement)
    assert f"| {name} |" in (CHECKOUT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    lock = (CHECKOUT / "requirements" / "dev.txt").read_text(encoding="utf-8").lower()
    assert re.search(rf"^{re.escape(name.lower())}(\[.*\])?==", lock, re.MULTILINE)


@pytest.mark.parametrize("requirement", declared()["core"])
def test_the_core_fits_what_airflow_has_locked(requirement: str) -> None:
    from packaging.requirements import Requirement

    wanted = Requirement(requirement)
    lock = (CHECKOUT / "requirements" / "airflow.txt").read_text(encoding="utf-8")
    match = re.search(rf"^{re.escape(wanted.name.lower())}==([^ ]+)", lock, re.MULTILINE | re.IGNORECASE)
    assert match
    assert wanted.specifier.contains(match[1])


@pytest.mark.parametrize("lock", sorted((CHECKOUT / "requirements").glob("*.txt")), ids=identity)
def test_locks_pin_hashes_and_name_no_host(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert "://" not in text
    assert text.count("==") <= text.count("--hash=sha256:")


def commands_in_docs() -> list[tuple[str, str]]:
    """The shell lines of every Markdown file, each with the file it stands in."""
    found = []
    for file in [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").rglob("*.md"))]:
        for block in re.findall(r"```sh\n(.*?)```", file.read_text(encoding="utf-8"), re.DOTALL):
            lines = block.replace("\\\n", " ").splitlines()
            found += [
                (identity(file), line.strip()) for line in lines if line.strip() and not line.startswith("#")
            ]
    return found


@pytest.mark.parametrize(("file", "line"), commands_in_docs())
def test_every_command_in_the_docs_exists(file: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    import shlex

    from mlops.cli import build_parser

    del file
    for command in re.split(r"&&|\|", line):
        words = shlex.split(command, comments=True)
        if words[:1] == ["make"]:
            targets = re.findall(
                r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
            )
            assert set(words[1:]) <= set(targets)
        elif words[:1] == ["mlops"]:
            try:
                build_parser(words[1]).parse_args(words[1:])
            except SystemExit as exit_:
                assert exit_.code == 0, capsys.readouterr().err


def test_every_document_the_product_names_is_there() -> None:
    sources = [*modules(), *(CHECKOUT / "lambda_trigger").glob("*.py"), *(CHECKOUT / "dags").glob("*.py")]
    sources += [*(CHECKOUT / "ci-templates").glob("*.yml"), CHECKOUT / "README.md"]
    named = {
        name
        for file in sources
        for name in re.findall(r"\bdocs/[a-z-]+\.md\b", file.read_text(encoding="utf-8"))
    }
    assert len(named) > 5
    assert [name for name in sorted(named) if not (CHECKOUT / name).is_file()] == []


def test_the_evaluation_in_the_docs_is_one() -> None:
    from mlops.decode import loads
    from mlops.evidence import EvaluationReport

    text = (CHECKOUT / "docs" / "contracts.md").read_text(encoding="utf-8")
    (example,) = [part for part in re.findall(r"```json\n(.*?)```", text, re.DOTALL) if '"metrics"' in part]
    assert loads(EvaluationReport, example, "docs/contracts.md").metrics["f1"] == 0.93


def test_nothing_slow_happens_when_a_stage_is_imported() -> None:
    import subprocess

    heavy = [
        "boto3",
        "botocore",
        "docker",
        "gitlab",
        "slack_sdk",
        "oras",
        "prometheus_client",
        "tabulate",
        "moto",
    ]
    names = ", ".join(f"mlops.{stage}" for stage in sorted(STAGES))
    code = f"import sys, {names}; print(*(name for name in {heavy!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []
