"""Two copies of the only run below a folder: one as the kill left it, one without its snapshots."""

import json
import shutil
import sys
from pathlib import Path

import apsw

from lightning.app.journal.sqlite import SqliteJournal

scratch = Path(sys.argv[1])
(run,) = (scratch / "runs").iterdir()
reader = SqliteJournal.reader(run / "journal.sqlite")
newest = reader.newest()
said = {
    "rows": reader.last,
    "first": reader.first,
    "snapshot_bytes": len(newest.model) if newest else 0,
    "behind_snapshot": reader.last - newest.seq if newest else reader.last,
}
reader.close()
for name in ("with", "without"):
    shutil.copytree(run, scratch / name / "runs" / run.name)
connection = apsw.Connection(str(scratch / "without" / "runs" / run.name / "journal.sqlite"))
connection.execute("DELETE FROM snapshots")
connection.close()
print(json.dumps(said))
