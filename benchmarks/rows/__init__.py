"""One module per row of the budget table."""

from benchmarks.measure import Row
from benchmarks.rows import (
    calls,
    commands,
    failure,
    fleet,
    idle,
    journal,
    reaction,
    recovery,
    start,
    transfer,
    turns,
    writes,
    year,
)

ROWS: tuple[Row, ...] = (
    start.ROW,
    reaction.ROW,
    journal.ROW,
    calls.ROW,
    writes.ROW,
    turns.ROW,
    fleet.ROW,
    idle.ROW,
    commands.ROW,
    failure.ROW,
    recovery.ROW,
    year.ROW,
    transfer.ROW,
)
