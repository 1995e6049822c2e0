"""A work: code that runs in a process of its own.

One object, three bindings. In the flow it is a mirror: ``run`` records a call, attributes show what the
process wrote. In its process it is live. Outside an app it is plain Python.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from lightning.app.core.component import PLAIN, Binding, Component
from lightning.app.core.compute import BuildConfig, CloudCompute
from lightning.app.core.options import options_checked
from lightning.app.errors import ComponentError, UsageError
from lightning.app.kernel.delta import SET
from lightning.app.kernel.messages import Delta

_OPTIONS = frozenset(
    {
        "parallel",
        "cache_calls",
        "run_once",
        "raise_exception",
        "start_with_flow",
        "cloud_compute",
        "local_build_config",
        "cloud_build_config",
    }
)
"""What a work is told when it is made and shows ever after."""


@dataclass(frozen=True)
class WorkStatus:
    """Where a work stands. ``status.RUNNING`` and its fellows are booleans."""

    stage: str = "not_started"
    timestamp: float = 0.0
    reason: str = ""
    message: str = ""
    count: int = 0  # calls recorded so far

    NOT_STARTED: ClassVar[property] = property(lambda self: self.stage == "not_started")
    PENDING: ClassVar[property] = property(lambda self: self.stage == "pending")
    RUNNING: ClassVar[property] = property(lambda self: self.stage == "running")
    SUCCEEDED: ClassVar[property] = property(lambda self: self.stage == "succeeded")
    FAILED: ClassVar[property] = property(lambda self: self.stage == "failed")
    STOPPED: ClassVar[property] = property(lambda self: self.stage == "stopped")


class LightningWork(Component):
    """Subclass it and write ``run``: any Python code, in a process of its own.

    >>> class Train(LightningWork):
    ...     def run(self, epochs):
    ...         self.loss = 1 / epochs
    >>> train = Train()
    >>> train.run(4)
    >>> train.loss
    0.25
    """

    _kind = "work"
    _call_id = ""

    host = "127.0.0.1"
    url = ""
    internal_ip = ""
    public_ip = ""
    display_name = ""

    @options_checked("a work")
    def __init__(
        self,
        parallel: bool = False,
        cache_calls: bool = True,
        raise_exception: bool = True,
        host: str = "127.0.0.1",
        port: int | None = None,
        local_build_config: BuildConfig | None = None,
        cloud_build_config: BuildConfig | None = None,
        cloud_compute: CloudCompute | None = None,
        run_once: bool | None = None,
        start_with_flow: bool = True,
        retries: int = 0,
        timeout: float | None = None,
        on_crash: str = "rerun",
        start_method: str | None = None,
    ) -> None:
        named = type(self).__name__
        for option, given in {
            "parallel": parallel,
            "cache_calls": cache_calls,
            "raise_exception": raise_exception,
            "run_once": run_once or False,
            "start_with_flow": start_with_flow,
        }.items():
            if not isinstance(given, int) or given not in (0, 1):
                raise UsageError(f"{named}({option}={given!r}): it is True or False")
        if not isinstance(host, str) or not host:
            raise UsageError(f"{named}(host={host!r}): it is a name or an address, such as '127.0.0.1'")
        if on_crash not in ("rerun", "fail"):
            raise UsageError(
                f"{named}(on_crash={on_crash!r}): it is 'rerun' (at least once) or 'fail' (at most once)"
            )
        if start_method not in (None, "fork", "spawn"):
            raise UsageError(f"{named}(start_method={start_method!r}): it is 'fork', 'spawn' or None")
        if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
            raise UsageError(
                f"{named}(retries={retries!r}): it is how often a failed call is tried again: 0, 1, 2 ..."
            )
        if timeout is not None and not (isinstance(timeout, int | float) and timeout > 0):
            raise UsageError(f"{named}(timeout={timeout!r}): it is a number of seconds above 0, or None")
        if cloud_compute is not None and not isinstance(cloud_compute, CloudCompute):
            raise UsageError(
                f"{named}(cloud_compute={cloud_compute!r}): write cloud_compute=L.CloudCompute('gpu')"
            )
        for option, config in {
            "local_build_config": local_build_config,
            "cloud_build_config": cloud_build_config,
        }.items():
            if config is not None and not isinstance(config, BuildConfig):
                raise UsageError(f"{named}({option}={config!r}): write {option}=L.BuildConfig(['torch'])")
        self._parallel = bool(parallel)
        self._cache_calls = bool(cache_calls if run_once is None else run_once)
        self._raise_exception = bool(raise_exception)
        self._local_build_config = local_build_config or BuildConfig()
        self._cloud_build_config = cloud_build_config or BuildConfig()
        self._cloud_compute = cloud_compute or CloudCompute()
        self._start_with_flow = bool(start_with_flow)
        self._retries = retries
        self._timeout = timeout
        self._on_crash = on_crash
        self._start_method = start_method
        self.host = host
        self.port = port

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """What the work does. In the flow, calling it records a call."""
        raise NotImplementedError(f"{type(self).__name__} needs a method: def run(self, ...)")

    # -- hooks ------------------------------------------------------------------------------------

    def on_start(self) -> None:
        """Called in the process, before its first call."""

    def on_exit(self) -> None:
        """Called in the process at every exit that it lives to see."""

    def on_exception(self, exception: BaseException) -> None:
        """Called in the process when ``run`` raised."""

    # -- options ----------------------------------------------------------------------------------

    @property
    def parallel(self) -> bool:
        """Whether ``run`` returns at once in the flow, while the process goes on."""
        return self._parallel

    @property
    def cache_calls(self) -> bool:
        """Whether the same arguments run once."""
        return self._cache_calls

    run_once = cache_calls

    @property
    def raise_exception(self) -> bool:
        """Whether a failed call ends the app."""
        return self._raise_exception

    @property
    def start_with_flow(self) -> bool:
        """Whether a cluster may provide the machine when the app starts, ahead of the first call.

        On this machine it changes nothing: a process is there in a moment, and starts at the work's first call
        or at ``start()``, with ``True`` as with ``False``.
        """
        return self._start_with_flow

    @property
    def cloud_compute(self) -> CloudCompute:
        """The machine it asks for."""
        return self._cloud_compute

    @property
    def local_build_config(self) -> BuildConfig:
        return self._local_build_config

    @property
    def cloud_build_config(self) -> BuildConfig:
        return self._cloud_build_config

    # -- where it answers -------------------------------------------------------------------------

    @property
    def port(self) -> int | None:
        """A free port of its own, found when first asked for within an app; or the one it was given."""
        self._binding.read(self, "port")
        port: int | None = self._state.get("port")
        if port is None and self._binding is not PLAIN:
            port = _free_port(self._state["host"])
            self._binding.change(self, Delta(SET, ("port",), port))
        return port

    @port.setter
    def port(self, port: int | None) -> None:
        if port is not None and (isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536):
            raise UsageError(f"{self._where}.port = {port!r}: a port is a number from 1 to 65535")
        self._binding.change(self, Delta(SET, ("port",), port))

    # -- how it stands ----------------------------------------------------------------------------

    @property
    def call_id(self) -> str:
        """Inside ``run``: the name of this call, the same when an interrupted call runs again."""
        return self._call_id

    @property
    def status(self) -> WorkStatus:
        rows = self._binding.statuses(self)
        return WorkStatus(*rows[-1]) if rows else WorkStatus()

    @property
    def statuses(self) -> list[WorkStatus]:
        """The latest hundred, oldest first."""
        return [WorkStatus(*row) for row in self._binding.statuses(self)]

    @property
    def has_started(self) -> bool:
        return self.status.stage not in ("not_started", "pending")

    @property
    def has_stopped(self) -> bool:
        return self.status.stage == "stopped"

    @property
    def has_succeeded(self) -> bool:
        return self.status.stage == "succeeded"

    @property
    def has_failed(self) -> bool:
        return self.status.stage == "failed"

    @property
    def has_timeout(self) -> bool:
        return self.has_failed and self.status.reason == "timeout"

    @property
    def is_running(self) -> bool:
        return self.status.stage == "running"

    @property
    def is_pending(self) -> bool:
        return self.status.stage == "pending"

    @property
    def num_successes(self) -> int:
        return self._binding.counts(self)[0]

    @property
    def num_failures(self) -> int:
        return self._binding.counts(self)[1]

    @property
    def num_timeouts(self) -> int:
        return self._binding.counts(self)[2]

    # -- requests ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Get the process (and the machine) ready without running anything."""
        self._binding.start(self)

    def stop(self) -> None:
        """Cancel its calls and end its process; what it wrote stays. New calls start it again."""
        self._binding.stop(self)

    def delete(self) -> None:
        """Stop it, remove its data, and take it out of the tree."""
        if self._parent is None:
            raise ComponentError(f"{self._where}.delete(): it is not part of a flow")
        self._parent._detach(self._name)

    # -- binding ----------------------------------------------------------------------------------

    def _bind(self, binding: Binding, *, records: bool) -> None:
        """Join an app. ``records``: from now on a call to ``run`` asks the binding."""
        self._binding = binding
        if records:
            self.__dict__["run"] = partial(binding.run, self)
        else:
            self.__dict__.pop("run", None)

    def _set(self, name: str, value: Any) -> None:
        if name in _OPTIONS:
            raise UsageError(
                f"{self._where}.{name} = ...: it is an option, given when the work is made: "
                f"super().__init__({name}=...) in its __init__"
            )
        super()._set(name, value)

    def _attach(self, name: str, child: Component) -> None:
        raise ComponentError(
            f"{self._where}.{name} = {type(child).__name__}(...): a work has no components of its own; "
            "give both to a flow, which passes values from one to the other"
        )


def _free_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def works_of(components: Iterable[Component]) -> list[LightningWork]:
    return [each for each in components if isinstance(each, LightningWork)]
