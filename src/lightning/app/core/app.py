"""The app: a root component, declared. What runs it is in ``runtime/``."""

from __future__ import annotations

import inspect
import sys
from typing import Any

from lightning.app.core.component import Component
from lightning.app.core.compute import CloudCompute
from lightning.app.core.flow import LightningFlow, state_of
from lightning.app.core.options import options_checked
from lightning.app.core.work import LightningWork, works_of
from lightning.app.errors import ComponentError, NotFoundError, UsageError

LEVELS = ("debug", "info", "warning", "error")


class LightningApp:
    """Declares an app: ``app = L.LightningApp(Root())``, run with ``lightning run app app.py``.

    ``root`` is a flow, or a single work, which then runs once.
    """

    @options_checked("an app")
    def __init__(
        self,
        root: LightningFlow | LightningWork,
        flow_cloud_compute: CloudCompute | None = None,
        log_level: str = "info",
        info: Any = None,
        root_path: str = "",
    ) -> None:
        if isinstance(root, type) and issubclass(root, Component):
            raise ComponentError(
                f"LightningApp({root.__name__}): give it an instance, LightningApp({root.__name__}())"
            )
        if not isinstance(root, LightningFlow | LightningWork):
            raise ComponentError(
                f"LightningApp(...): the root is a flow or a work, not a {type(root).__name__}"
            )
        if root._parent is not None:
            raise ComponentError(
                f"LightningApp(...): this root is already at {root._where}; make another one"
            )
        if flow_cloud_compute is not None and not isinstance(flow_cloud_compute, CloudCompute):
            raise UsageError(
                f"LightningApp(flow_cloud_compute={flow_cloud_compute!r}): write L.CloudCompute('cpu')"
            )
        if str(log_level).lower() not in LEVELS:
            raise UsageError(f"LightningApp(log_level={log_level!r}): it is one of {', '.join(LEVELS)}")
        _refuse_run_with_arguments(root)
        caller = sys._getframe(2)  # behind the check of the options
        self.defined_at = (caller.f_code.co_filename, caller.f_lineno)
        self.root = root
        self.flow_cloud_compute = flow_cloud_compute or CloudCompute()
        self.log_level = log_level
        self.info = info
        self.root_path = root_path

    @property
    def works(self) -> list[LightningWork]:
        return works_of(self.root._walk())

    @property
    def named_works(self) -> list[tuple[str, LightningWork]]:
        return [(work.name, work) for work in self.works]

    @property
    def flows(self) -> list[LightningFlow]:
        return [each for each in self.root._walk() if isinstance(each, LightningFlow)]

    @property
    def state(self) -> dict[str, Any]:
        return state_of(self.root)

    def get_component_by_name(self, name: str) -> Component:
        """The flow, work or structure at ``root.some.path``."""
        for component in self.root._walk():
            if component.name == name:
                return component
        known = ", ".join(each.name for each in self.root._walk())
        raise NotFoundError(f"this app has no component {name!r}; it has {known}")

    def run(self) -> None:
        """Run it, as ``python app.py`` does: exits with the app's exit code.

        In a file that ``lightning run app`` loads, this line does nothing: the app is run anyway.
        """
        try:
            from lightning.app.runners import MultiProcessRuntime

            MultiProcessRuntime(self).dispatch()
        except KeyboardInterrupt as error:
            if type(error) is not KeyboardInterrupt:  # somebody above has a word of their own for it
                raise
            sys.exit(0)  # a Ctrl-C before signals are ours: there is nothing yet to take down


def _refuse_run_with_arguments(root: LightningFlow | LightningWork) -> None:
    named = type(root).__name__
    try:
        inspect.signature(root.run).bind()
    except TypeError as err:
        raise ComponentError(
            f"LightningApp({named}()): {err} of {named}.run, and the root's run is called without arguments; give "
            "them defaults, or set attributes in __init__"
        ) from None
