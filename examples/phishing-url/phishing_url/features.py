"""What a website looks like to the model. Training, evaluation and serving all read it here."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from phishing_url.container import ModelError

Site = dict[str, float]

# 0, 0.5 and 1 are the source's three answers; two columns know only no and yes.
_THREE = (0.0, 0.5, 1.0)
_TWO = (0.0, 1.0)
COLUMNS = {
    "empty_server_form_handler": _THREE,
    "popup_window": _THREE,
    "https": _THREE,
    "request_from_other_domain": _THREE,
    "anchor_from_other_domain": _THREE,
    "is_popular": _THREE,
    "long_url": _THREE,
    "age_of_domain": _TWO,
    "ip_in_url": _TWO,
}
LABEL = "is_phishing"

# What the model looks at: the address, its domain and the form; the rest of the page is still to come.
FEATURES = (
    "empty_server_form_handler",
    "https",
    "is_popular",
    "long_url",
    "age_of_domain",
    "ip_in_url",
)


def read_site(values: Mapping[str, object], where: str) -> Site:
    """Check one website's values.

    Every column is required, even those this version of the model ignores: a better model must not break
    its callers.

    Raises:
        ModelError: naming the place, the column, what was found and what is allowed.
    """
    for name in values:
        if name not in COLUMNS:
            near = get_close_matches(str(name), COLUMNS, n=1)
            hint = f"did you mean '{near[0]}'?" if near else "allowed: " + ", ".join(COLUMNS)
            raise ModelError(f"{where}: unknown feature '{str(name)[:50]}'; {hint}")
    return {name: _number(values, name, where) for name in COLUMNS}


def _number(values: Mapping[str, object], name: str, where: str) -> float:
    if name not in values:
        raise ModelError(f"{where}: feature '{name}' is missing")
    value = values[name]
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            pass
        else:
            if number in COLUMNS[name]:
                return number
    allowed = ", ".join(f"{one:g}" for one in COLUMNS[name])
    raise ModelError(f"{where}: '{name}' is {str(value)[:50]!r}; allowed: {allowed}")


def vectors(sites: list[Site]) -> list[list[float]]:
    """The numbers the model learns from, one row a website."""
    return [[site[name] for name in FEATURES] for site in sites]


def read_examples(directory: Path) -> tuple[list[Site], list[int]]:
    """All websites of a directory's CSV files, with their labels (1 is phishing).

    Raises:
        ModelError: when there are none, a value is wrong, or they are all of one kind.
    """
    sites: list[Site] = []
    labels: list[int] = []
    for path in sorted(directory.glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, restkey="(a column too many)", restval="")
            for row in reader:
                where = f"{path.name}, line {reader.line_num}"
                label = row.pop(LABEL, None)
                if label not in ("0", "1"):
                    raise ModelError(f"{where}: '{LABEL}' is {label!r}; allowed: 0, 1")
                sites.append(read_site(row, where))
                labels.append(int(label))
    if len(set(labels)) < 2:
        raise ModelError(f"{directory} needs CSV files with websites of both kinds; found {len(labels)} rows")
    return sites, labels
