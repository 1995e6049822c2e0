"""The loader: what it promises the file, and what it says of files that make no app."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lightning.app.errors import AppLoadError, LightningError, NotFoundError
from lightning.app.runtime.loader import app_module, load_app, load_module, loading

APP = """
from lightning.app import LightningApp, LightningFlow

class Root(LightningFlow):
    def run(self):
        self.stop()

app = LightningApp(Root())
"""

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A loaded file stays: here it leaves with its test."""
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, "app", raising=False)
    modules = set(sys.modules)
    yield
    for name in set(sys.modules) - modules:
        if not name.startswith("lightning"):
            del sys.modules[name]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(source: str = APP, name: str = "app.py") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        return path

    return write


def refusal(file: object, kind: type[LightningError] = AppLoadError) -> str:
    with pytest.raises(kind) as caught:
        load_app(str(file))
    assert caught.type is kind
    return str(caught.value)


# -- what a file may count on -----------------------------------------------------------------------


def test_a_file_gives_its_app(write: Write) -> None:
    app = load_app(write())
    assert type(app.root).__name__ == "Root"


def test_its_folder_comes_first_on_the_path(write: Write) -> None:
    write("from lightning.app import LightningFlow\nclass Root(LightningFlow): ...\n", "beside_it.py")
    load_app(
        write(
            "from lightning.app import LightningApp\nimport beside_it\napp = LightningApp(beside_it.Root())\n"
        )
    )


def test_its_arguments_are_its_own(write: Write) -> None:
    file = write(f"import sys\nseen = list(sys.argv)\n{APP}")
    load_app(file, ["--lr", "0.1"])
    assert sys.modules[app_module(file)].seen == [str(file), "--lr", "0.1"]


def test_its_classes_are_pickled_by_reference(write: Write) -> None:
    app = load_app(write(name="pickled.py"))
    root = type(app.root)
    assert root.__module__ == "pickled"
    assert pickle.loads(pickle.dumps(root)) is root


def test_a_second_load_is_a_fresh_app(write: Write) -> None:
    file = write()
    assert load_app(file) is not load_app(file)


def test_an_edit_within_the_same_second_is_seen(write: Write) -> None:
    load_app(write(f"{APP}value = 1\n"))
    load_app(file := write(f"{APP}value = 2\n"))
    assert sys.modules[app_module(file)].value == 2


@pytest.mark.parametrize(
    ("name", "module"),
    [("app.py", "app"), ("random.py", "random_app"), ("lightning.py", "lightning_app"),
     ("my-app.py", "app_my_app"), ("2nd.py", "app_2nd"), ("pytest.py", "pytest_app")],
)  # fmt: skip
def test_a_module_is_named_after_its_file_unless_another_has_that_name(
    write: Write, name: str, module: str
) -> None:
    file = write(name=name)
    load_app(file)
    assert app_module(file) == module
    assert sys.modules[module].__file__ == str(file)


def test_one_app_under_two_names_is_one(write: Write) -> None:
    load_app(write(f"{APP}same = app\n"))


def test_the_main_guard_stays_closed(write: Write) -> None:
    load_app(write(f'{APP}\nif __name__ == "__main__":\n    raise SystemExit("not here")\n'))


def test_running_itself_is_put_off(write: Write) -> None:
    load_app(write(f"{APP}app.run()\n"))
    assert loading() is None


def test_an_app_that_only_runs_itself_is_found(write: Write) -> None:
    load_app(write(APP.replace("app = LightningApp(Root())", "LightningApp(Root()).run()")))


def test_a_module_is_loaded_once(write: Write) -> None:
    file = write(name="once.py")
    assert load_module(file, "once") is load_module(file, "once")


def test_what_python_started_with_answers_to_its_name_elsewhere(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    module = load_module(write("name = __name__\nclass Train: ...\n"), "__main__")
    assert module.name != "__main__"
    assert sys.modules["__main__"] is module


# -- what is said of a file that makes no app ---------------------------------------------------------


def test_a_missing_file_is_not_found_and_its_neighbour_is_named(write: Write, tmp_path: Path) -> None:
    write(name="app.py")
    said = refusal(tmp_path / "ap.py", NotFoundError)
    assert "no file ap.py" in said
    assert f"Did you mean {tmp_path}/app.py?" in said


def test_a_missing_file_without_a_like_one_lists_what_is_there(write: Write, tmp_path: Path) -> None:
    write(name="train.py")
    write(name="b.py")
    assert "There is b.py, train.py" in refusal(tmp_path / "app.py", NotFoundError)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    assert f"there is no folder {tmp_path}/no" in refusal(tmp_path / "no/app.py", NotFoundError)


def test_a_folder_is_told_from_a_file(write: Write, tmp_path: Path) -> None:
    write()
    assert f"lightning run app {tmp_path}/app.py" in refusal(tmp_path)


def test_a_syntax_error_shows_line_and_caret(write: Write) -> None:
    file = write("def run(self)\n    pass\n")
    said = refusal(file)
    assert f'File "{file}", line 1' in said
    assert "    def run(self)\n" in said
    assert "^\nSyntaxError: expected ':'" in said


def test_a_syntax_error_in_an_imported_file_names_that_file(write: Write) -> None:
    other = write("x = = 1\n", "bad_part.py")
    said = refusal(write("import bad_part\n"))
    assert f'File "{other}", line 1' in said
    assert "import bad_part" in said


def test_a_zero_byte_is_not_python(write: Write) -> None:
    assert "null bytes" in refusal(write("x = 1\0"))


def test_a_missing_module_names_itself_its_line_and_what_to_install(write: Write) -> None:
    file = write("\nimport yaml_of_nobody\n")
    said = refusal(file)
    assert said.startswith(f"{file}, line 2: No module named 'yaml_of_nobody'\n    import yaml_of_nobody\n")
    assert "pip install yaml-of-nobody" in said
    assert "--setup" not in said


def test_a_missing_module_that_the_app_asks_for_is_offered_by_setup(write: Write) -> None:
    write("nobody\n", "requirements.txt")
    assert "lightning run app app.py --setup" in refusal(write("import nobody_has_this\n"))


def test_a_missing_module_of_an_imported_file_is_placed_there(write: Write) -> None:
    part = write("\n\nimport nobody_has_this\n", "part_of_app.py")
    assert f"{part}, line 3: No module named" in refusal(write("import part_of_app\n"))


def test_a_misspelled_import_is_corrected(write: Write) -> None:
    said = refusal(write("from lightning.app import LightningFlwo\n"))
    assert "Did you mean LightningFlow?" in said


def test_a_misspelled_attribute_is_corrected(write: Write) -> None:
    said = refusal(write("import lightning as L\nL.LightningFlwo\n"))
    assert "'LightningFlwo'. Did you mean: 'LightningFlow'?" in said


def test_an_exit_while_loading_is_placed(write: Write) -> None:
    file = write("import sys\nsys.exit(3)\n")
    said = refusal(file)
    assert said.startswith(f"{file}, line 2: ")
    assert "exit code 3" in said
    assert "--app_args" in said


def test_an_error_in_the_file_is_told_by_the_users_frames_alone(write: Write) -> None:
    file = write("def deep():\n    return 1 / 0\n\ndeep()\n")
    said = refusal(file)
    assert said.startswith(f"{file}, line 2: ")
    assert said.count("  File ") == 2
    assert said.endswith("ZeroDivisionError: division by zero")
    assert "loader.py" not in said


def test_an_error_keeps_its_causes(write: Write) -> None:
    said = refusal(write("try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise KeyError('k') from e\n"))
    assert "ZeroDivisionError" in said
    assert "direct cause" in said


def test_a_failed_file_leaves_no_module(write: Write) -> None:
    file = write("1 / 0\n", "broken_app.py")
    refusal(file)
    assert "broken_app" not in sys.modules


def test_ctrl_c_is_not_an_error_of_the_file(write: Write) -> None:
    file = write("raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load_app(file)


def test_a_file_without_an_app_is_told_the_line_to_add(write: Write) -> None:
    said = refusal(write(APP.replace("app = LightningApp(Root())", "")))
    assert "app = LightningApp(Root())" in said


def test_an_app_under_the_main_guard_is_found_out(write: Write) -> None:
    guarded = 'if __name__ == "__main__":\n    app = LightningApp(Root())'
    said = refusal(write(APP.replace("app = LightningApp(Root())", guarded)))
    assert "Line 9 makes one under if __name__ == '__main__'" in said
    assert "module level" in said


def test_an_app_inside_a_function_is_found_out(write: Write) -> None:
    inside = "def main():\n    return LightningApp(Root())"
    assert "Line 9 makes one inside main()" in refusal(
        write(APP.replace("app = LightningApp(Root())", inside))
    )


def test_two_apps_are_named_with_their_lines(write: Write) -> None:
    said = refusal(write(f"{APP}other = LightningApp(Root())\n"))
    assert "app (line 8) and other (line 9)" in said
