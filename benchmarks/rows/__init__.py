"""One module per row of the budget table."""

from benchmarks.measure import Row
from benchmarks.rows import (
    calls,
    checkpoint,
    commands,
    failure,
    fleet,
    idle,
    journal,
    payload,
    reaction,
    recovery,
    start,
    transfer,
    trickle,
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
    payload.ROW,
    trickle.ROW,
    year.ROW,
    transfer.ROW,
    checkpoint.ROW,
)
