"""Cgroups of works: nothing leaves one, and where there can be none everything goes on without."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightning.app.engines import cgroups, orphans
from tests.unit.engines.stage import await_end, gone, until
from tests.unit.engines.test_supervisor import PRELUDE, crowd, run, running

_probe = cgroups.make(f"probe-{uuid.uuid4().hex[:12]}")
if _probe:
    cgroups.remove(_probe)

needs_cgroups = pytest.mark.skipif(
    not _probe, reason="this process may not make cgroups (version 2) of its own"
)
needs_root = pytest.mark.skipif(
    not _probe or os.geteuid() != 0 or shutil.which("unshare") is None,
    reason="mounts and users are changed in a namespace, which takes root, unshare and cgroups (version 2)",
)

# What no group, no session, no parent and no mark leads to.
VANISHED = (
    PRELUDE
    + """
VANISH = '''
import os, sys, time
if os.fork():
    os._exit(0)
os.setsid()
os.write(1, f"{os.getpid()}\\\\n".encode())
time.sleep(600)
'''

def vanish(channel):
    child = subprocess.Popen([sys.executable, "-c", VANISH], env={}, stdout=subprocess.PIPE, text=True)
    say(channel, child.stdout.readline().strip())
    channel.recv(100)

stage.close()
stage = Stage({name: part for name, part in globals().items() if callable(part)})
work = stage.start("vanish", "root.a")
vanished = work.hear()
other = stage.start("vanish", "root.b")
others = other.hear()
print(stage.run, stage.engine._supervisor, vanished, others, flush=True)
"""
)


def left_of(run_id: str) -> list[str]:
    return cgroups.find(run_id)


def inside(run_id: str) -> list[int]:
    """Who is in the run's cgroups; who is dying still is."""
    return [pid for path in cgroups.find(run_id) for pid in cgroups.members(path)]


@needs_cgroups
@pytest.mark.parametrize("end", ["work.tell('end')", "work.worker.stop(0)", "work.worker.stop(0.05)"])
def test_what_has_left_everything_but_its_cgroup_ends_with_its_work(end: str) -> None:
    with running(f"{VANISHED}{end}\nwork.exited()\nprint('ended', flush=True)\nsys.stdin.read()") as program:
        run_id, _, (vanished, others) = crowd(program)
        assert program.stdout is not None
        assert program.stdout.readline() == "ended\n"
        await_end(vanished)
        assert not gone(others)
        until(lambda: not any(os.path.exists(f"{path}/1") for path in left_of(run_id)), "the removal")
        program.kill()
        await_end(others)
        until(lambda: not left_of(run_id), "the removal")


@needs_cgroups
def test_an_engine_that_is_closed_leaves_nothing_and_no_cgroup() -> None:
    done = run(
        f"{VANISHED}stage.close(5)\nfrom lightning.app.engines import cgroups\nprint(cgroups.find(stage.run))"
    )
    first, last = done.stdout.splitlines()
    assert all(gone(int(pid)) for pid in first.split()[1:]), done.stderr
    assert last == "[]"


@needs_cgroups
def test_after_a_supervisor_that_was_killed_the_runtime_leaves_nothing_and_no_cgroup() -> None:
    text = f"""{VANISHED}
from lightning.app.engines import cgroups
from lightning.app.errors import EngineError
os.kill(stage.engine._supervisor, 9)
try:
    stage.turn_for_ever()
except EngineError:
    print(cgroups.find(stage.run))
"""
    done = run(text)
    first, last = done.stdout.splitlines()
    assert all(gone(int(pid)) for pid in first.split()[1:]), done.stderr
    assert last == "[]"


@needs_cgroups
def test_when_runtime_and_supervisor_are_killed_at_once_a_sweep_ends_the_cgroup() -> None:
    with running(f"{VANISHED}time.sleep(600)") as program:
        run_id, supervisor, pids = crowd(program)
        os.kill(supervisor, signal.SIGSTOP)  # so that neither survives the other
        program.kill()
        os.kill(supervisor, signal.SIGKILL)
        await_end(supervisor)
        until(lambda: not orphans.members(run_id), "the end of the works")
        until(lambda: {*inside(run_id)} == {*pids}, "nobody but those in the cgroup")
        assert orphans.sweep(run_id) == 2
        assert all(gone(pid) for pid in pids)
        assert not left_of(run_id)


@needs_cgroups
def test_what_left_its_group_has_the_works_grace_in_its_cgroup_too() -> None:
    text = f"""{PRELUDE}
POLITE = '''
import os, signal, time
if os.fork():
    os._exit(0)
os.setsid()
signal.signal(signal.SIGTERM, lambda *_: (os.write(2, b"it was asked\\\\n"), os._exit(0)))
os.write(1, b"up\\\\n")
time.sleep(600)
'''
def polite(channel):
    child = subprocess.Popen([sys.executable, "-c", POLITE], env={{}}, stdout=subprocess.PIPE, text=True)
    say(channel, child.stdout.readline().strip())
    channel.recv(100)
stage.close()
stage = Stage({{"polite": polite}})
work = stage.start("polite")
assert work.hear() == "up"
work.worker.stop(20)
work.exited()
stage.close(20)
"""
    assert run(text).stderr == "it was asked\n"


# -- where there can be none ----------------------------------------------------------------------

MAKE = """
import os
from lightning.app.engines import cgroups
{before}
made = cgroups.make("test-inner")
print(repr(made.removesuffix(f".{{os.getpid()}}")))
if made:
    cgroups.enter(made)
    print(open("/proc/self/cgroup").read().splitlines()[-1].endswith(os.path.basename(made)))
"""
BE_NOBODY = "os.setgroups([]); os.setgid(65534); os.setuid(65534)"


def tried(commands: str, before: str = "") -> list[str]:
    """What comes of making a cgroup, after these shell commands in a mount namespace of its own."""
    done = subprocess.run(
        [
            "unshare",
            "--mount",
            "sh",
            "-ec",
            f'{commands}\nexec "$0" -c "$1"',
            sys.executable,
            MAKE.format(before=before),
        ],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def cgroup() -> Iterator[Path]:
    path = Path(cgroups.make(f"test-{uuid.uuid4().hex[:12]}"))
    yield path
    cgroups.end(str(path), patience=10)
    assert not path.exists()


@needs_root
def test_on_a_read_only_mount_there_are_none() -> None:
    point = next(point for point, _ in cgroups._mounts())
    assert tried(f"mount -o remount,bind,ro {point}") == ["''"]


@needs_root
def test_without_version_2_there_are_none() -> None:
    assert tried("umount -a -t cgroup2") == ["''"]


@needs_root
def test_below_a_threaded_cgroup_there_are_none(cgroup: Path) -> None:
    (cgroup / "inner").mkdir()
    (cgroup / "inner" / "cgroup.type").write_text("threaded\n")
    assert tried(f"echo $$ > {cgroup}/cgroup.procs") == ["''"]
    assert [path.name for path in cgroup.iterdir() if path.is_dir()] == ["inner"]


@needs_root
def test_in_a_cgroup_of_somebody_else_there_are_none(cgroup: Path) -> None:
    assert tried(f"echo $$ > {cgroup}/cgroup.procs", BE_NOBODY) == ["''"]


@needs_root
def test_in_a_cgroup_that_was_delegated_a_user_has_them(cgroup: Path) -> None:
    delegated = f"{cgroup}/cgroup.procs {cgroup}/cgroup.subtree_control {cgroup}"
    commands = f"chown 65534:65534 {delegated}\necho $$ > {cgroup}/cgroup.procs"
    assert tried(commands, BE_NOBODY) == [f"'{cgroup}/lightning-test-inner'", "True"]


@needs_root
def test_a_cgroup_namespace_and_a_second_mount_are_no_obstacle(cgroup: Path, tmp_path: Path) -> None:
    point = tmp_path / "with a space"
    point.mkdir()
    commands = f"""
echo $$ > {cgroup}/cgroup.procs
umount -a -t cgroup2
exec unshare --cgroup --mount sh -ec 'mount -t cgroup2 none "{point}"; exec "$0" -c "$1"' "$0" "$1"
"""
    assert tried(commands) == [f"'{point}/lightning-test-inner'", "True"]


@needs_cgroups
def test_a_work_runs_on_where_no_cgroup_can_be_made_for_it(cgroup: Path) -> None:
    (cgroup / "cgroup.max.descendants").write_text("0")
    assert cgroups.make_inner(str(cgroup), 1) == ""
    before = Path("/proc/self/cgroup").read_text()
    cgroups.enter("")
    cgroups.enter(f"{cgroup}/never")
    assert Path("/proc/self/cgroup").read_text() == before


@needs_cgroups
def test_a_second_start_of_a_run_has_a_cgroup_of_its_own() -> None:
    name = f"test-{uuid.uuid4().hex[:12]}"
    first = cgroups.make(name)
    try:
        make = f"from lightning.app.engines import cgroups; print(cgroups.make({name!r}))"
        second = subprocess.run([sys.executable, "-c", make], stdout=subprocess.PIPE, text=True, check=True)
        assert first != second.stdout.strip()
        assert {first, second.stdout.strip()} == set(left_of(name))
        assert left_of(f"{name}-other") == left_of(name[:-1]) == []
    finally:
        assert orphans.sweep(name) == 0
    assert left_of(name) == []


@needs_cgroups
def test_what_killed_runs_left_empty_is_removed_by_the_next_one_and_what_lives_stays(cgroup: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    name = f"test-{uuid.uuid4().hex[:12]}"
    old = cgroup.parent / f"lightning-{name}.{ended.pid}"
    (old / "1").mkdir(parents=True)
    full = cgroup.parent / f"lightning-{name}-full.{ended.pid}"
    full.mkdir()
    with subprocess.Popen(["sleep", "600"]) as living:
        (full / "cgroup.procs").write_text(str(living.pid))
        next_one = cgroups.make(f"{name}-next")
        assert not old.exists()
        assert full.exists()
        assert cgroup.exists()
        cgroups.remove(next_one)
        cgroups.end(str(full), patience=10)
