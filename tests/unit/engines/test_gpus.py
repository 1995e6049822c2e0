"""Which GPUs a machine has, by the files that its driver shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightning.app.engines.gpus import devices
from lightning.app.errors import UsageError


def machine(root: Path, *minors: int, told: int = 0) -> Path:
    """A machine whose devices are ``minors``, and whose driver tells of ``told``, slots in reverse."""
    (root / "dev").mkdir()
    for minor in minors:
        (root / "dev" / f"nvidia{minor}").touch()
    for node in ("nvidiactl", "nvidia-uvm", "nvidia-caps"):
        (root / "dev" / node).touch()
    for minor in range(told):
        slot = root / "proc/driver/nvidia/gpus" / f"0000:{told - minor:02d}:00.0"
        slot.mkdir(parents=True)
        (slot / "information").write_text(
            f"Model: \t\t Tesla\nGPU UUID:   \t GPU-{minor}abc\nDevice Minor: \t {minor}\n"
        )
    return root


def test_a_machine_without_a_driver_has_none(tmp_path: Path) -> None:
    assert devices({}, tmp_path) == []


def test_control_devices_are_no_gpus(tmp_path: Path) -> None:
    assert devices({}, machine(tmp_path)) == []


def test_each_device_is_one(tmp_path: Path) -> None:
    assert devices({}, machine(tmp_path, 0, 1, 2)) == [0, 1, 2]


def test_a_container_has_those_it_may_open_counted_from_zero(tmp_path: Path) -> None:
    assert devices({}, machine(tmp_path, 2, 3, told=4)) == [0, 1]


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("0,2", [0, 2]),
        ("2,0", [2, 0]),
        (" 1 , 0 ", [1, 0]),
        ("", []),
        ("-1", []),
        ("0,-1,1", [0]),
        ("0,9,1", [0]),
        ("1,1,2", [1]),
        ("NoDevFiles", []),
        # named, in the order of the slots
        ("GPU-3abc,GPU-0abc", [0, 3]),
        ("GPU-1", [2]),
        ("GPU-", []),
        ("MIG-1/2/3", []),
    ],
)
def test_only_those_that_the_caller_may_see_count(tmp_path: Path, visible: str, expected: list[int]) -> None:
    assert devices({"CUDA_VISIBLE_DEVICES": visible}, machine(tmp_path, 0, 1, 2, 3, told=4)) == expected


def test_a_number_can_be_said_instead(tmp_path: Path) -> None:
    assert devices({"LIGHTNING_GPUS": "2", "CUDA_VISIBLE_DEVICES": ""}, tmp_path) == [0, 1]
    assert devices({"LIGHTNING_GPUS": "0"}, machine(tmp_path, 0)) == []


@pytest.mark.parametrize("said", ["two", "-1", "1.5", "²"])
def test_what_is_no_number_is_refused(tmp_path: Path, said: str) -> None:
    with pytest.raises(UsageError, match="LIGHTNING_GPUS must be how many GPUs there are"):
        devices({"LIGHTNING_GPUS": said}, tmp_path)
