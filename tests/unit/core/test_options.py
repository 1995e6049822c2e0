"""Options of constructors: a misspelt one is answered with what was meant."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from lightning.app import BuildConfig, CloudCompute, LightningApp, LightningFlow, LightningWork
from lightning.app.errors import OptionError


class Train(LightningWork):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)

    def run(self) -> None:
        pass


class Bare(LightningWork):
    def run(self) -> None:
        pass


class Root(LightningFlow):
    def run(self) -> None:
        pass


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: Train(paralel=True),
            r"Train\(paralel=\.\.\.\): a work has no option 'paralel' \(did you mean 'parallel'\?\); "
            r"it has parallel, cache_calls, .*start_method$",
        ),
        (lambda: Bare(retry=3), r"Bare\(retry=\.\.\.\): .*did you mean 'retries'"),
        (lambda: Bare(lr=0.1), r"has no option 'lr'; it has .*def __init__\(self, lr\).*self\.lr = lr"),
        (
            lambda: CloudCompute("gpu", disk=10),  # type: ignore[call-arg]
            r"CloudCompute\(disk=\.\.\.\): .*did you mean 'disk_size'\?\); it has name, disk_size, .*cpus",
        ),
        (
            lambda: BuildConfig(requirement=["torch"]),  # type: ignore[call-arg]
            r"BuildConfig\(requirement=\.\.\.\): .*'requirements'\?\); it has requirements, dockerfile, image$",
        ),
        (
            lambda: Root(parallel=True),  # type: ignore[call-arg]
            r"Root\(parallel=\.\.\.\): a flow has no option 'parallel'; a flow has none at all\. For a value",
        ),
        (lambda: Root(3), r"Root\(\.\.\.\) was given a value: a flow takes no options\. For a value"),  # type: ignore[call-arg]
        (lambda: LightningApp(Root(), loglevel="debug"), "an app has no option 'loglevel'.*'log_level'"),  # type: ignore[call-arg]
    ],
)
def test_an_option_that_there_is_not_names_what_there_is(make: Callable[[], object], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        make()


def test_it_is_a_type_error_as_python_has_it() -> None:
    with pytest.raises(TypeError):
        Train(paralel=True)


def test_editors_are_shown_the_options_themselves() -> None:
    assert list(inspect.signature(Bare).parameters)[:3] == ["parallel", "cache_calls", "raise_exception"]
    assert "disk_size" in inspect.signature(CloudCompute).parameters
    assert list(inspect.signature(Root).parameters) == []


def test_an_app_knows_the_line_that_made_it() -> None:
    app = LightningApp(Root())
    line = inspect.getsourcelines(test_an_app_knows_the_line_that_made_it)[1] + 1
    assert app.defined_at == (__file__, line)
