"""Every record that travels between the parts, field by field, as its module's source has it."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

from tools.reference.markdown import code, sentence, table

# What travels, and the module that defines it.
MODULES: Mapping[str, str] = {
    "runs": "CI, the Lambda and the DAGs",
    "evidence": "What a training leaves on S3",
    "platform_settings": "The platform's settings",
}


def records(package: Path) -> str:
    """Return a section for each module of contracts, and in it one for each record."""
    classes = {module: _classes(package / "contracts" / f"{module}.py") for module in MODULES}
    known = {one.name: one for found in classes.values() for one in found}
    bases = {base for one in known.values() for base in _bases(one)}
    parts = []
    for module, title in MODULES.items():
        parts.append(f"## {title}\n\n`scripts/mlops/contracts/{module}.py`\n")
        parts += [_record(one, known) for one in classes[module] if one.name not in bases]
    return "\n".join(parts)


def _classes(file: Path) -> list[ast.ClassDef]:
    body = ast.parse(file.read_text(encoding="utf-8")).body
    return [one for one in body if isinstance(one, ast.ClassDef) and _is_record(one)]


def _is_record(node: ast.ClassDef) -> bool:
    return any(ast.unparse(decorator).startswith("dataclass") for decorator in node.decorator_list)


def _bases(node: ast.ClassDef) -> list[str]:
    return [ast.unparse(base) for base in node.bases]


def _record(node: ast.ClassDef, known: Mapping[str, ast.ClassDef]) -> str:
    about = sentence(ast.get_docstring(node) or "")
    head = ("field", "type", "default", "meaning")
    return f"### {node.name}\n\n{about}.\n\n{table(head, _fields(node, known))}"


def _fields(node: ast.ClassDef, known: Mapping[str, ast.ClassDef]) -> Iterator[tuple[str, str, str, str]]:
    """Yield the fields in the order of dataclasses: those of the last base first."""
    for base in reversed(_bases(node)):
        yield from _fields(known[base], known)
    for index, line in enumerate(node.body):
        if isinstance(line, ast.AnnAssign):
            after = node.body[index + 1] if index + 1 < len(node.body) else None
            kind = code(ast.unparse(line.annotation))
            yield ast.unparse(line.target), kind, _default(line.value), _about(after)


def _default(value: ast.expr | None) -> str:
    if value is None:
        return "required"
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "field":
        (factory,) = (word.value for word in value.keywords if word.arg == "default_factory")
        return f"an empty {ast.unparse(factory)}"
    text = ast.unparse(value)
    return "empty" if text in ("''", "()") else code(text)


def _about(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return sentence(str(node.value.value))
    return ""
