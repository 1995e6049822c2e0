"""When a schedule ticks: cron lines, time zones, and what one schedule of one flow remembers.

A line is read once (`Schedule.parse`) and asked for the next tick (`next_after`), epoch seconds in and
out. Clocks that are set forward or back follow one rule. A line that names every hour follows real time:
"hourly" ticks 23 or 25 times on such a day. Any other line follows the clock on the wall: a time that the
clock leaves out ticks when the clock goes on, a time that it shows twice ticks the first time. So a daily
tick comes once a day, every day.

The kernel keeps a `Ticks` for each schedule and asks `advance` for the next one. Time is passed in.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from lightning.app.config import guess
from lightning.app.errors import ScheduleError

if TYPE_CHECKING:
    from cronsim import CronSim  # imported with the first schedule: most apps have none

NAMES = {
    "midnight": "0 0 * * *",
    "hourly": "0 * * * *",
    "daily": "0 0 * * *",
    "weekly": "0 0 * * 0",
    "monthly": "0 0 1 * *",
    "yearly": "0 0 1 1 *",
    "annually": "0 0 1 1 *",
}

FIELDS = (
    ("second", "0-59"),
    ("minute", "0-59"),
    ("hour", "0-23"),
    ("day of the month", "1-31, L for the last one or LW for the last weekday"),
    ("month", "1-12 or JAN-DEC"),
    ("day of the week", "0-7 or SUN-SAT, 5L for the last Friday, 5#2 for the second"),
)

SETBACK = 3 * 3600.0
"""A clock set back by no more than this repeats no tick; set back further, it is believed."""

_WEEK = 7 * 86400.0
_EPOCH = datetime(1970, 1, 1)


class Schedule:
    """One cron line in one time zone. Immutable, and equal to another that reads the same.

    >>> noon = Schedule.parse("0 12 * * *", "Europe/Berlin")
    >>> noon.next_after(0.0)  # 1970-01-01 12:00 in Berlin
    39600.0
    """

    __slots__ = ("_fields", "_follows_real_time", "_zone", "line", "zone")

    def __init__(self, line: str, zone: str) -> None:
        self.line = line
        self.zone = zone
        self._zone = _zone(zone)
        self._fields, cron = _read(line)
        self._follows_real_time = len(cron.hours) == 24

    @staticmethod
    def parse(line: str, zone: str) -> Schedule:
        """Read ``line`` for the time zone ``zone`` ("Europe/Berlin"); reading it again costs nothing."""
        if not isinstance(line, str):
            raise ScheduleError(
                f"a schedule is a cron line such as '0 9 * * *' or a name such as 'hourly', not {line!r}"
            )
        return _parse(line, zone)

    def __repr__(self) -> str:
        return f"Schedule.parse({self.line!r}, {self.zone!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schedule) and (self._fields, self.zone) == (other._fields, other.zone)

    def __hash__(self) -> int:
        return hash((self._fields, self.zone))

    def next_after(self, at: float) -> float | None:
        """The first tick later than ``at``, or None where the line's last day is over."""
        return self._next_instant(at) if self._follows_real_time else self._next_wall(at)

    def latest(self, since: float, now: float) -> tuple[float, float | None] | None:
        """The last tick in ``(since, now]`` and the one that follows it, None if there is no tick in there.

        However many ticks lie between, this asks for the next one about twenty times at most.
        """
        tick = self.next_after(since)
        if tick is None or tick > now:
            return None
        late = now  # no tick is known to lie in (late, now]
        while (following := self.next_after(tick)) is not None and following <= now:
            tick = following
            while late - tick > 1.0:
                middle = (tick + late) / 2
                later = self.next_after(middle)
                if later is not None and later <= now:
                    tick = later
                    break
                late = middle
        return tick, following

    def instant(self, moment: datetime) -> float:
        """Epoch seconds of ``moment``, which is in this schedule's zone where it names none."""
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=self._zone)
        return moment.timestamp()

    def _walls(self, wall: datetime) -> Iterator[datetime]:
        """The times later than ``wall`` that the line names, as a clock without a time zone shows them."""
        from cronsim import CronSim

        try:
            yield from CronSim(self._fields, wall)
        except OverflowError:  # the calendar ends with the year 9999
            return

    def _offset(self, at: float) -> float:
        offset = datetime.fromtimestamp(at, self._zone).utcoffset()
        return 0.0 if offset is None else offset.total_seconds()

    def _change(self, start: float, end: float) -> float | None:
        """The first whole second in ``(start, end]`` at which the clock differs from ``start``'s.

        Looks at one moment a week, for no zone changes its clock and changes it back within one.
        """
        offset = self._offset(start)
        same, probe = start, min(start + _WEEK, end)
        while self._offset(probe) == offset:
            if probe == end:
                return None
            same, probe = probe, min(probe + _WEEK, end)
        changed = probe
        while changed - same > 1:
            middle = math.floor((same + changed) / 2)
            if self._offset(middle) == offset:
                same = middle
            else:
                changed = middle
        return changed

    def _next_instant(self, at: float) -> float | None:
        """Follow real time: look within each stretch in which the clock is not changed."""
        start = math.floor(at)  # ticks are whole seconds
        stretch = float(start)
        while True:
            offset = self._offset(stretch)
            wall = next(self._walls(_EPOCH + timedelta(seconds=start + offset)), None)
            if wall is None:
                return None
            tick = (wall - _EPOCH).total_seconds() - offset
            change = self._change(stretch, tick)
            if change is None:
                return tick
            start, stretch = int(change) - 1, change

    def _next_wall(self, at: float) -> float | None:
        """Follow the clock on the wall."""
        start = math.floor(at)
        for wall in self._walls(_EPOCH + timedelta(seconds=start + self._offset(start))):
            tick = self._shown(wall)
            if tick > at:  # else it was shown before the clock was set back
                return tick
        return None

    def _shown(self, wall: datetime) -> float:
        """When the clock first shows ``wall``, or has gone past it if it never does."""
        first = wall.replace(tzinfo=self._zone).timestamp()
        if datetime.fromtimestamp(first, self._zone).replace(tzinfo=None) == wall:
            return first
        # In a gap, fold=1 reckons with the offset after it and so gives a moment before the change.
        before = wall.replace(tzinfo=self._zone, fold=1).timestamp()
        change = self._change(before, first)
        return first if change is None else change


class Ticks(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where one schedule of one flow stands. Numbers only; ``advance`` makes the next from it.

    ``number`` says how many ticks there were. It names the last one in the keys of calls, because it never
    comes twice; ``last`` can, when somebody sets the clock back by a day.
    """

    number: int
    last: float | None  # what the last tick stood for: its due time, or when the first pass came
    due: float | None  # the next tick; None where none will come
    since: float  # when ``due`` was reckoned


def advance(schedule: Schedule, ticks: Ticks | None, now: float, start: float | None = None) -> Ticks:
    """Where ``schedule`` stands at ``now``: the same object where nothing happened, else what to keep.

    It ticked if ``number`` rose. The first pass that reaches a schedule is its first tick (from ``start``
    on, if given). After that a tick is due at each time of the line; of several that were missed, by a
    closed laptop or a clock set forward, one comes, and it stands for the last of them.
    """
    if ticks is None:
        ticks = Ticks(0, None, now if start is None else max(now, start), now)
    if ticks.last is None:
        if ticks.due is None or now < ticks.due:
            return ticks
        return Ticks(1, now, schedule.next_after(now), now)
    if ticks.due is not None and now >= ticks.due:
        latest = schedule.latest(ticks.due - 1, now)
        # None: ``due`` is no tick of this schedule since its time zone or the zone's rules were changed.
        tick, following = latest or (ticks.due, schedule.next_after(now))
        if tick == ticks.last:  # the clock was set back and then forward again
            return Ticks(ticks.number, tick, following, now)
        return Ticks(ticks.number + 1, tick, following, now)
    if ticks.since - now > SETBACK:
        # The clock was wrong then, or is now. Waiting until it is there again could take years.
        due = schedule.next_after(now)
        if due is not None and due == ticks.last:
            due = schedule.next_after(due)
        return Ticks(ticks.number, ticks.last, due, now)
    return ticks


@lru_cache(maxsize=1024)
def _parse(line: str, zone: str) -> Schedule:
    return Schedule(line, zone)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as err:  # OSError: the name of a folder of zones
        raise ScheduleError(
            f"there is no time zone {name!r}; write one as 'Europe/Berlin' or 'UTC' (this machine's list is "
            "zoneinfo.available_timezones(); if that is empty: pip install tzdata)"
        ) from err


def _read(line: str) -> tuple[str, CronSim]:
    """The line as six fields, seconds first, and cronsim's reading of them."""
    words = line.split()
    if len(words) == 1:
        name = words[0].lower().removeprefix("@")
        if name not in NAMES:
            raise ScheduleError(_unknown_name(line, name))
        words = NAMES[name].split()
    if len(words) not in (5, 6):
        raise ScheduleError(
            f"cron line {line!r} has {len(words)} fields; it takes five (minute, hour, day of the month, "
            "month, day of the week) or six (second first), for example '30 9 * * MON-FRI'"
        )
    first = ["0", *words] if len(words) == 5 else words
    cron = _cron(first)
    if len(words) == 6 and (cron is None or (words[0] == "*" and words[5] != "*")):
        # Others write the seconds last. "Every second on some weekdays" is what nobody means.
        last = [words[5], *words[:5]]
        swapped = _cron(last)
        if swapped is not None:
            return " ".join(last), swapped
    if cron is None:
        raise ScheduleError(_complaint(line, first))
    return " ".join(first), cron


def _cron(fields: list[str]) -> CronSim | None:
    """Cronsim's reading, None where it has none or where no day on the calendar fits."""
    from cronsim import CronSim, CronSimError

    try:
        cron = CronSim(" ".join(fields), datetime(2000, 1, 1))
        next(cron)
    except (CronSimError, StopIteration, ValueError, TypeError, AssertionError):
        return None  # cronsim asserts where it might complain: "5L/2"
    return CronSim(" ".join(fields), datetime(2000, 1, 1))


def _complaint(line: str, fields: list[str]) -> str:
    for index, (name, allowed) in enumerate(FIELDS):
        alone = ["*"] * 6
        alone[index] = fields[index]
        if _cron(alone) is None:
            return (
                f"cron line {line!r}: {fields[index]!r} is no {name} ({allowed}; also *, lists 1,2, ranges "
                "1-5, steps */5). For example '30 9 * * MON-FRI' is every weekday at 9:30"
            )
    return (
        f"cron line {line!r}: day of the month {fields[3]!r} never comes in month {fields[4]!r}. "
        "For example '0 0 L * *' is midnight of each month's last day"
    )


def _unknown_name(line: str, name: str) -> str:
    return (
        f"{line!r} is no schedule{guess(name, tuple(NAMES))}: names are {', '.join(NAMES)}, and a cron line "
        "has five fields, for example '30 9 * * MON-FRI'"
    )
