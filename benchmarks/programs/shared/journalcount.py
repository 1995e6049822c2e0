"""Reads what is kept of this project's journals below a folder, fact by fact, and says what is durable in them."""

import json
import sys
from collections import Counter
from pathlib import Path

from lightning.app.journal.sqlite import SqliteJournal
from lightning.app.kernel.facts import Changed, Returned, decode_turn

turns, returned, changed = 0, 0, Counter()
for path in Path(sys.argv[1]).rglob("journal.sqlite"):
    journal = SqliteJournal.reader(path)
    for turn in journal.read(journal.first - 1):
        turns += 1
        for fact in decode_turn(turn.facts):
            if isinstance(fact, Returned):
                returned += 1
            elif isinstance(fact, Changed):
                changed.update(f"{fact.path}.{delta.path[0]}" for delta in fact.deltas)
    journal.close()
print(json.dumps({"turns": turns, "returned": returned, "changed": changed}))
