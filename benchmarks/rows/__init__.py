"""One module per row of the budget table."""

from benchmarks.measure import Row
from benchmarks.rows import calls, commands, failure, fleet, idle, reaction, start, turns, writes

ROWS: tuple[Row, ...] = (
    start.ROW,
    reaction.ROW,
    calls.ROW,
    writes.ROW,
    turns.ROW,
    fleet.ROW,
    idle.ROW,
    commands.ROW,
    failure.ROW,
)
