"""Every command of `mlops` with its options, as argparse knows them."""

# pylint: disable=protected-access  # argparse lists its options in no other way

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable

from mlops.cli import COMMANDS, Command, build_parser
from tools.reference.markdown import code, table

_DEFAULT = re.compile(r"\s*\(default: [^)]*\)")


def commands() -> str:
    """Return a section for each command."""
    return "\n".join(map(_section, COMMANDS))


def _section(command: Command) -> str:
    parser = _subparsers(build_parser(command.name))[command.name]
    examples = command.example.replace("\n  ", "\n")
    parts = [
        f"## mlops {command.name}\n\n{parser.description}\n\n```sh\n{examples}\n```\n\n{_options(parser)}"
    ]
    parts += [
        f"### mlops {command.name} {name}\n\n{about[0].upper()}{about[1:]}.\n\n{_options(action)}"
        for name, about, action in _actions(parser)
    ]
    return "\n".join(parts)


def _options(parser: argparse.ArgumentParser) -> str:
    known = [one for one in parser._actions if one.help is not argparse.SUPPRESS]
    rows = [
        (_name(one), _default(one), _DEFAULT.sub("", one.help or ""))
        for one in known
        if not isinstance(one, (argparse._HelpAction, argparse._SubParsersAction)) and one.dest != "json"
    ]
    return table(("option", "default", "meaning"), rows) if rows else ""


def _name(option: argparse.Action) -> str:
    value = option.metavar if isinstance(option.metavar, str) else ""
    if option.choices is not None and not value:
        value = " | ".join(map(str, option.choices))
    if not value and option.nargs != 0:
        value = option.dest.upper()
    if not option.option_strings:
        return code(f"[{value}]" if option.nargs == "?" else value)
    return code(" ".join(filter(None, (option.option_strings[-1], value))))


def _default(option: argparse.Action) -> str:
    if option.required:
        return "required"
    none = option.default in (None, "", False, 0) or option.default == []
    return "" if none or option.default is argparse.SUPPRESS else code(str(option.default))


def _actions(parser: argparse.ArgumentParser) -> Iterable[tuple[str, str, argparse.ArgumentParser]]:
    for group in parser._actions:
        if isinstance(group, argparse._SubParsersAction):
            about = {one.dest: one.help or "" for one in group._choices_actions}
            yield from ((name, about[name], action) for name, action in group.choices.items())


def _subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    return {name: action for name, _, action in _actions(parser)}
