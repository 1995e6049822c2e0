"""Runs on disk: their names, their lock, and what is known of how they ended."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning.app.errors import ConflictError, JournalError, NotFoundError
from lightning.app.journal.runs import Meta, Run, Runs, _id_at
from lightning.app.journal.sqlite import SqliteJournal

HOLDER = """
import os, sys
from pathlib import Path
from lightning.app.journal.runs import Run

run = Run(Path(sys.argv[1]))
run.lock()
{then}
print(os.getpid(), flush=True)
sys.stdin.read()
"""
FORKS = """
child = os.fork()
if child == 0:
    os.close(1)
    sys.stdin.read()  # lives on until the test ends it
    os._exit(0)
"""


@contextmanager
def holding(run: Run, then: str = "") -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the run until it is told to go, or killed."""
    command = [sys.executable, "-c", HOLDER.format(then=then), str(run.folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert int(holder.stdout.readline()) == holder.pid
        yield holder


def begun(runs: Runs, app_file: str = "app.py") -> Run:
    """A run that has come as far as its journal."""
    run = runs.create(app_file)
    SqliteJournal.open(run.journal_path).close()
    return run


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path / ".lightning" / "runs")


# -- making -----------------------------------------------------------------------------------------


def test_a_new_run_has_a_folder_for_this_user_only(runs: Runs) -> None:
    run = runs.create("app.py", ["--lr", "0.1"])
    assert run.folder == runs.folder / run.id
    assert run.journal_path.parent == run.folder
    assert stat.S_IMODE(run.folder.stat().st_mode) == 0o700
    assert (run.meta.app_file, run.meta.arguments, run.meta.state) == ("app.py", ("--lr", "0.1"), "running")
    assert json.loads((run.folder / "meta.json").read_text())["started_at"] == run.meta.started_at > 0


def test_git_does_not_see_runs(runs: Runs, tmp_path: Path) -> None:
    runs.create()
    assert (tmp_path / ".lightning" / ".gitignore").read_text() == "*\n"


def test_a_folder_that_the_user_chose_gets_no_gitignore(tmp_path: Path) -> None:
    Runs(tmp_path / "mine").create()
    assert not (tmp_path / ".gitignore").exists()
    assert not (tmp_path / "mine" / ".gitignore").exists()


def test_a_gitignore_that_is_there_stays_as_it_is(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / ".lightning").mkdir()
    (tmp_path / ".lightning" / ".gitignore").write_text("runs/\n")
    runs.create()
    assert (tmp_path / ".lightning" / ".gitignore").read_text() == "runs/\n"


def test_ids_are_unique_and_sort_by_time(runs: Runs) -> None:
    made = [runs.create().id for _ in range(50)]
    assert made == sorted(set(made))
    assert all(re.fullmatch(r"\d{8}-\d{6}-[2-9a-hjkmnp-z]{4}", each) for each in made)
    assert [run.id for run in runs.all()] == made[::-1]


@given(times=st.lists(st.integers(0, 4_000_000_000 * 10**9), min_size=2, max_size=2))
def test_the_order_of_ids_is_the_order_of_times(times: list[int]) -> None:
    early, late = sorted(times)
    assert _id_at(early) <= _id_at(late)
    if late - early >= 2000:
        assert _id_at(early) < _id_at(late)


def test_many_starts_at_once_get_a_run_each(runs: Runs) -> None:
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.append(runs.create().id)) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(set(made)) == 8


def test_a_file_in_the_folders_place_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(JournalError, match=r"runs: .*--runs-dir"):
        Runs(tmp_path / "runs").create()


# -- finding ----------------------------------------------------------------------------------------


def test_a_run_is_found_by_its_id(runs: Runs) -> None:
    first, second = runs.create(), runs.create()
    assert runs.open(first.id).folder == first.folder
    assert runs.open(second.id).folder == second.folder


def test_an_unknown_run_is_an_error_that_lists_the_known_ones(runs: Runs) -> None:
    first, second = runs.create(), runs.create()
    with pytest.raises(NotFoundError, match=f"no run 'nope'.*: {second.id}, {first.id}"):
        runs.open("nope")
    with pytest.raises(NotFoundError, match="no run"):
        runs.open(f"../runs/{first.id}")


def test_without_any_run_the_error_says_so(runs: Runs) -> None:
    with pytest.raises(NotFoundError, match="none"):
        runs.open("nope")
    with pytest.raises(NotFoundError, match=r"no run here was interrupted; start a new one"):
        runs.open()
    assert runs.all() == runs.interrupted() == []


def test_a_start_that_was_killed_halfway_is_no_run(runs: Runs) -> None:
    whole = runs.create()
    (runs.folder / "20990101-000000-aaaa").mkdir()
    assert [run.id for run in runs.all()] == [whole.id]


# -- ends -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "reason"), [(0, "stopped"), (1, "failed")])
def test_a_run_that_ended_by_itself_is_not_interrupted(runs: Runs, code: int, reason: str) -> None:
    run = begun(runs)
    run.lock()
    run.end(code, reason)
    meta = run.meta
    assert (meta.state, meta.exit_code, meta.reason, meta.app_file) == ("ended", code, reason, "app.py")
    assert meta.ended_at is not None
    assert meta.ended_at >= meta.started_at
    assert not run.live
    assert runs.interrupted() == []


def test_runs_that_were_killed_or_ended_by_a_signal_are_interrupted_newest_first(runs: Runs) -> None:
    killed, signalled, stopped, live = (begun(runs) for _ in range(4))
    signalled.end(0, "signal")
    stopped.end(0, "stopped")
    live.lock()
    assert [run.id for run in runs.interrupted()] == [signalled.id, killed.id]
    assert runs.open().id == signalled.id
    live.release()


def test_a_run_without_a_journal_cannot_go_on_and_is_not_offered(runs: Runs) -> None:
    able = begun(runs)
    runs.create()
    assert runs.open().id == able.id


def test_a_resumed_run_is_running_again_until_it_ends_anew(runs: Runs) -> None:
    run = begun(runs)
    run.lock()
    run.end(0, "signal")
    again = runs.open()
    again.lock()
    assert (again.meta.state, again.meta.exit_code, again.meta.reason) == ("running", None, "")
    assert again.meta.app_file == "app.py"
    again.end(0, "stopped")
    assert runs.interrupted() == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"state": "dancing"}', "\x00" * 40])
def test_a_run_whose_note_is_damaged_counts_as_interrupted(runs: Runs, content: str) -> None:
    run = begun(runs)
    (run.folder / "meta.json").write_text(content)
    assert runs.open().id == run.id


def test_a_note_from_a_later_version_is_read(runs: Runs) -> None:
    run = runs.create("app.py")
    noted = json.loads((run.folder / "meta.json").read_text())
    (run.folder / "meta.json").write_text(json.dumps(noted | {"code_hash": "abc"}))
    assert run.meta.app_file == "app.py"


def test_an_app_that_goes_to_another_folder_does_not_lose_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = Runs(".lightning/runs").create()
    monkeypatch.chdir("/")
    run.lock()
    run.end(0, "stopped")
    assert [each.meta.reason for each in Runs(tmp_path / ".lightning" / "runs").all()] == ["stopped"]


# -- the lock ---------------------------------------------------------------------------------------


def test_a_second_start_of_a_live_run_is_refused_and_names_the_process(runs: Runs) -> None:
    run = begun(runs)
    with holding(run) as holder:
        assert run.live
        assert runs.interrupted() == []
        with pytest.raises(ConflictError, match=f"run {run.id} is live: process {holder.pid} holds .*lock"):
            run.lock()
        holder.kill()
    assert not run.live
    assert runs.open().id == run.id
    run.lock()
    run.release()


def test_the_lock_excludes_a_second_holder_in_the_same_process(runs: Runs) -> None:
    run = runs.create()
    run.lock()
    with pytest.raises(ConflictError, match=f"process {os.getpid()} holds"):
        Run(run.folder).lock()
    run.release()


def test_a_child_that_outlives_its_parent_does_not_keep_the_run_live(runs: Runs) -> None:
    run = runs.create()
    with holding(run, then=FORKS) as holder:
        assert run.live
        holder.send_signal(signal.SIGKILL)
        assert holder.stdout is not None
        holder.stdout.read()  # to its end: the parent is gone, and the child has begun
        assert not run.live  # while the child still waits for the end of its stdin
        run.lock()
        run.release()


def test_a_childs_end_does_not_free_its_parents_run(runs: Runs) -> None:
    run = runs.create()
    with holding(run, then="if os.fork() == 0: sys.exit()\nos.wait()") as holder:
        assert run.live
        holder.kill()


def test_a_program_started_by_a_run_does_not_inherit_its_lock(runs: Runs) -> None:
    run = runs.create()
    run.lock()
    command = [sys.executable, "-c", "print('started', flush=True); input()"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, close_fds=False) as program:
        assert program.stdout is not None
        program.stdout.readline()
        run.release()
        assert not run.live
        program.kill()


def test_looking_whether_a_run_is_live_does_not_keep_anybody_from_taking_it(runs: Runs) -> None:
    run = runs.create()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            run.live  # noqa: B018 - the look itself is what may disturb

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(200):
            taken = Run(run.folder)
            taken.lock()
            taken.release()
    finally:
        done.set()
        looking.join()


def test_locking_twice_is_the_same_as_once(runs: Runs) -> None:
    run = runs.create()
    run.lock()
    run.lock()
    run.release()
    assert not run.live
    run.release()


def test_a_run_is_named_as_asked_or_after_its_file(runs: Runs) -> None:
    assert runs.create("folder/train.py").meta.name == "train"
    assert runs.create("folder/train.py", (), "nightly").meta.name == "nightly"


# -- by the beginning of an ID ------------------------------------------------------------------------


def made(runs: Runs, run_id: str, *, days_ago: float = 0.0, reason: str = "stopped") -> Run:
    """A run of that ID that ended so long ago."""
    run = Run(runs.folder / run_id)
    run.folder.mkdir(parents=True)
    SqliteJournal.open(run.journal_path).close()
    ended = time.time() - days_ago * 86400
    meta = Meta(app_file="app.py", started_at=ended - 60, state="ended", ended_at=ended, reason=reason)
    run._note(meta)
    return run


def test_a_run_is_found_by_the_beginning_of_its_id_if_no_other_begins_so(runs: Runs) -> None:
    first = made(runs, "20261120-061530-k7q2")
    second = made(runs, "20261121-061530-k7q2")
    assert runs.find("20261120").id == first.id
    assert runs.open("20261121-0").id == second.id
    with pytest.raises(NotFoundError, match=f"2 runs begin with '2026'.*: {second.id}, {first.id}"):
        runs.find("2026")
    with pytest.raises(NotFoundError, match="no run ''"):
        runs.find("")


def test_without_a_name_the_newest_run_is_meant(runs: Runs) -> None:
    with pytest.raises(NotFoundError, match=r"no runs yet\nStart one"):
        runs.find()
    made(runs, "20261120-061530-k7q2")
    second = made(runs, "20261121-061530-k7q2")
    assert runs.find().id == second.id


# -- what a run is now --------------------------------------------------------------------------------


def test_a_run_says_what_it_is_now(runs: Runs) -> None:
    run = begun(runs)
    assert run.state == "running"  # somebody is about to lock it
    run.lock()
    assert run.state == "running"
    assert run.holder == os.getpid()
    run.release()
    assert run.state == "killed"
    for reason, state in (
        ("stopped", "ended"),
        ("failed", "failed"),
        ("signal", "interrupted"),
        ("killed", "killed"),
    ):
        run.end(0, reason)
        assert run.state == state


def test_a_killed_run_was_last_seen_when_it_wrote_last(runs: Runs) -> None:
    run = begun(runs)
    os.utime(run.folder / "meta.json", (1, 1))
    os.utime(run.journal_path, (5_000_000_000, 5_000_000_000))
    assert run.last_seen == 5_000_000_000
    run.end(0, "stopped")
    assert run.last_seen == run.meta.ended_at


def test_the_command_that_goes_on_with_a_run_names_what_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = Runs().create("app.py", ["--lr", "0 1"])
    assert run.resuming() == f"lightning run app app.py --resume {run.id} --app_args --lr '0 1'"
    elsewhere = Runs("else where").create("app.py")
    command = f"lightning run app app.py --resume {elsewhere.id} --runs-dir '{tmp_path}/else where'"
    assert elsewhere.resuming() == command


# -- deleting -----------------------------------------------------------------------------------------


def test_a_deleted_run_is_gone_with_all_that_it_had(runs: Runs) -> None:
    run, other = begun(runs), begun(runs)
    (run.folder / "output").mkdir()
    (run.folder / "output" / "000001.log").write_bytes(b"x" * 1000)
    assert run.delete() > 1000
    assert os.listdir(runs.folder) == [other.id]


def test_a_live_run_is_not_deleted(runs: Runs) -> None:
    run = begun(runs)
    with holding(run) as holder:
        with pytest.raises(
            ConflictError, match=rf"is live: process {holder.pid} .*a live run is not deleted"
        ):
            run.delete()
        assert run.journal_path.exists()
        runs.prune(keep=1, days=0.0)
        assert run.journal_path.exists()
        holder.kill()


def test_who_resumes_a_run_that_is_deleted_at_this_moment_is_told(runs: Runs) -> None:
    run = begun(runs)
    held = os.open(run.folder / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(held, fcntl.LOCK_EX)
    told: list[Exception] = []
    waits = threading.Event()

    def resume() -> None:
        waits.set()
        try:
            while True:
                try:
                    run.lock()
                    return
                except ConflictError:
                    continue
        except NotFoundError as error:
            told.append(error)

    resuming = threading.Thread(target=resume)
    resuming.start()
    waits.wait()
    os.rename(run.folder, runs.folder / f".deleted-{run.id}")  # as ``delete`` does, with the lock held
    os.close(held)
    resuming.join()
    assert "it has been deleted" in str(told[0])


def test_a_deletion_that_was_cut_short_leaves_no_run_and_is_finished_by_the_next(runs: Runs) -> None:
    run, other = begun(runs), begun(runs)
    os.rename(run.folder, runs.folder / f".deleted-{run.id}")
    assert [each.id for each in runs.all()] == [other.id]
    runs.prune(keep=None, days=None)
    assert os.listdir(runs.folder) == [other.id]


KILLED_AT_STEP = """
import os, signal, sys
from lightning.app.journal.runs import Runs

runs, left = Runs(sys.argv[1]), int(sys.argv[2])

def step(event, arguments):
    global left
    if event in ("os.rename", "os.remove", "os.rmdir"):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(step)
runs.find(sys.argv[3]).delete()
"""


def test_a_deletion_killed_at_any_step_leaves_the_run_whole_or_none(runs: Runs) -> None:
    steps = 0
    while True:
        run = begun(runs)
        (run.folder / "output").mkdir()
        (run.folder / "output" / "000001.log").write_bytes(b"x")
        before = sorted(os.listdir(run.folder))
        command = [sys.executable, "-c", KILLED_AT_STEP, str(runs.folder), str(steps), run.id]
        code = subprocess.run(command).returncode
        there = [each for each in runs.all() if each.id == run.id]
        if there:
            assert sorted({*before, "lock"}) == sorted(os.listdir(run.folder))
            assert not run.live
        runs.clear()
        if code == 0:
            break
        assert code == -signal.SIGKILL
        steps += 1
    assert steps >= 5
    assert not there
    assert not [name for name in os.listdir(runs.folder) if name.startswith(".")]


# -- retention ----------------------------------------------------------------------------------------


def test_the_newest_runs_stay_and_the_others_go(runs: Runs) -> None:
    known = [made(runs, f"2026112{number}-061530-aaaa") for number in range(5)]
    runs.prune(keep=2, days=None)
    assert [run.id for run in runs.all()] == [known[4].id, known[3].id]


def test_what_is_too_old_goes_whatever_it_is_and_however_few_there_are(runs: Runs) -> None:
    made(runs, "20261120-061530-aaaa", days_ago=40)
    made(runs, "20261121-061530-aaaa", days_ago=40, reason="signal")
    young = made(runs, "20261122-061530-aaaa", days_ago=20)
    runs.prune(keep=100, days=30)
    assert [run.id for run in runs.all()] == [young.id]


def test_an_interrupted_run_that_is_not_too_old_stays(runs: Runs) -> None:
    interrupted = made(runs, "20261120-061530-aaaa", days_ago=5, reason="signal")
    made(runs, "20261121-061530-aaaa", days_ago=4, reason="failed")
    newest = made(runs, "20261122-061530-aaaa", days_ago=3)
    runs.prune(keep=1, days=30)
    assert [run.id for run in runs.all()] == [newest.id, interrupted.id]


def test_a_run_that_somebody_is_about_to_lock_stays(runs: Runs) -> None:
    starting = begun(runs)
    made(runs, "20990101-061530-aaaa")
    runs.prune(keep=1, days=None)
    assert starting.journal_path.exists()


def test_without_limits_everything_stays(runs: Runs) -> None:
    made(runs, "20201120-061530-aaaa", days_ago=4000)
    runs.prune(keep=None, days=None)
    assert len(runs.all()) == 1
