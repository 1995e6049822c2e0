"""Where the runtime comes from: what a process needs that did not inherit it.

A work that starts as a new Python has to import the app's file again, as it was imported the first time: with
the same arguments, from the same folder, as the same module of the same package. And then it has to stand
where the runtime stands, wherever the app has gone and whatever it has put on ``sys.path`` meanwhile, as a
forked work does.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import import_module

from lightning.app import startup
from lightning.app.errors import AppLoadError


@dataclass(frozen=True)
class Origin:
    arguments: list[str]  # sys.argv
    path: list[str]  # sys.path
    folder: str  # the current one
    first_folder: str  # that in which the program was started
    main: str  # the file that Python was started with; empty where that was none
    package: str  # and the package that it belongs to: ``python -m package.app``

    @classmethod
    def here(cls) -> Origin:
        """That of this process."""
        main = sys.modules["__main__"]
        file = str(getattr(main, "__file__", None) or "<stdin>")
        folder = ""
        with suppress(OSError):  # it has been removed
            folder = os.getcwd()
        return cls(
            arguments=[str(each) for each in sys.argv],
            path=[str(each) for each in sys.path],
            folder=folder,
            first_folder=startup.FOLDER or folder,
            main="" if file.startswith("<") else os.path.join(startup.FOLDER, file),
            package=str(getattr(main, "__package__", None) or ""),
        )

    def kept(self) -> int:
        """A descriptor to read it from, as often as it takes: it can be long, and need not be proper text."""
        fd = os.memfd_create("origin")
        os.write(fd, json.dumps(asdict(self)).encode())
        return fd

    @classmethod
    def read(cls, fd: int) -> Origin:
        return cls(**json.loads(os.pread(fd, os.fstat(fd).st_size, 0)))

    def import_app(self, file: str, module: str, work: str) -> None:
        """Import the app's file as ``module``, begin as it began, and be where it is now."""
        if module == "__main__":
            file = self.main
            if not file:
                raise AppLoadError(
                    f"{work} starts as a new Python, which must import the app, and the app is in no file: it was "
                    "typed in, or piped into Python. Write it to a file, and run that"
                )
        sys.argv = list(self.arguments)
        sys.path[:] = self.path
        # The loader is the runtime's: a host asks for it by name, and leans on nothing else up there.
        loader = import_module("lightning.app.runtime.loader")
        try:
            loader.load_module(file, module, self.package if module == "__main__" else "")
        except AppLoadError as error:
            raise AppLoadError(
                f"{work} starts as a new Python, which imports the app's file again, and this time it failed\n{error}"
            ) from None
        sys.path[:] = self.path
        with suppress(OSError):  # it has been removed since
            os.chdir(self.folder)
