"""Performing what the kernel decided: processes are started and stopped, messages sent. After the commit."""

from __future__ import annotations

import os
import pickle
import sys
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NoReturn

from lightning.app.core.component import Component
from lightning.app.core.work import LightningWork
from lightning.app.engines.channel import TooLarge
from lightning.app.engines.engine import ASKED, Engine, Exited, Placement, Started, Worker
from lightning.app.errors import ChannelClosed, LightningError, PickleError, StateValueError
from lightning.app.kernel import messages as m
from lightning.app.kernel.facts import Failure
from lightning.app.kernel.orders import EndApp, Notice, Order, Place, Send, StopWorker
from lightning.app.kernel.values import pack
from lightning.app.runtime.log import Log

STOP_GRACE = 5.0
"""Seconds that a work has between SIGTERM and SIGKILL."""


TRANSFERS = 100
"""So many are known of, with those that are over."""


@dataclass(frozen=True, slots=True)
class Left:
    """A process has ended, waiting in the inbox behind all that it had said."""

    link: Link
    reason: str


@dataclass(frozen=True, slots=True)
class NotStarted:
    """A process could not be had, or its object could not travel."""

    path: str
    incarnation: int
    failure: Failure


Said = tuple["Link", tuple[int, int, m.Message]]
"""A message of a work, waiting in the inbox: the link, and its seq, what it acknowledges, and the message."""

Event = Said | Left | NotStarted


class Link:
    """The runtime's end of one worker."""

    __slots__ = ("closed", "incarnation", "path", "stopped", "taken", "worker")

    def __init__(self, path: str, incarnation: int, worker: Worker) -> None:
        self.path = path
        self.incarnation = incarnation
        self.worker = worker
        self.taken = 0  # the last message taken in by a turn
        self.closed = False
        self.stopped = False


class Performer:
    """Holds the links to all workers, fills the inbox, and carries out orders."""

    def __init__(self, run_id: str, log: Log, inbox: deque[Event], find: Callable[[str], Component]) -> None:
        self.run_id = run_id
        self.log = log
        self.inbox = inbox
        self.epoch = 0
        self.engine: Engine
        self.app_file = ""
        self.app_module = ""
        self.links: dict[int, Link] = {}  # by incarnation
        self.current: dict[str, Link] = {}  # by path
        self.ending: EndApp | None = None
        self.transfers: dict[tuple[str, str], m.Moved] = {}
        """How far each component's transfers are, by its path and what they are; of those that are over, the newest."""
        self.watch: Callable[[Link], None] = lambda link: None  # wait for the link's channel
        self.unwatch: Callable[[Link], None] = lambda link: None
        self.want_write: Callable[[Link], None] = lambda link: None
        self._find = find
        self._noticed_no_gpu = False
        self._noticed_spawn = False

    # -- what comes in ----------------------------------------------------------------------------

    def read(self, link: Link) -> None:
        """Move what the link has to the inbox."""
        try:
            for said in link.worker.channel.receive():
                self.inbox.append((link, said))
        except ChannelClosed:
            self._close(link)
        except LightningError as err:
            self.log.warning(f"{link.path}: {err}; its process is ended")
            self._close(link)
            link.worker.stop(0)

    def moved(self, path: str, message: m.Moved) -> None:
        """A transfer has come farther. Also called from the thread that moves it, if that is in this process."""
        transfers = self.transfers
        transfers.pop(
            (path, message.what), None
        )  # to the end: what was heard of longest ago is forgotten first
        transfers[path, message.what] = message
        if len(transfers) > TRANSFERS:
            known = list(transfers.items())
            over = next((key for key, each in known if each.ended is not None), known[0][0])
            transfers.pop(over, None)

    def report(self, event: Started | Exited) -> None:
        """The engine says what became of a worker."""
        link = self.links.get(event.generation)
        if isinstance(event, Started):
            self.log.debug(
                f"{event.work}: process {event.pid} ({event.method}{': ' if event.why else ''}{event.why})"
            )
            if event.method == "spawn" and event.why != ASKED and not self._noticed_spawn:
                self._noticed_spawn = True
                self.log.info(
                    f"{event.work} starts as a new Python, as do others ({event.why}): each imports the app anew"
                )
            return
        if link is None:
            return
        while not link.closed:  # what it said before it ended comes first
            before = len(self.inbox)
            self.read(link)
            if len(self.inbox) == before:
                self._close(link)
        self.inbox.append(Left(link, event.reason))
        for key in [
            key for key, each in list(self.transfers.items()) if key[0] == event.work and each.ended is None
        ]:
            del self.transfers[key]  # nobody goes on with it
        del self.links[event.generation]
        if self.current.get(event.work) is link:
            del self.current[event.work]

    def _close(self, link: Link) -> None:
        if not link.closed:
            self.unwatch(link)
            link.closed = True
            link.worker.channel.close()

    # -- orders -----------------------------------------------------------------------------------

    def perform(self, orders: Iterable[Order]) -> None:
        posted: dict[Link, None] = {}
        for order in orders:
            if type(order) is Send:
                link = self.current.get(order.path)
                if link is not None and not link.closed:
                    self._post(link, order.message)
                    posted[link] = None
            elif type(order) is Place:
                placed = self._place(order)
                if placed is not None:
                    posted[placed] = None
            elif type(order) is StopWorker:
                stopped = self.links.get(order.incarnation)
                if stopped is not None:
                    self._stop(stopped)
            elif type(order) is Notice:
                self.log.warning(f"{order.path}: {order.message}")
            elif type(order) is EndApp and self.ending is None:
                self.ending = order
        for link in posted:
            self.flush(link)

    def _post(self, link: Link, message: m.Message) -> None:
        try:
            link.worker.channel.post(message)
        except TooLarge as err:
            what = link.path
            if type(message) is m.Write:
                what += f".{message.deltas[0].path[0]}"
            elif type(message) is m.Call:
                what += ".run(...)"
            raise StateValueError(
                f"{what}: {err}; wrap what is large in lightning.app.storage.Payload"
            ) from None

    def _stop(self, link: Link) -> None:
        """By a message and by a signal: the user's code may have taken the signal for itself."""
        if not link.stopped:
            link.stopped = True
            if not link.closed:
                link.worker.channel.post(m.Stop())
                self.flush(link)
            link.worker.stop(STOP_GRACE)

    def stop_all(self) -> None:
        """Whoever is left, also those of components that the model no longer knows."""
        for link in list(self.links.values()):
            self._stop(link)

    def flush(self, link: Link) -> None:
        if link.closed:
            return
        try:
            if not link.worker.channel.flush():
                self.want_write(link)
        except ChannelClosed:
            self._close(link)

    def acknowledge(self, links: Iterable[Link]) -> None:
        """What these have said is durable."""
        for link in links:
            if not link.closed:
                link.worker.channel.acknowledge(link.taken)

    def tell(self, links: Iterable[Link]) -> None:
        """Let the acknowledgements go, where no message has carried them."""
        for link in links:
            if not link.closed:
                link.worker.channel.post_ack()
                self.flush(link)

    def _place(self, order: Place) -> Link | None:
        work = self._find(order.path)
        assert isinstance(work, LightningWork)
        environment: dict[str, str] = {}
        if order.devices:
            environment["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # the numbers are those of the slots
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, order.devices))
        elif order.cpu_only_notice and not self._noticed_no_gpu:
            self._noticed_no_gpu = True
            self.log.info(
                f"{order.path} asks for a GPU and this machine has none: it runs on the CPU, as do others"
            )
        worker: Worker | None = None
        try:
            body = pickle_work(work)
            worker = self.engine.start(
                Placement(order.path, order.incarnation, work._start_method, environment=environment)
            )
            link = Link(order.path, order.incarnation, worker)
            state = {name: pack(value) for name, value in work._state.items()}
            self._post(
                link,
                m.Begin(
                    self.run_id,
                    self.epoch,
                    order.path,
                    order.incarnation,
                    body,
                    state,
                    self.app_file,
                    self.app_module,
                ),
            )
        except LightningError as err:
            if worker is not None:
                worker.stop(0)
            self.inbox.append(
                NotStarted(order.path, order.incarnation, Failure(type(err).__name__, str(err)))
            )
            return None
        self.links[order.incarnation] = self.current[order.path] = link
        self.watch(link)
        return link


def pickle_work(work: LightningWork) -> bytes:
    """The work's object for its process: private attributes; its state goes beside it."""
    try:
        return pickle.dumps(work, protocol=5)
    except Exception as plain:
        try:
            import cloudpickle

            return bytes(cloudpickle.dumps(work, protocol=5))
        except Exception:
            raise PickleError(_blame(work, plain)) from None


def _blame(work: LightningWork, err: Exception) -> str:
    import cloudpickle

    for name, value in work.__getstate__().items():
        try:
            cloudpickle.dumps(value)
        except Exception as inner:
            return (
                f"{work._path}.{name} is a {type(value).__name__}, which cannot travel to the work's process "
                f"({inner}): create it in run"
            )
    return f"{work._path} cannot travel to its process ({err}): create in run what cannot be pickled"


def exit_now(code: int) -> NoReturn:
    """Leave without any further word: the second signal."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
