"""A work that starts as a new Python finds what a forked one inherits: however the app was started."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest

from .live import Stage

PROJECT = Path(__file__).parents[2]
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


def ran(
    folder: Path, *command: str | Path, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """A command in the folder, to its end."""
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def alike(folder: Path, method: str, *command: str, stdin: str = "") -> None:
    done = ran(folder, sys.executable, *command, stdin=stdin, METHOD=method)
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
    done = ran(tmp_path, script, *RUN_APP[2:], "app.py", METHOD=method)
    assert done.stdout.splitlines()[2:] == [f"{method} ['Tone', 'Sort']", "alike"], done


def test_an_app_that_was_piped_into_python_is_forked(tmp_path: Path) -> None:
    written(tmp_path, {"tones.py": SIBLING})
    text = APP.format(imports="from tones import TONE, Tone") + MAKES + RUNS
    alike(tmp_path, "fork", "-", stdin=text)


def test_an_app_that_was_piped_into_python_cannot_be_imported_by_a_new_one(tmp_path: Path) -> None:
    written(tmp_path, {"tones.py": SIBLING})
    text = APP.format(imports="from tones import TONE, Tone") + MAKES + RUNS
    done = ran(tmp_path, sys.executable, "-", stdin=text, METHOD="spawn")
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
    done = ran(tmp_path, sys.executable, "app.py", METHOD="spawn")
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


# -- which of the two, where the work does not say ------------------------------------------------

METHOD = """
import os
import lightning.app as L
{before}

class Work(L.LightningWork):
    def run(self):
        {does}
        print("spawn" if "lightning.app.engines.host" in open("/proc/self/cmdline").read() else "fork")

app = L.LightningApp(Work({options}))
"""


def chosen(
    folder: Path, before: str = "", does: str = "pass", options: str = "", python: str = sys.executable
) -> tuple[str, str]:
    """How the work was started, and what was said of it."""
    (folder / "app.py").write_text(METHOD.format(before=before, does=does, options=options))
    done = ran(folder, python, *RUN_APP, "app.py", PYTHONPATH=str(PROJECT / "src"))
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1], done.stderr


TICKER = (
    "import threading\nthreading.Thread(target=threading.Event().wait, name='ticker', daemon=True).start()"
)


def test_without_a_reason_works_are_forked_and_nothing_is_said(tmp_path: Path) -> None:
    assert chosen(tmp_path) == ("fork", "")


def test_with_a_thread_alive_works_are_new_pythons_and_that_is_said_once(tmp_path: Path) -> None:
    method, said = chosen(tmp_path, TICKER)
    assert method == "spawn"
    assert said == (
        "INFO: root starts as a new Python, as do others (a thread lives: ticker): each imports the app anew\n"
    )


def test_a_work_that_wants_a_new_python_has_it_and_nothing_more_is_said(tmp_path: Path) -> None:
    assert chosen(tmp_path, options="start_method='spawn'") == ("spawn", "")


def test_a_work_that_wants_a_fork_where_forking_is_wrong_is_told(tmp_path: Path) -> None:
    method, said = chosen(tmp_path, TICKER, options="start_method='fork'")
    assert method == "spawn"
    assert "the work asks for fork, but a thread lives: ticker" in said


def test_a_start_method_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(METHOD.format(before="", does="pass", options="start_method='frok'"))
    done = ran(tmp_path, sys.executable, *RUN_APP, "app.py")
    assert done.returncode == 1
    assert "start_method" in done.stderr
    assert "'frok'" in done.stderr


def test_with_numpy_imported_and_used_works_are_forked(tmp_path: Path) -> None:
    if find_spec("numpy") is None:
        pytest.skip("numpy is not installed here")
    product = "numpy.ones((500, 500)) @ numpy.ones((500, 500))"
    method, said = chosen(tmp_path, f"import numpy\n{product}", f"assert ({product}).sum() == 500**3")
    assert (method, said) == ("fork", "")


def test_with_a_grpc_channel_open_works_are_new_pythons(tmp_path: Path) -> None:
    if find_spec("grpc") is None:
        pytest.skip("grpc is not installed here")
    opened = "import grpc\nchannel = grpc.insecure_channel('127.0.0.1:1')\nchannel.subscribe(lambda state: None, True)"
    assert chosen(tmp_path, opened)[0] == "spawn"


@pytest.fixture(scope="module")
def torch_python() -> str:
    """A Python that has torch: this one, or that of the tests beside PyPI's ``lightning``."""
    if find_spec("torch") is not None:
        return sys.executable
    for ready in (PROJECT / ".cache" / "coexistence").glob("*/ready"):
        return str(ready.parent / "base/bin/python")
    pytest.skip(
        "torch is not installed here: pip install torch, or run tests/acceptance/test_coexistence.py first"
    )


COMPUTES = "assert (torch.ones(3_000_000) + 1).sum() == 6_000_000"


@pytest.mark.slow
def test_with_torch_imported_works_are_forked_and_compute_in_parallel(
    tmp_path: Path, torch_python: str
) -> None:
    # Asked like this, torch does not open the GPUs.
    before = (
        "import torch\ntorch.cuda.is_available()\nassert os.environ['PYTORCH_NVML_BASED_CUDA_CHECK'] == '1'"
    )
    assert chosen(tmp_path, before, COMPUTES, python=torch_python) == ("fork", "")


@pytest.mark.slow
def test_with_torch_used_in_parallel_works_are_new_pythons(tmp_path: Path, torch_python: str) -> None:
    method, said = chosen(tmp_path, f"import torch\n{COMPUTES}", COMPUTES, python=torch_python)
    assert method == "spawn"
    assert "threads of libgomp" in said


@pytest.mark.slow
def test_forked_works_draw_numbers_of_their_own_from_torch(tmp_path: Path, torch_python: str) -> None:
    before = """import torch

class Draw(L.LightningWork):
    def run(self):
        return torch.rand(1).item()

class Flow(L.LightningFlow):
    def __init__(self):
        super().__init__()
        self.one, self.two = Draw(), Draw()

    def run(self):
        print("alike" if self.one.run() == self.two.run() else "different")
        self.stop()

flow = Flow()
"""
    source = METHOD.format(before=before, does="pass", options="").replace(
        "L.LightningApp(Work())", "L.LightningApp(flow)"
    )
    (tmp_path / "app.py").write_text(source)
    done = ran(tmp_path, torch_python, *RUN_APP, "app.py", PYTHONPATH=str(PROJECT / "src"))
    assert done.stdout.splitlines()[-1] == "different", done.stderr


# -- the page about it ----------------------------------------------------------------------------

PAGE = (PROJECT / "docs" / "processes.md").read_text()


def test_the_app_of_the_page_prints_what_the_page_says(stage: Stage) -> None:
    (source,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    ((options, printed),) = re.findall(
        r"```console\n\$ lightning run app app.py --open-ui=false (.*)\n(.*)\n```", PAGE
    )
    (stage.folder / "app.py").write_text(source)
    assert stage.play("", *options.split()) == [printed]


def test_the_page_says_what_is_said_of_new_pythons(tmp_path: Path) -> None:
    _, said = chosen(tmp_path, TICKER)
    assert said.replace("root ", "root.greet ", 1) in PAGE
