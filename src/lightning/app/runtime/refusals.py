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

import lightning.app
from lightning.app.errors import NotFoundError

OUR_FOLDER = os.path.dirname(os.path.abspath(lightning.app.__file__)) + os.sep

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
    near = sorted(entry.name for entry in os.scandir(folder) if entry.name.endswith(".py"))
    close = difflib.get_close_matches(os.path.basename(path), near, n=1)
    if close:
        remedy = f"Did you mean {os.path.join(os.path.dirname(named), close[0])}?"
    elif near:
        remedy = f"There: {', '.join(near[:5])}{' ...' if near[5:] else ''}"
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
        return f"{path} cannot be read as Python\n{users_traceback(error)}"
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
    return f"{where}: the app's file failed\n{users_traceback(error)}"


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


def many_apps(path: str, names: list[str]) -> str:
    places = _assigned(path)
    said = [f"{name} (line {places[name]})" if name in places else name for name in names]
    if len(said) < 2:
        said.append("one that is run without a name")
    listed = f"{', '.join(said[:-1])} and {said[-1]}"
    return f"{path} has more than one app: {listed}\nKeep one of them at module level"


def users_traceback(error: BaseException) -> str:
    """The traceback without our frames and those of the import machinery, in every cause it has."""
    story = traceback.TracebackException.from_exception(error, compact=True)
    for part in _parts(story):
        part.stack[:] = [frame for frame in part.stack if _is_users(frame.filename)]
    bare = isinstance(error, SyntaxError) and not story.stack
    return "".join(story.format_exception_only() if bare else story.format()).rstrip()


def _parts(story: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    yield story
    for part in (story.__cause__, story.__context__, *(story.exceptions or ())):
        if part is not None:
            yield from _parts(part)


def _is_users(file: str) -> bool:
    return not file.startswith((OUR_FOLDER, "<frozen importlib"))


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


def _assigned(path: str) -> dict[str, int]:
    """The last line on which the module gave each of its names a value."""
    lines: dict[str, int] = {}
    for node in ast.parse(Path(path).read_bytes()).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            lines.update(dict.fromkeys((alias.asname or alias.name for alias in node.names), node.lineno))
            continue
        for part in ast.walk(node):
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                lines[part.id] = part.lineno
    return lines
