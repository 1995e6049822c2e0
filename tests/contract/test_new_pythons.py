"""A work that starts as a new Python finds what a forked one inherits: however the app was started."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest

from .live import Stage

BOTH = pytest.mark.parametrize("method", ["fork", "spawn"])

# What the flow sees, a work must see too, wherever it was started. A sibling's class is pickled as well.
APP = """
import os
import sys
import lightning.app as L
{imports}


def seen():
    return [os.getcwd(), list(sys.path), list(sys.argv), os.environ.get("COLOR"), TONE]


class Inner:
    class Sort(Tone):
        pass


class Work(L.LightningWork):
    def __init__(self):
        super().__init__(start_method=os.environ["METHOD"])
        self._tone = Tone(1), Inner.Sort(2)

    def run(self):
        spawned = "lightning.app.engines.host" in open("/proc/self/cmdline").read()
        print("spawn" if spawned else "fork", [type(tone).__name__ for tone in self._tone])
        assert type(self._tone[1]) is Inner.Sort
        return seen()


class Flow(L.LightningFlow):
    def __init__(self):
        super().__init__()
        self.work = Work()

    def run(self):
        there, here = self.work.run(), seen()
        print("alike" if there == here else f"in the work\\n{{there}}\\nin the flow\\n{{here}}")
        self.stop()
"""

SIBLING = """
TONE = "low"

class Tone:
    def __init__(self, number):
        self.number = number
"""

MAKES = "\napp = L.LightningApp(Flow())\n"
RUNS = "\nif __name__ == '__main__':\n    app.run()\n"


def written(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def alike(folder: Path, method: str, *command: str, stdin: str = "", color: str = "") -> None:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "METHOD": method},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines()[2:] == [f"{method} ['Tone', 'Sort']", "alike"], done
    assert done.returncode == 0, done.stderr


RUN_APP = ("-m", "lightning.app", "run", "app", "--open-ui=false", "--without-server")


@BOTH
def test_a_file_with_siblings(method: str, tmp_path: Path) -> None:
    files = {"app.py": APP.format(imports="from tones import TONE, Tone") + MAKES, "tones.py": SIBLING}
    written(tmp_path, files)
    alike(tmp_path, method, *RUN_APP, "app.py", "--app_args", "--lr", "0.1")
    alike(tmp_path.parent, method, *RUN_APP, f"{tmp_path.name}/app.py")


@BOTH
@pytest.mark.parametrize("guard", [True, False], ids=["guarded", "bare"])
def test_a_file_run_by_python(method: str, guard: bool, tmp_path: Path) -> None:
    last = RUNS if guard else "\napp.run()\n"
    files = {"app.py": APP.format(imports="from tones import TONE, Tone") + MAKES + last, "tones.py": SIBLING}
    written(tmp_path, files)
    alike(tmp_path, method, "app.py", "--lr", "0.1")


@BOTH
@pytest.mark.parametrize("module", ["app", "package.app", "package", "package.inner.app"])
def test_a_module_run_by_python(method: str, module: str, tmp_path: Path) -> None:
    name = module.replace(".", "/") + ("/__main__.py" if module == "package" else ".py")
    dots = "." * module.count(".") if module != "package" else "."
    files = {f"{parent}/__init__.py": "" for parent in ("package", "package/inner")}
    files |= {name: APP.format(imports=f"from {dots}tones import TONE, Tone") + MAKES + RUNS}
    files |= {"package/tones.py" if dots else "tones.py": SIBLING}
    written(tmp_path, files)
    alike(tmp_path, method, "-m", module, "--lr", "0.1")


@BOTH
def test_a_script_that_runs_what_another_module_made(method: str, tmp_path: Path) -> None:
    tone = "from tones import TONE, Tone"
    main = "from factory import made\n" + APP.format(imports=tone) + "\napp = made(Flow())\n" + RUNS
    factory = "import lightning.app as L\ndef made(root):\n    return L.LightningApp(root)\n"
    written(tmp_path, {"main.py": main, "factory.py": factory, "tones.py": SIBLING})
    alike(tmp_path, method, "main.py")


@BOTH
def test_a_script_that_runs_an_app_of_another_module(method: str, tmp_path: Path) -> None:
    app = APP.format(imports="from tones import TONE, Tone") + MAKES
    main = "print('never twice', file=open('ran', 'x'))\nfrom app import app\nif __name__ == '__main__':\n    app.run()\n"
    written(tmp_path, {"main.py": main.partition("\n")[2], "app.py": app, "tones.py": SIBLING})
    alike(tmp_path, method, "main.py")


@BOTH
def test_an_app_that_has_gone_to_another_folder_and_searches_others(method: str, tmp_path: Path) -> None:
    imports = """
os.chdir("data")  # as good as once
sys.path.insert(0, os.path.abspath("../lib"))
sys.path.append("relative")
os.environ["COLOR"] = "red"
from tones import TONE, Tone
"""
    files = {"app.py": APP.format(imports=imports) + MAKES, "lib/tones.py": SIBLING, "data/x": ""}
    written(tmp_path, files)
    alike(tmp_path, method, *RUN_APP, "app.py")


@BOTH
def test_what_is_done_where_only_the_program_itself_gets_to(method: str, tmp_path: Path) -> None:
    last = """
if __name__ == "__main__":
    os.chdir("data")
    sys.path.append(os.path.abspath("more"))
    sys.argv.append("one more")
    os.environ["COLOR"] = "red"
    app.run()
"""
    imports = "from tones import TONE, Tone"
    files = {"app.py": APP.format(imports=imports) + MAKES + last, "tones.py": SIBLING, "data/x": ""}
    written(tmp_path, files)
    alike(tmp_path, method, "app.py")


@BOTH
def test_files_that_are_called_like_modules_of_python(method: str, tmp_path: Path) -> None:
    files = {"app.py": APP.format(imports="from tones import TONE, Tone") + MAKES, "tones.py": SIBLING}
    names = ("signal", "socket", "selectors", "msgspec")
    written(tmp_path, files | {f"{name}.py": "raise RuntimeError('not me')\n" for name in names})
    script = Path(sys.executable).with_name("lightning-app")
    done = subprocess.run(
        [script, *RUN_APP[2:], "app.py"],
        cwd=tmp_path,
        env={**os.environ, "METHOD": method},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines()[2:] == [f"{method} ['Tone', 'Sort']", "alike"], done


def test_an_app_that_was_piped_into_python_is_forked(tmp_path: Path) -> None:
    written(tmp_path, {"tones.py": SIBLING})
    text = APP.format(imports="from tones import TONE, Tone") + MAKES + RUNS
    alike(tmp_path, "fork", "-", stdin=text)


def test_an_app_that_was_piped_into_python_cannot_be_imported_by_a_new_one(tmp_path: Path) -> None:
    written(tmp_path, {"tones.py": SIBLING})
    text = APP.format(imports="from tones import TONE, Tone") + MAKES + RUNS
    done = subprocess.run(
        [sys.executable, "-"],
        cwd=tmp_path,
        env={**os.environ, "METHOD": "spawn"},
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "root.work starts as a new Python, which must import the app" in done.stderr
    assert "Write it to a file" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_cannot_be_imported_a_second_time_says_so_once_in_its_own_line(stage: Stage) -> None:
    terminal = stage.start(
        """
        if os.path.exists("been here"):
            raise FileExistsError("been here")  # this line
        touch("been here")

        class Work(L.LightningWork):
            def run(self):
                print("never")

        app = L.LightningApp(Work(start_method="spawn"))
        """
    )
    terminal.end(1)
    source = (stage.folder / "app.py").read_text().splitlines()
    line = source.index('    raise FileExistsError("been here")  # this line') + 1
    assert terminal.errors.count("FileExistsError: been here") == 1
    assert terminal.errors.count("Traceback") <= 1
    assert f'app.py", line {line}, in <module>' in terminal.errors
    assert "new Python" in terminal.errors


TICKER = textwrap.dedent(
    """
    import threading
    threading.Thread(target=threading.Event().wait, name="ticker", daemon=True).start()
    """
)


def test_a_class_that_only_the_program_itself_gets_to_is_named_with_the_remedy(tmp_path: Path) -> None:
    app = APP.format(imports="from tones import TONE, Tone")
    last = """
if __name__ == "__main__":
    class Guarded(Work):
        pass

    app = L.LightningApp(Guarded())
    app.run()
"""
    written(tmp_path, {"app.py": app + last, "tones.py": SIBLING})
    done = subprocess.run(
        [sys.executable, "app.py"],
        cwd=tmp_path,
        env={**os.environ, "METHOD": "spawn"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "Can't get attribute 'Guarded'" in done.stderr
    assert "move the class out of there" in done.stderr


@pytest.mark.parametrize("end", ["removed", "there"])
def test_runs_are_kept_where_the_program_was_started(end: str, tmp_path: Path) -> None:
    imports = "from tones import TONE, Tone\nos.chdir('data')\n"
    imports += "os.rmdir('../data')\n" if end == "removed" else ""
    app = APP.format(imports=imports).replace("os.getcwd(), ", "") + MAKES
    for command in ([*RUN_APP, "app.py"], ["app.py"]):
        written(tmp_path, {"app.py": app + RUNS, "tones.py": SIBLING})
        (tmp_path / "data").mkdir(exist_ok=True)
        alike(tmp_path, "fork", *command)
    assert len(list((tmp_path / ".lightning" / "runs").iterdir())) == 2
