"""What is said when a file cannot be turned into an app: in the user's file and line, with the remedy."""

from __future__ import annotations

import ast
import difflib
import linecache
import os
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from lightning.app.core.tracebacks import OURS, user_traceback
from lightning.app.errors import NotFoundError

if TYPE_CHECKING:
    from lightning.app.core.app import LightningApp

PACKAGES = {
    "PIL": "pillow",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python",
    "dateutil": "python-dateutil",
    "dotenv": "python-dotenv",
    "pytorch_lightning": "pytorch-lightning",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""What to install for a module whose distribution has another name."""


def missing(named: str, path: str) -> NotFoundError:
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        return NotFoundError(f"no file {named}: there is no folder {folder}")
    near = sorted(
        entry.name.removesuffix(".py") for entry in os.scandir(folder) if entry.name.endswith(".py")
    )
    close = difflib.get_close_matches(os.path.basename(path).removesuffix(".py"), near, n=1)
    if close:
        remedy = f"Did you mean {os.path.join(os.path.dirname(named), close[0])}.py?"
    elif near:
        remedy = f"There is {'.py, '.join(near[:5])}.py{' ...' if near[5:] else ''}"
    else:
        remedy = "There is no Python file in that folder."
    return NotFoundError(f"no file {os.path.basename(path)} in {folder}\n{remedy}")


def folder(path: str) -> str:
    near = sorted(entry.name for entry in os.scandir(path) if entry.name.endswith(".py"))
    example = "app.py" if "app.py" in near or not near else near[0]
    return f"{path} is a folder\nName the app's file: lightning run app {os.path.join(path, example)}"


def failed(path: str, error: BaseException) -> str:
    """The file did not run to its end: ``error`` came out of it."""
    if isinstance(error, SyntaxError):
        imported = any(_is_users(frame.filename) for frame in traceback.extract_tb(error.__traceback__))
        told = user_traceback(error) if imported else "".join(traceback.format_exception_only(error))
        return f"{path} cannot be read as Python\n{told.rstrip()}"
    if isinstance(error, ValueError) and error.__traceback__ is not None and not error.__traceback__.tb_next:
        return f"{path} cannot be read as Python: {error}"  # a zero byte, in older Pythons
    file, line = _place(path, error)
    where = f"{file}, line {line}"
    quoted = f"    {linecache.getline(file, line).strip()}"
    if isinstance(error, SystemExit):
        return (
            f"{where}: the file ended the program (exit code {error.code!r}) before its app was there\n"
            f'{quoted}\nMove that line under if __name__ == "__main__": or into a run method.\n'
            f"Arguments for the app go last: lightning run app {os.path.basename(path)} --app_args ..."
        )
    if isinstance(error, ImportError):
        return f"{where}: {error}\n{quoted}{_import_remedy(path, error)}"
    return f"{where}: the app's file failed\n{user_traceback(error).rstrip()}"


def no_app(path: str, module: ModuleType) -> str:
    from lightning.app.core.flow import LightningFlow
    from lightning.app.core.work import LightningWork

    lines = [f"no app in {path}: nothing at its module level is a LightningApp"]
    for line, where in _made_apps(path):
        lines.append(f"Line {line} makes one {where}: move it to module level, without indentation")
    if len(lines) == 1:
        own = [c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__]
        roots = [c for base in (LightningWork, LightningFlow) for c in own if issubclass(c, base)]
        root = roots[-1].__name__ if roots else "YourFlow"
        lines.append(f"Add a line at its end: app = LightningApp({root}())")
    return "\n".join(lines)


def many_apps(path: str, module: ModuleType, apps: list[LightningApp]) -> str:
    names = {id(value): name for name, value in vars(module).items()}
    said = []
    for app in apps:
        file, line = app.defined_at
        elsewhere = "" if file == path else f"{file}, "
        said.append(f"{names.get(id(app), 'one without a name')} ({elsewhere}line {line})")
    listed = f"{', '.join(said[:-1])} and {said[-1]}"
    return f"{path} has more than one app: {listed}\nKeep one of them at module level"


def _is_users(file: str) -> bool:
    return not file.startswith((*OURS, "<frozen importlib"))


def _place(path: str, error: BaseException) -> tuple[str, int]:
    """The deepest line of the user's that led to ``error``: in the app's folder, else in its file."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if _is_users(f.filename)]
    inside = os.path.dirname(path) + os.sep
    own = [f for f in frames if f.filename.startswith(inside) and "site-packages" not in f.filename] or frames
    return (own[-1].filename, own[-1].lineno or 0) if own else (path, 0)


def _import_remedy(path: str, error: ImportError) -> str:
    if isinstance(error, ModuleNotFoundError) and str(error).startswith("No module named") and error.name:
        top = error.name.partition(".")[0]
        if top in sys.modules:
            return f"\n{top} is installed, but has no such part: another version of it may be needed"
        remedy = f"\nInstall it: pip install {PACKAGES.get(top, top.replace('_', '-'))}"
        if os.path.exists(os.path.join(os.path.dirname(path), "requirements.txt")):
            remedy += f"\nOr all that the app asks for: lightning run app {os.path.basename(path)} --setup"
        return remedy
    if asked := re.match(r"cannot import name '(\w+)' from '([\w.]+)'", str(error)):
        close = difflib.get_close_matches(asked[1], dir(sys.modules.get(asked[2])), n=1)
        return f"\nDid you mean {close[0]}?" if close else ""
    return ""


def _made_apps(path: str) -> Iterator[tuple[int, str]]:
    """Where the file calls ``LightningApp``, and what keeps that from happening when it is imported."""

    def look(nodes: Iterable[ast.AST], where: str) -> Iterator[tuple[int, str]]:
        for node in nodes:
            within = where
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                within = f"inside {node.name}()"
            elif isinstance(node, ast.If) and "__name__" in ast.unparse(node.test):
                within = f"under if {ast.unparse(node.test)}"
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("LightningApp") and where:
                yield node.lineno, where
            yield from look(ast.iter_child_nodes(node), within)

    return look([ast.parse(Path(path).read_bytes())], "")
