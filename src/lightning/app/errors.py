"""Every error a user can meet, with its exit code. A message says what, where, and what to do."""

from __future__ import annotations


class LightningError(Exception):
    """Something this package refuses or could not do. ``exit_code`` is what a command then exits with."""

    exit_code = 1


class UsageError(LightningError):
    """A command or a call was worded wrongly."""

    exit_code = 2


class OptionError(UsageError, TypeError):
    """A component, or a description of a machine, was made with an option that there is not."""


class NotFoundError(LightningError):
    """A file, run, app, component or cluster that was named does not exist."""

    exit_code = 3


class NotAllowedError(LightningError):
    """The operating system, a permission or a token stands in the way."""

    exit_code = 4


class ConflictError(LightningError):
    """Somebody else holds what was asked for: a live run, a name, a port."""

    exit_code = 5


class TryAgainError(LightningError):
    """A passing condition: the same command may succeed later."""

    exit_code = 75


class AppLoadError(LightningError):
    """The app's file could not be turned into an app. The message carries the user's file and line."""


class StateValueError(LightningError, TypeError):
    """A value that cannot be state was set. Names the attribute, the part, and the remedy."""


class ComponentError(LightningError):
    """Components were put together in a way that has no meaning: one in two places, one inside a work."""


class CallError(LightningError, TypeError):
    """``run`` of a work was called in a way that cannot be recorded: wrong or unkeyed arguments."""


class ScheduleError(LightningError, ValueError):
    """A cron line that cannot be read."""


class PickleError(LightningError):
    """A work holds something that cannot travel to its process. Names the attribute."""


class FlowError(LightningError):
    """A flow's ``run`` broke a rule of the replay: it swallowed the end of a pass, or wrote from a thread."""


class WorkError(LightningError):
    """A work broke a rule of its process: it called another work, or returned what is too big."""


class JournalError(LightningError):
    """The journal could not be read or written. The app stops before it acts on what it could not write."""


class CompactedError(JournalError):
    """A part of a run's history was asked for that is no longer kept. Says where history begins."""

    exit_code = 3


class StorageError(LightningError):
    """A store refused, or could not do, what was asked. Names the blob, the store, and the remedy."""


class BlobNotFoundError(StorageError, NotFoundError, FileNotFoundError):
    """A blob that was asked for is not in its store."""


class BlobConflictError(StorageError, ConflictError, FileExistsError):
    """There is something else already where a blob, a file or a folder was to go."""


class StorageDeniedError(StorageError, NotAllowedError, PermissionError):
    """The store, or a folder, does not let this user do it."""


class StoreUnreachableError(StorageError, TryAgainError, ConnectionError):
    """The store did not answer, or broke off, again and again."""


class CodeChangedError(LightningError):
    """The app's code no longer fits what the run has recorded. Lists everything that has no place in it."""

    exit_code = 5

    def __init__(self, misfits: list[str], *, can_drop: bool = True) -> None:
        self.misfits = misfits
        drop = "go on without what is listed by adding --drop-unfit, " if can_drop else ""
        listed = "".join(f"\n  {each}" for each in misfits)
        super().__init__(
            f"the code has changed, and what the run has recorded no longer fits it:{listed}\n"
            f"Bring the old code back, {drop}or start a new run (without --resume)"
        )


class EngineError(LightningError):
    """A place for works could not be started or was lost."""


class ChannelClosed(LightningError):
    """The other end of a channel is gone."""


class ProtocolError(LightningError):
    """A frame arrived that no honest peer sends: too large, too deep, out of order, of an unknown kind."""
