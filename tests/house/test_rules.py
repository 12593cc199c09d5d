"""The rules of the house, kept by a machine: what is named how, what is documented. Imports: pyproject.toml."""

from __future__ import annotations

import ast
import io
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
PACKAGE = CHECKOUT / "scripts" / "mlops"
LOCAL = CHECKOUT / "scripts" / "mlops_local"
# A stage's module lies in the room of its subject.
STAGES = {
    "validate": "manifest",
    "containerize": "images",
    "train": "training",
    "evaluate": "evaluation",
    "retrain": "training",
    "deploy": "deployment",
    "notify": "notifications",
    "terraform": "platform",
    "fetch": "downstream",
    "answer": "downstream",
}


def modules() -> Iterator[Path]:
    yield from sorted([*PACKAGE.rglob("*.py"), *LOCAL.rglob("*.py")])


def identity(path: Path) -> str:
    return str(path.relative_to(CHECKOUT))


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        identity(file)
        for file in modules()
        if not ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    ]
    assert silent == []


def test_modules_are_short_and_named_for_what_they_hold() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
    assert [identity(file) for file in modules() if file.stem in vague] == []
    lengths = {identity(file): len(file.read_text(encoding="utf-8").splitlines()) for file in modules()}
    assert {file: lines for file, lines in lengths.items() if lines > 500} == {}


def test_a_stage_has_a_template_a_command_and_a_module() -> None:
    from mlops.cli import COMMANDS

    commands = {(command.name, command.module) for command in COMMANDS}
    stages = {stage: room for stage, room in sorted(STAGES.items()) if stage != "validate"}
    assert [one for one in stages if not (CHECKOUT / "ci-templates" / f"{one}.yml").is_file()] == []
    assert [one for one, room in stages.items() if (one, f"mlops.{room}.{one}") not in commands] == []


def declared() -> dict[str, list[str]]:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {"core": project["dependencies"], **project["optional-dependencies"]}


def name_of(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9_.-]+", requirement)
    assert match
    return match[0]


def test_every_dependency_has_its_reason_and_is_locked() -> None:
    names = [name_of(requirement) for group in declared().values() for requirement in group]
    tools = (CHECKOUT / "requirements" / "dev.in").read_text(encoding="utf-8").splitlines()
    tools = [name_of(line) for line in tools if not line.startswith(("-", "types-"))]
    page = (CHECKOUT / "docs" / "explain" / "dependencies.md").read_text(encoding="utf-8")
    lock = (CHECKOUT / "requirements" / "dev.txt").read_text(encoding="utf-8").lower()
    assert names
    assert [name for name in names if f"| {name} |" not in page] == []
    assert [
        name for name in tools if not re.search(rf"^\| (.+, )?{name}(, .+)? \| ", page, re.MULTILINE)
    ] == []
    pinned = [rf"^{re.escape(name.lower())}(\[.*\])?==" for name in names]
    assert [one for one in pinned if not re.search(one, lock, re.MULTILINE)] == []


def test_the_core_fits_what_airflow_has_locked() -> None:
    from packaging.requirements import Requirement

    lock = (CHECKOUT / "requirements" / "airflow.txt").read_text(encoding="utf-8")
    offenders = []
    for requirement in declared()["core"]:
        wanted = Requirement(requirement)
        match = re.search(rf"^{re.escape(wanted.name)}==([^ ]+)", lock, re.MULTILINE | re.IGNORECASE)
        if match is None or not wanted.specifier.contains(match[1]):
            offenders.append((requirement, match and match[1]))
    assert offenders == []


def test_locks_pin_hashes_and_name_no_host() -> None:
    texts = {
        lock.name: lock.read_text(encoding="utf-8") for lock in (CHECKOUT / "requirements").glob("*.txt")
    }
    assert texts
    assert [name for name, text in texts.items() if "://" in text] == []
    assert [name for name, text in texts.items() if text.count("==") > text.count("--hash=sha256:")] == []


def commands_in_docs() -> list[tuple[str, str]]:
    """The shell lines of every Markdown file, each with the file it stands in."""
    found = []
    for file in [
        CHECKOUT / "README.md",
        CHECKOUT / "CONTRIBUTING.md",
        *sorted((CHECKOUT / "docs").rglob("*.md")),
    ]:
        for block in re.findall(r"```sh\n(.*?)```", file.read_text(encoding="utf-8"), re.DOTALL):
            lines = block.replace("\\\n", " ").splitlines()
            found += [
                (identity(file), line.strip()) for line in lines if line.strip() and not line.startswith("#")
            ]
    return found


def test_every_command_in_the_docs_exists() -> None:
    found = commands_in_docs()
    assert len(found) > 50
    assert [(file, line, why) for file, line in found if (why := _refusal(line))] == []


def _refusal(line: str) -> str:
    """Why a shell line of the docs cannot be run as it stands; empty if nothing is known against it."""
    from mlops.cli import build_parser

    targets = re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for command in re.split(r"&&|\|", line):
        words = shlex.split(command, comments=True)
        if words[:1] == ["make"] and (unknown := set(words[1:]) - set(targets)):
            return f"there is no such target: {unknown}"
        if words[:1] == ["mlops"]:
            said = io.StringIO()
            try:
                with redirect_stderr(said), redirect_stdout(io.StringIO()):
                    build_parser(words[1]).parse_args(words[1:])
            except SystemExit as exit_:
                if exit_.code != 0:
                    return said.getvalue()
    return ""


def test_every_document_the_product_names_is_there() -> None:
    sources = [*modules(), *(CHECKOUT / "lambda_trigger").glob("*.py"), *(CHECKOUT / "dags").glob("*.py")]
    sources += [*(CHECKOUT / "ci-templates").glob("*.yml"), CHECKOUT / "README.md"]
    named = {
        name
        for file in sources
        for name in re.findall(r"\bdocs/[a-z/-]+\.md\b", file.read_text(encoding="utf-8"))
    }
    assert len(named) > 5
    assert [name for name in sorted(named) if not (CHECKOUT / name).is_file()] == []


def test_every_path_in_the_docs_is_there() -> None:
    folders = [one.name for one in CHECKOUT.iterdir() if one.is_dir() and one.name[0] != "."]
    pattern = re.compile(rf"`((?:{'|'.join(folders)})/[^`\s<>…{{}}]*)`")
    pages = [CHECKOUT / "README.md", CHECKOUT / "CONTRIBUTING.md", *(CHECKOUT / "docs").rglob("*.md")]
    named = {
        (identity(page), path)
        for page in pages
        for path in pattern.findall(page.read_text(encoding="utf-8"))
        if "NAME" not in path and not path.startswith(("build/", "site/"))
    }
    assert len(named) > 30
    made = ("data/",)  # below the bucket
    assert [
        one for one in sorted(named) if not one[1].startswith(made) and not list(CHECKOUT.glob(one[1]))
    ] == []


def test_the_evaluation_in_the_docs_is_one() -> None:
    from mlops.base.strict_json import loads
    from mlops.contracts.evidence import EvaluationReport

    text = (CHECKOUT / "docs" / "reference" / "contracts.md").read_text(encoding="utf-8")
    (example,) = [part for part in re.findall(r"```json\n(.*?)```", text, re.DOTALL) if '"metrics"' in part]
    assert loads(EvaluationReport, example, "docs/reference/contracts.md").metrics["f1"] == 0.93


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
    names = ", ".join(f"mlops.{room}.{stage}" for stage, room in sorted(STAGES.items()))
    code = f"import sys, {names}; print(*(name for name in {heavy!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []


def test_renovate_can_read_what_it_is_told() -> None:
    import subprocess

    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.renovate",
        "renovate.json",
    ]
    done = subprocess.run(command, cwd=CHECKOUT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_every_owner_s_path_is_there() -> None:
    lines = (CHECKOUT / ".gitlab" / "CODEOWNERS").read_text(encoding="utf-8").splitlines()
    paths = [line.split()[0] for line in lines if line.startswith("/")]
    assert len(paths) > 3
    assert [path for path in paths if not (CHECKOUT / path.strip("/")).exists()] == []


def test_phrases_that_went_stay_away() -> None:
    page = CHECKOUT / "docs" / "contribute" / "style.md"
    rows = re.findall(r"^\| `(.+)` \| .+ \|$", page.read_text(encoding="utf-8"), re.MULTILINE)
    patterns = [re.compile(rf"(?<![Tt]here ){row}".replace("\\|", "|")) for row in rows]
    assert len(patterns) > 3
    assert patterns[0].search("the text is no number")

    folders = ("scripts", "dags", "lambda_trigger", "ci-templates", "docs")
    files = [file for folder in folders for file in sorted((CHECKOUT / folder).rglob("*"))]
    found = [
        (identity(file), match[0])
        for file in files
        if file.suffix in (".py", ".yml", ".md") and file != page
        for pattern in patterns
        for match in pattern.finditer(file.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_a_class_is_found_by_searching_its_name_once() -> None:
    places: dict[str, list[str]] = {}
    for file in modules():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(f"{identity(file)}:{node.lineno}")
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
