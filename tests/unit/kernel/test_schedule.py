"""Cron lines, clocks that are set, and what a schedule remembers."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import count
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning.app.errors import ScheduleError
from lightning.app.kernel.schedule import NAMES, SETBACK, Schedule, Ticks, advance

HOUR = 3600.0
DAY = 24 * HOUR
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Havana", "Asia/Kolkata"]
LINES = [
    *NAMES,
    "30 2 * * *",
    "*/15 * * * *",
    "0 */2 * * *",
    "*/20 1-3 * * *",
    "0 0 L * *",
    "0 9 * * MON-FRI",
    "*/7 * * * * *",
    "15 30 2 * * *",
]
CHANGES = [
    ("Europe/Berlin", "2026-03-29"),
    ("Europe/Berlin", "2026-10-25"),
    ("America/New_York", "2026-03-08"),
    ("America/New_York", "2026-11-01"),
    ("Australia/Lord_Howe", "2026-04-05"),
    ("Australia/Lord_Howe", "2026-10-04"),
    ("America/Havana", "2026-03-08"),
    ("America/Havana", "2026-11-01"),
]
MOMENTS = st.floats(min_value=1.5e9, max_value=2.0e9)


def walls(line: str, zone: str, start: str, ticks: int) -> list[str]:
    """The next ticks as that zone's clock shows them, each with its offset from UTC."""
    schedule = Schedule.parse(line, zone)
    at: float | None = schedule.instant(datetime.fromisoformat(start))
    shown = []
    for _ in range(ticks):
        assert at is not None
        at = schedule.next_after(at)
        if at is None:
            break
        shown.append(datetime.fromtimestamp(at, ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M:%S%z"))
    return shown


def moment(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


class TestReading:
    @pytest.mark.parametrize("name", NAMES)
    def test_a_name_is_its_line_with_or_without_the_sign(self, name: str) -> None:
        assert Schedule.parse(name, "UTC") == Schedule.parse(NAMES[name], "UTC")
        assert Schedule.parse(f"@{name}", "UTC") == Schedule.parse(name.upper(), "UTC")

    def test_six_fields_begin_with_the_seconds(self) -> None:
        assert walls("*/20 * * * * *", "UTC", "2026-01-01", 3) == [
            "2026-01-01 00:00:20+0000",
            "2026-01-01 00:00:40+0000",
            "2026-01-01 00:01:00+0000",
        ]

    @pytest.mark.parametrize(
        ("last", "first"),
        [
            ("* * * * * */5", "*/5 * * * * *"),
            ("* * * * * 0,30", "0,30 * * * * *"),
            ("0 12 * * * 45", "45 0 12 * * *"),
        ],
    )
    def test_seconds_that_can_only_be_meant_last_are_read_so(self, last: str, first: str) -> None:
        assert Schedule.parse(last, "UTC") == Schedule.parse(first, "UTC")

    def test_every_second_of_one_weekday_can_be_said_with_its_name(self) -> None:
        sunday = Schedule.parse("* * * * * SUN", "UTC")
        assert sunday.next_after(moment("2026-11-21 12:00")) == moment("2026-11-22 00:00")

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("houry", "did you mean 'hourly'"),
            ("@reboot", "names are midnight, hourly"),
            ("", "has 0 fields"),
            ("* * * *", "has 4 fields"),
            ("* * * * * * *", "has 7 fields"),
            ("61 * * * *", "'61' is no minute"),
            ("* 24 * * *", "'24' is no hour"),
            ("* * 0 * *", "'0' is no day of the month"),
            ("* * * JANUARY *", "'JANUARY' is no month"),
            ("* * * * 8", "'8' is no day of the week"),
            ("* * * * 5L/2", "'5L/2' is no day of the week"),
            ("61 * * * * *", "'61' is no second"),
            ("*/0 * * * *", r"'\*/0' is no minute"),
            ("9-5 * * * *", "'9-5' is no minute"),
            ("* * * * " + "9" * 5000, "is no day of the week"),
            ("0 0 30 2 *", "'30' never comes in month '2'"),
        ],
    )
    def test_a_bad_line_names_itself_the_field_and_a_right_one(self, line: str, said: str) -> None:
        with pytest.raises(ScheduleError, match=said) as refusal:
            Schedule.parse(line, "UTC")
        assert repr(line) in str(refusal.value)
        assert "for example" in str(refusal.value).lower()

    def test_what_is_no_text_is_refused(self) -> None:
        with pytest.raises(ScheduleError, match="not 5"):
            Schedule.parse(5, "UTC")  # type: ignore[arg-type]

    @pytest.mark.parametrize("zone", ["Europe/Berln", "Europe", "", "../etc/passwd", "/etc/passwd", "A\0B"])
    def test_an_unknown_time_zone_names_itself(self, zone: str) -> None:
        with pytest.raises(ScheduleError, match="there is no time zone"):
            Schedule.parse("hourly", zone)

    @given(st.text(alphabet="0123456789*/,-#LW SUNJA@", max_size=20))
    def test_any_text_is_read_or_refused(self, line: str) -> None:
        try:
            schedule = Schedule.parse(line, "UTC")
        except ScheduleError:
            return
        assert schedule.next_after(1.7e9) is not None


class TestClocks:
    @pytest.mark.parametrize(
        ("zone", "start", "expected"),
        [
            # the clock leaves 02:30 out: it ticks when the clock goes on
            ("Europe/Berlin", "2026-03-28 12:00", ["2026-03-29 03:00:00+0200", "2026-03-30 02:30:00+0200"]),
            (
                "America/New_York",
                "2026-03-07 12:00",
                ["2026-03-08 03:00:00-0400", "2026-03-09 02:30:00-0400"],
            ),
            # the clock shows 02:30 (01:30 in New York) twice: it ticks the first time
            ("Europe/Berlin", "2026-10-24 12:00", ["2026-10-25 02:30:00+0200", "2026-10-26 02:30:00+0100"]),
            # half an hour forward at 02:00, and back at 02:00
            ("Australia/Lord_Howe", "2026-10-03 12:00", ["2026-10-04 02:30:00+1100"]),
            ("Australia/Lord_Howe", "2026-04-04 12:00", ["2026-04-05 02:30:00+1030"]),
        ],
    )
    @pytest.mark.parametrize("line", ["30 2 * * *", "0 30 2 * * *"])
    def test_a_daily_tick_at_half_past_two(
        self, line: str, zone: str, start: str, expected: list[str]
    ) -> None:
        assert walls(line, zone, start, len(expected)) == expected

    def test_a_time_shown_twice_ticks_the_first_time_even_when_asked_within_the_second(self) -> None:
        schedule = Schedule.parse("45 1 * * *", "America/New_York")
        second_half_past_one = datetime(2026, 11, 1, 1, 30, tzinfo=ZoneInfo("America/New_York"), fold=1)
        tick = schedule.next_after(second_half_past_one.timestamp())
        assert tick == schedule.instant(datetime(2026, 11, 2, 1, 45))

    def test_midnight_ticks_where_the_clock_leaves_midnight_out(self) -> None:
        assert walls("midnight", "America/Havana", "2026-03-07 12:00", 2) == [
            "2026-03-08 01:00:00-0400",
            "2026-03-09 00:00:00-0400",
        ]

    @pytest.mark.parametrize(
        ("zone", "start", "expected"),
        [
            ("Europe/Berlin", "2026-03-29 00:30", ["01:00:00+0100", "03:00:00+0200", "04:00:00+0200"]),
            ("Europe/Berlin", "2026-10-25 01:30", ["02:00:00+0200", "02:00:00+0100", "03:00:00+0100"]),
            ("America/New_York", "2026-11-01 00:30", ["01:00:00-0400", "01:00:00-0500", "02:00:00-0500"]),
            ("Australia/Lord_Howe", "2026-10-04 00:30", ["01:00:00+1030", "03:00:00+1100", "04:00:00+1100"]),
            ("Australia/Lord_Howe", "2026-04-05 00:30", ["01:00:00+1100", "02:00:00+1030", "03:00:00+1030"]),
        ],
    )
    def test_hourly_follows_real_time(self, zone: str, start: str, expected: list[str]) -> None:
        assert [shown.split()[1] for shown in walls("hourly", zone, start, 3)] == expected

    def test_a_day_that_a_zone_left_out_ticks_once_when_the_clock_goes_on(self) -> None:
        assert walls("0 9 * * *", "Pacific/Apia", "2011-12-29 10:00", 2) == [
            "2011-12-31 00:00:00+1400",
            "2011-12-31 09:00:00+1400",
        ]

    def test_the_leap_day_comes_every_four_years(self) -> None:
        assert walls("0 0 29 2 *", "UTC", "2026-01-01", 2) == [
            "2028-02-29 00:00:00+0000",
            "2032-02-29 00:00:00+0000",
        ]

    def test_the_last_day_of_each_month(self) -> None:
        days = [shown[:10] for shown in walls("0 0 L * *", "Europe/Berlin", "2028-01-01", 4)]
        assert days == ["2028-01-31", "2028-02-29", "2028-03-31", "2028-04-30"]

    def test_the_thirty_first_skips_the_short_months(self) -> None:
        days = [shown[:10] for shown in walls("0 0 31 * *", "UTC", "2026-01-31", 3)]
        assert days == ["2026-03-31", "2026-05-31", "2026-07-31"]

    def test_no_tick_comes_after_the_last_year(self) -> None:
        assert Schedule.parse("hourly", "UTC").next_after(moment("9999-12-31 23:30")) is None

    @given(st.sampled_from(ZONES[:4]), st.integers(0, 40 * 365))
    def test_a_daily_tick_comes_once_a_day_every_day(self, zone: str, day: int) -> None:
        schedule = Schedule.parse("30 2 * * *", zone)
        at = schedule.instant(datetime(1990, 1, 1)) + day * DAY
        first = schedule.next_after(at)
        assert first is not None
        second = schedule.next_after(first)
        assert second is not None
        dates = [datetime.fromtimestamp(tick, ZoneInfo(zone)).date() for tick in (first, second)]
        assert (dates[1] - dates[0]).days == 1

    @given(st.sampled_from(CHANGES), st.integers(-1, 1), st.integers(0, 23), st.integers(0, 59))
    def test_a_daily_tick_comes_when_the_clock_first_shows_its_time_or_a_later_one(
        self, change: tuple[str, str], days: int, hour: int, minute: int
    ) -> None:
        zone = ZoneInfo(change[0])
        day = date.fromisoformat(change[1]) + timedelta(days=days)
        schedule = Schedule.parse(f"{minute} {hour} * * *", change[0])
        midnight = datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()
        shown = ((at, datetime.fromtimestamp(at, zone)) for at in count(midnight, 60))
        first = next(at for at, wall in shown if wall.date() == day and wall.time() >= time(hour, minute))
        assert schedule.next_after(first - 1) == first

    @given(st.sampled_from(CHANGES), st.integers(0, 59), st.integers(0, 2 * 86400))
    def test_hourly_ticks_come_whenever_the_clock_shows_their_minute(
        self, change: tuple[str, str], minute: int, seconds: int
    ) -> None:
        zone = ZoneInfo(change[0])
        schedule = Schedule.parse(f"{minute} * * * *", change[0])
        at = datetime.fromisoformat(change[1]).replace(tzinfo=UTC).timestamp() - DAY + seconds
        minutes = count(at - at % 60 + 60, 60)
        first = next(each for each in minutes if datetime.fromtimestamp(each, zone).minute == minute)
        assert schedule.next_after(at) == first

    @given(st.sampled_from(ZONES), st.sampled_from(LINES), MOMENTS, st.floats(0, 1))
    def test_the_next_tick_is_next(self, zone: str, line: str, at: float, part: float) -> None:
        schedule = Schedule.parse(line, zone)
        tick = schedule.next_after(at)
        assert tick is not None
        assert tick > at
        assert tick == int(tick)
        between = at + (tick - at) * part
        assert schedule.next_after(between) == tick or between >= tick

    @given(st.sampled_from(ZONES), st.sampled_from(LINES), MOMENTS, st.floats(0, 40 * DAY))
    def test_the_latest_tick_is_latest(self, zone: str, line: str, since: float, span: float) -> None:
        schedule = Schedule.parse(line, zone)
        now = since + span
        latest = schedule.latest(since, now)
        upcoming = schedule.next_after(now)
        if latest is None:
            first = schedule.next_after(since)
            assert first is not None
            assert first > now
        else:
            tick, following = latest
            assert since < tick <= now
            assert schedule.next_after(tick) == following == upcoming


class TestTicks:
    hourly = Schedule.parse("hourly", "UTC")
    noon = moment("2026-11-21 12:00")

    def test_the_first_pass_is_the_first_tick(self) -> None:
        ticks = advance(self.hourly, None, self.noon + 70)
        assert ticks == Ticks(1, self.noon + 70, self.noon + HOUR, self.noon + 70)

    def test_nothing_happens_before_the_next_one_is_due(self) -> None:
        ticks = advance(self.hourly, None, self.noon + 70)
        assert advance(self.hourly, ticks, self.noon + HOUR - 0.001) is ticks

    def test_a_due_tick_stands_for_its_time_however_late_the_pass(self) -> None:
        ticks = advance(self.hourly, advance(self.hourly, None, self.noon + 70), self.noon + HOUR + 12.5)
        assert (ticks.number, ticks.last, ticks.due) == (2, self.noon + HOUR, self.noon + 2 * HOUR)

    def test_missed_ticks_are_caught_up_once(self) -> None:
        ticks = advance(self.hourly, None, self.noon + 70)
        later = self.noon + 1000 * HOUR + 5
        ticks = advance(self.hourly, ticks, later)
        assert (ticks.number, ticks.last, ticks.due) == (2, self.noon + 1000 * HOUR, self.noon + 1001 * HOUR)
        assert advance(self.hourly, ticks, later + 1) is ticks

    def test_no_tick_comes_before_the_start_time(self) -> None:
        start = self.noon + 90
        waiting = advance(self.hourly, None, self.noon, start)
        assert (waiting.number, waiting.due) == (0, start)
        assert advance(self.hourly, waiting, self.noon + 89, start) is waiting
        ticks = advance(self.hourly, waiting, self.noon + 91, start)
        assert (ticks.number, ticks.last, ticks.due) == (1, self.noon + 91, self.noon + HOUR)

    def test_a_start_time_that_is_over_changes_nothing(self) -> None:
        assert advance(self.hourly, None, self.noon, self.noon - DAY) == advance(self.hourly, None, self.noon)

    def test_a_start_time_without_a_zone_is_the_schedules(self) -> None:
        berlin = Schedule.parse("hourly", "Europe/Berlin")
        assert berlin.instant(datetime(2026, 11, 21, 13)) == self.noon
        assert berlin.instant(datetime(2026, 11, 21, 12, tzinfo=UTC)) == self.noon

    def test_a_clock_set_back_a_little_repeats_no_tick(self) -> None:
        ticks = advance(self.hourly, advance(self.hourly, None, self.noon - 5), self.noon)
        for now in (self.noon - 0.5, self.noon - HOUR, self.noon + 1, self.noon + HOUR - 1):
            assert advance(self.hourly, ticks, now) is ticks
        assert advance(self.hourly, ticks, self.noon + HOUR).number == ticks.number + 1

    def test_a_clock_set_back_a_day_ticks_on_within_the_hour(self) -> None:
        ticks = advance(self.hourly, advance(self.hourly, None, self.noon - 5), self.noon + 5)
        back = self.noon + 10 - DAY
        anchored = advance(self.hourly, ticks, back)
        assert (anchored.number, anchored.due) == (ticks.number, self.noon - DAY + HOUR)
        assert advance(self.hourly, anchored, back + 60) is anchored
        assert advance(self.hourly, anchored, back + HOUR).number == ticks.number + 1

    def test_a_clock_set_a_day_ahead_and_back_ticks_once_and_goes_on(self) -> None:
        ticks = advance(self.hourly, None, self.noon + 5)
        ahead = advance(self.hourly, ticks, self.noon + 10 + DAY)
        assert ahead.number == 2
        back = advance(self.hourly, ahead, self.noon + 20)
        assert (back.number, back.due) == (2, self.noon + HOUR)

    def test_the_tick_that_just_came_does_not_come_again_when_its_day_does(self) -> None:
        daily = Schedule.parse("0 12 * * *", "UTC")
        ticks = advance(daily, advance(daily, None, self.noon - 5), self.noon + 5)
        back = advance(daily, ticks, self.noon + 5 - DAY + HOUR)
        assert back.due == self.noon + DAY

    def test_a_changed_time_zone_does_not_stop_a_schedule(self) -> None:
        daily = Schedule.parse("daily", "Asia/Kolkata")
        ticks = advance(daily, None, self.noon)
        moved = Schedule.parse("0 0 1 * *", "UTC")
        assert advance(moved, ticks, self.noon + DAY).number == 2

    def test_ticks_travel_as_numbers(self) -> None:
        ticks = advance(self.hourly, None, self.noon)
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(ticks), type=Ticks) == ticks

    @given(
        st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe"]),
        st.sampled_from(["hourly", "daily", "*/5 * * * *", "*/10 * * * * *", "30 2 * * *"]),
        MOMENTS,
        st.lists(
            st.one_of(
                st.floats(0, 2), st.floats(0, 3 * HOUR), st.floats(-DAY, DAY), st.sampled_from([-DAY, DAY])
            ),
            max_size=40,
        ),
    )
    def test_no_storm_no_double_and_no_dead_schedule_whatever_the_clock_does(
        self, zone: str, line: str, start: float, steps: list[float]
    ) -> None:
        schedule = Schedule.parse(line, zone)
        now = start
        ticks = advance(schedule, None, now)
        for step in steps:
            now += step
            new = advance(schedule, ticks, now)
            assert new.number - ticks.number in (0, 1)
            if new.number > ticks.number:
                assert new.last is not None
                assert new.last <= now
                assert new.last != ticks.last
            assert advance(schedule, new, now) is new
            ticks = new
        # Left alone, it ticks again: after the next tick, or the one after the repeated one, and the wait.
        assert ticks.due is not None
        following = schedule.next_after(now)
        assert following is not None
        second = schedule.next_after(following)
        assert second is not None
        third = schedule.next_after(second + SETBACK)
        assert third is not None
        assert ticks.due <= third
