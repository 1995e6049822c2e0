"""What a work asks of a machine."""

from __future__ import annotations

import pickle
from copy import deepcopy
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

from lightning.app.config import Config, Resources
from lightning.app.core.compute import MACHINES, BuildConfig, CloudCompute, resources
from lightning.app.errors import UsageError
from lightning.app.kernel import values

GB = 1000**3


class TestCloudCompute:
    def test_it_says_what_differs_from_the_default(self) -> None:
        assert repr(CloudCompute()) == "CloudCompute()"
        assert repr(CloudCompute("gpu", 50, gpus=2)) == "CloudCompute('gpu', disk_size=50, gpus=2)"

    def test_equal_words_are_equal(self) -> None:
        assert CloudCompute("gpu", clouds=["a"]) == CloudCompute("gpu", clouds="a")
        assert CloudCompute("gpu", clouds=["a", "b"]) != CloudCompute("gpu", clouds=["b", "a"])
        assert len({CloudCompute("gpu"), CloudCompute("gpu"), CloudCompute("cpu")}) == 2

    def test_clusters_are_a_name_or_a_list_in_order(self) -> None:
        assert CloudCompute(clusters="A").clusters == ("A",)
        assert CloudCompute(clusters=["A", "B"]).clusters == ("A", "B")

    def test_it_cannot_be_changed(self) -> None:
        with pytest.raises(FrozenInstanceError):
            CloudCompute("gpu").name = "cpu"  # type: ignore[misc]

    @pytest.mark.parametrize(
        "compute",
        [
            CloudCompute(),
            CloudCompute("gpu-fast", 10, 60, 5.5, True, True, 512, None, "group", ["a"], ["b", "c"]),
            CloudCompute(cpus=0.5, gpus=2, memory="16GiB", accelerator="A100"),
        ],
    )
    def test_it_comes_through_pickle_state_and_copies(self, compute: CloudCompute) -> None:
        assert pickle.loads(pickle.dumps(compute)) == compute
        assert values.unpack(values.pack(compute)) == compute
        assert deepcopy(compute) == compute

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"name": ""}, r"CloudCompute\(name=''\): name must be a name such as 'gpu'"),
            ({"name": 3}, "name must be a name"),
            ({"disk_size": -1}, "disk_size must be gigabytes"),
            ({"disk_size": True}, "disk_size must be gigabytes"),
            ({"idle_timeout": "60"}, "idle_timeout must be seconds"),
            ({"wait_timeout": -1}, "wait_timeout must be seconds"),
            ({"wait_timeout": float("nan")}, "wait_timeout must be seconds"),
            ({"spot": 1}, "spot must be True or False"),
            ({"interruptible": None}, "interruptible must be True or False"),
            ({"shm_size": 0}, "shm_size must be mebibytes"),
            ({"mounts": "/data"}, "mounts must be a Mount"),
            ({"colocation_group_id": ""}, "colocation_group_id must be a name"),
            ({"clouds": []}, "clouds must be a cluster's name, or a list"),
            ({"clusters": [""]}, "clusters must be a cluster's name, or a list"),
            ({"clusters": 3}, "clusters must be a cluster's name, or a list"),
            ({"cpus": 0}, r"CloudCompute\(cpus=\.\.\.\) must be a number above 0"),
            ({"gpus": 0.5}, r"CloudCompute\(gpus=\.\.\.\) must be a whole number"),
            ({"memory": "much"}, r"CloudCompute\(memory=\.\.\.\) must be gigabytes"),
            ({"accelerator": ""}, r"CloudCompute\(accelerator=\.\.\.\) must be the name of a kind of GPU"),
        ],
    )
    def test_a_wrong_argument_is_named_with_what_is_allowed(self, given: dict[str, Any], said: str) -> None:
        with pytest.raises(UsageError, match=said):
            CloudCompute(**given)


class TestResources:
    @pytest.mark.parametrize("name", MACHINES)
    def test_every_name_has_a_meaning(self, name: str) -> None:
        assert resources(CloudCompute(name), Config()) == MACHINES[name]

    def test_a_gpu_name_has_a_gpu_and_a_cpu_name_none(self) -> None:
        counts = {name: resources(CloudCompute(name), Config()).gpus for name in MACHINES}
        assert {name for name, gpus in counts.items() if gpus} == {"gpu", "gpu-fast", "gpu-fast-multi"}

    def test_what_is_said_itself_is_laid_over_the_name(self) -> None:
        compute = CloudCompute("gpu", gpus=2, memory="512MB")
        assert resources(compute, Config()) == Resources(cpus=4, gpus=2, memory=512_000_000)

    def test_an_accelerator_means_one_gpu_unless_said_otherwise(self) -> None:
        assert resources(CloudCompute(accelerator="A100"), Config()).gpus == 1
        assert resources(CloudCompute("gpu-fast-multi", accelerator="A100"), Config()).gpus == 4
        assert resources(CloudCompute(accelerator="A100", gpus=0), Config()).gpus == 0

    @pytest.mark.parametrize(
        ("name", "gpus"),
        [
            ("p3.2xlarge", 1),
            ("g4dn.xlarge", 1),
            ("t3.medium", 0),
            ("m5d.metal", 0),
            ("u-6tb1.56xlarge", 0),
            ("a1.large", 0),
            ("n1-standard-4", 0),
            ("e2-micro", 0),
            ("c3-standard-4-lssd", 0),
            ("a2-highgpu-1g", 1),
            ("g2-standard-8", 1),
            ("Standard_NC6", 1),
            ("Standard_D4s_v5", 0),
        ],
    )
    def test_a_clouds_own_name_is_taken(self, name: str, gpus: int) -> None:
        assert resources(CloudCompute(name), Config()) == Resources(gpus=gpus)

    def test_a_name_of_ones_own_comes_from_the_configuration(self) -> None:
        config = Config(compute={"trainer": Resources(cpus=8), "gpu": Resources(gpus=8)})
        assert resources(CloudCompute("trainer"), config).cpus == 8
        assert resources(CloudCompute("gpu"), config).gpus == 8

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("gpus", "did you mean 'gpu'"),
            ("cpu-midium", "did you mean 'cpu-medium'"),
            ("trainr", "did you mean 'trainer'"),
            ("A100", r"define as \[compute.A100\] in lightning.toml"),
            ("p3 2xlarge", "there is no machine of that name"),
            ("gpu\n", "there is no machine of that name"),
        ],
    )
    def test_a_name_that_means_nothing_says_what_it_can_be(self, name: str, said: str) -> None:
        config = Config(compute={"trainer": Resources(cpus=8)})
        with pytest.raises(UsageError, match=said) as no:
            resources(CloudCompute(name), config)
        assert "'p3.2xlarge'" in str(no.value)


class TestBuildConfig:
    def test_it_says_what_was_given(self) -> None:
        assert repr(BuildConfig()) == "BuildConfig()"
        assert repr(BuildConfig(["torch"])) == "BuildConfig(requirements=('torch',))"

    def test_a_list_that_changes_later_does_not_change_it(self) -> None:
        needed = ["torch"]
        build = BuildConfig(needed)
        needed.append("numpy")
        assert build == BuildConfig(["torch"])

    @pytest.mark.parametrize(
        "build",
        [BuildConfig(), BuildConfig(["a", "b"], image="python:3.12"), BuildConfig([], Path("Dockerfile"))],
    )
    def test_it_comes_through_pickle_and_state(self, build: BuildConfig) -> None:
        assert pickle.loads(pickle.dumps(build)) == build
        assert values.unpack(values.pack(build)) == build

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"requirements": "torch"}, r"requirements must be a list such as \['torch>=2.6'\]"),
            ({"requirements": [3]}, "requirements must be a list"),
            ({"dockerfile": 3}, "dockerfile must be the path"),
            ({"image": ""}, "image must be an image's name"),
            ({"image": "a", "dockerfile": "b"}, "image must be None where a dockerfile is given"),
        ],
    )
    def test_a_wrong_argument_is_named_with_what_is_allowed(self, given: dict[str, Any], said: str) -> None:
        with pytest.raises(UsageError, match=said):
            BuildConfig(**given)


def test_the_public_modules_name_the_same_classes() -> None:
    from lightning.app.utilities.packaging import build_config, cloud_compute

    assert cloud_compute.CloudCompute is CloudCompute
    assert build_config.BuildConfig is BuildConfig
