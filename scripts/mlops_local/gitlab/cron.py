"""The next time of a cron line: five fields of numbers, names, `*`, ranges, lists and steps."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from itertools import product
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec"
_WEEKDAYS = "sun mon tue wed thu fri sat"
_PART = re.compile(r"(?:(?P<all>\*)|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d+))?")
_DAYS = 366 * 5


def valid_zone(zone: str) -> bool:
    """Whether there is such a time zone."""
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):
        return False
    return True


def next_run(line: str, zone: str, after: datetime) -> datetime | None:
    """The first minute after `after` that the line names, in UTC; None when there is none, or no line."""
    fields = line.split()
    parsed = [_field(text, index) for index, text in enumerate(fields)] if len(fields) == len(_RANGES) else []
    if not parsed or not all(parsed):
        return None
    either = fields[2] != "*" and fields[4] != "*"
    local = after.astimezone(ZoneInfo(zone))
    for offset in range(_DAYS):
        day = local.date() + timedelta(days=offset)
        if not _on(day, parsed, either=either):
            continue
        for hour, minute in product(sorted(parsed[1]), sorted(parsed[0])):
            moment = datetime(day.year, day.month, day.day, hour, minute, tzinfo=ZoneInfo(zone))
            if moment > local:
                return moment.astimezone(UTC)
    return None


def _on(day: date, fields: list[set[int]], *, either: bool) -> bool:
    """Whether a day is one; by its date or its weekday where both are given, as in cron(8)."""
    by_date, by_weekday = day.day in fields[2], bool({day.isoweekday(), day.isoweekday() % 7} & fields[4])
    return day.month in fields[3] and ((by_date or by_weekday) if either else (by_date and by_weekday))


def _field(text: str, index: int) -> set[int]:
    """The numbers a field names; empty when it is none."""
    low, high = _RANGES[index]
    numbers: set[int] = set()
    for part in text.lower().split(","):
        match = _PART.fullmatch(part)
        if match is None or match["step"] == "0":
            return set()
        first = low if match["all"] else _number(match["first"], index)
        last = _number(match["last"], index) if match["last"] else first
        if match["all"] or (match["step"] and not match["last"]):
            last = high
        if not low <= first <= last <= high:
            return set()
        numbers |= set(range(first, last + 1, int(match["step"] or 1)))
    return numbers


def _number(text: str, index: int) -> int:
    names = {3: ("", *_MONTHS.split()), 4: tuple(_WEEKDAYS.split())}.get(index, ())
    if text in names:
        return names.index(text)
    return int(text) if text.isdecimal() else -1
