"""The app's file becomes an app. Whatever is wrong with the file is said in the file's own lines.

The file is imported as a module of its own, so that the classes in it are pickled by reference and a process
that did not inherit them can import them again (``load_module``). Its folder comes first on ``sys.path``, as
with ``python app.py``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from lightning.app.errors import AppLoadError, NotAllowedError
from lightning.app.runtime import refusals

if TYPE_CHECKING:
    from lightning.app.core.app import LightningApp


@dataclass
class Loading:
    """A file on its way to be a module. Meanwhile ``LightningApp.run`` only adds the app to ``ran``."""

    file: str
    ran: list[LightningApp] = field(default_factory=list)


_loading: Loading | None = None

_MAIN_ELSEWHERE = "__app_main__"
"""What the file that Python was started with is called while a process imports it that did not inherit it."""


def loading() -> Loading | None:
    """What is being loaded at this moment, if anything."""
    return _loading


def load_app(file: str | os.PathLike[str], args: Sequence[str] = ()) -> LightningApp:
    """Import ``file`` afresh, with ``args`` as its arguments, and give the one app that it makes.

    Its module is in ``sys.modules`` under the name ``app_module(file)``.
    """
    from lightning.app.core.app import LightningApp

    path = _existing(file)
    name = app_module(path)
    sys.argv = [os.fspath(file), *args]
    sys.modules.pop(name, None)
    module, ran = _import(path, name)
    named = [value for value in vars(module).values() if isinstance(value, LightningApp)]
    apps = list({id(app): app for app in (*named, *ran)}.values())
    if not apps:
        raise AppLoadError(refusals.no_app(path, module))
    if len(apps) > 1:
        raise AppLoadError(refusals.many_apps(path, module, apps))
    return apps[0]


def app_module(file: str | os.PathLike[str]) -> str:
    """The name under which ``file`` is imported: its stem, unless that is another module's name.

    ``__main__`` for the file that Python was started with.
    """
    path = os.path.abspath(file)
    if not _is_another(sys.modules["__main__"], path):
        return "__main__"
    stem = Path(path).stem
    name = stem if stem.isidentifier() else "app_" + "".join(c if c.isalnum() else "_" for c in stem)
    while name in sys.stdlib_module_names or name == "lightning" or _is_another(sys.modules.get(name), path):
        name += "_app"
    return name


def load_module(file: str | os.PathLike[str], module: str, package: str = "") -> ModuleType:
    """Import ``file`` as ``module``, unless it is there already.

    ``__main__`` stands for a file that was started as ``python app.py``: pickles made there ask for
    ``__main__``, yet what it keeps under ``if __name__ == "__main__"`` must not run again. ``package`` is the
    one that it belongs to, if it was started as ``python -m package.app``.
    """
    path = _existing(file)
    known = sys.modules.get(module)
    if known is not None and not _is_another(known, path):
        return known
    return _import(path, module, package)[0]


def _import(path: str, module: str, package: str = "") -> tuple[ModuleType, list[LightningApp]]:
    global _loading
    source = _read(path)
    folder = os.path.dirname(path)
    if folder not in sys.path[:1]:
        sys.path.insert(0, folder)
    name = f"{package}.{_MAIN_ELSEWHERE}".lstrip(".") if module == "__main__" else module
    spec = spec_from_file_location(name, path, loader=SourceFileLoader(name, path))
    assert spec is not None
    new = module_from_spec(spec)
    before = {key: sys.modules.get(key) for key in (name, module)}
    sys.modules.update(dict.fromkeys(before, new))
    outer, _loading = _loading, Loading(path)
    try:
        # Compiled from the source each time: a cached file could be as old as the last edit's second.
        exec(compile(source, path, "exec", dont_inherit=True), vars(new))
        if name != module:
            _say_main(vars(new), name)
        return new, _loading.ran
    except BaseException as error:
        for key, old in before.items():
            if old is None:
                sys.modules.pop(key, None)
            else:
                sys.modules[key] = old
        if isinstance(error, KeyboardInterrupt):
            raise
        raise AppLoadError(refusals.failed(path, error)) from None
    finally:
        _loading = outer


def _say_main(names: Mapping[str, Any], name: str) -> None:
    """Let the classes there say that they are of ``__main__``, as the process says that has it as its own."""
    for value in names.values():
        if isinstance(value, type) and value.__module__ == name:
            value.__module__ = "__main__"
            _say_main(vars(value), name)


def _existing(file: str | os.PathLike[str]) -> str:
    path = os.path.abspath(file)
    if os.path.isdir(path):
        raise AppLoadError(refusals.folder(path))
    if not os.path.exists(path):
        raise refusals.missing(os.fspath(file), path)
    return path


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except PermissionError as error:
        raise NotAllowedError(f"{path} may not be read by this user: chmod u+r {path}") from error
    except OSError as error:
        raise AppLoadError(f"{path} could not be read: {error.strerror}") from error


def _is_another(module: ModuleType | None, path: str) -> bool:
    if module is None:
        return False
    file = getattr(module, "__file__", None)
    return file is None or os.path.abspath(file) != path
