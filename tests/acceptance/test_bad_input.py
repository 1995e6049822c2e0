"""Bad input: every error says what is wrong, where it is in the user's file, and what to do about it.

An app marks the line that the error must name with the comment ``# here``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import RunApp
from .terminal import Terminal

WriteApp = Callable[[str], Path]
Refuse = Callable[..., Terminal]

TRACEBACK = "Traceback (most recent call last):"


@pytest.fixture
def refuse(write_app: WriteApp, run_app: RunApp) -> Refuse:
    """Run an app that must be refused with these words, at the line marked ``# here``."""

    def run(source: str, *words: str, code: int = 1) -> Terminal:
        file = write_app(source)
        terminal = run_app(file.name)
        terminal.end(code)
        errors = terminal.errors
        for word in words:
            assert re.search(word, errors, re.IGNORECASE), f"{word!r} is not said; {terminal}"
        marked = [number for number, line in enumerate(file.read_text().splitlines(), 1) if "# here" in line]
        for number in marked:
            assert re.search(rf'app\.py(:|"?, line ){number}\b', errors), f"not line {number}; {terminal}"
        assert errors.count(TRACEBACK) <= 1, f"more than one traceback; {terminal}"
        assert not re.search(r"lightning/app/\w+/\w+\.py", errors), f"frames of the product; {terminal}"
        assert not terminal.out[2:], f"something on stdout; {terminal}"
        return terminal

    return run


# -- the app's file -------------------------------------------------------------------------------


def test_a_missing_file_is_named_with_its_neighbour(write_app: WriteApp, run_app: RunApp) -> None:
    write_app("pass")
    terminal = run_app("ap.py")
    terminal.end(3)
    assert "ap.py" in terminal.errors
    assert "app.py" in terminal.errors


def test_a_syntax_error_names_file_and_line(refuse: Refuse) -> None:
    refuse(
        """
        import lightning as L
        def broken(:  # here
            pass
        """,
        "syntax",
    )


def test_an_import_error_names_the_module_and_the_line(refuse: Refuse) -> None:
    refuse("import no_such_module_anywhere  # here", "no_such_module_anywhere", "install")


def test_an_exception_while_loading_shows_the_users_line(refuse: Refuse) -> None:
    refuse(
        """
        def shape():
            return 1 / 0  # here
        shape()
        """,
        "ZeroDivisionError: division by zero",
    )


def test_sys_exit_while_loading_is_said(refuse: Refuse) -> None:
    refuse(
        """
        import sys
        sys.exit(7)  # here
        """,
        r"exit",
        "7",
    )


def test_a_file_without_an_app_says_how_to_make_one(refuse: Refuse) -> None:
    refuse("x = 1", r"app\.py", r"LightningApp\(")


def test_a_file_with_two_apps_names_both(refuse: Refuse) -> None:
    refuse(
        """
        import lightning as L

        class Flow(L.LightningFlow):
            def run(self):
                pass

        first = L.LightningApp(Flow())
        second = L.LightningApp(Flow())
        """,
        "first",
        "second",
    )


# -- state ----------------------------------------------------------------------------------------

SET_IN_INIT = """
import lightning as L

class Flow(L.LightningFlow):
    def __init__(self) -> None:
        super().__init__()
        VALUES
        self.model = VALUE  # here

    def run(self):
        pass

app = L.LightningApp(Flow())
"""

REFUSED_VALUES = {
    "an object": ("pass", "object()", ["model", "object", "Payload"]),
    "an object in a list in a dict": ("pass", "{'layers': [1, object()]}", ["model", "layers", "Payload"]),
    "a lambda": ("pass", "lambda x: x", ["model", "function|lambda"]),
    "a generator": ("pass", "(x for x in 'abc')", ["model", "generator"]),
    "a list that contains itself": ("v = []; v.append(v)", "v", ["model", "cycle|itself|circular"]),
}


@pytest.mark.parametrize("kind", REFUSED_VALUES)
def test_what_cannot_be_state_is_refused_where_it_is_set(kind: str, refuse: Refuse) -> None:
    values, value, words = REFUSED_VALUES[kind]
    refuse(SET_IN_INIT.replace("VALUES", values).replace("VALUE", value), *words)


def test_what_cannot_be_state_is_refused_in_a_flow_that_runs(refuse: Refuse) -> None:
    refuse(
        """
        import lightning as L

        class Flow(L.LightningFlow):
            def run(self):
                self.layers = [1, 2]
                self.layers.append(object())  # here

        app = L.LightningApp(Flow())
        """,
        "layers",
        "Payload",
    )


def test_what_cannot_be_state_is_refused_in_a_work_that_runs(refuse: Refuse) -> None:
    refuse(
        """
        import lightning as L

        class Work(L.LightningWork):
            def run(self):
                self.model = {"weights": object()}  # here

        app = L.LightningApp(Work())
        """,
        "model",
        "weights",
        "Payload",
    )


def test_a_result_that_cannot_be_state_says_payload(refuse: Refuse) -> None:
    refuse(
        """
        import lightning as L

        class Work(L.LightningWork):
            def run(self):
                return object()

        app = L.LightningApp(Work())
        """,
        "Work",
        "run",
        "Payload",
    )


# -- the tree of components -----------------------------------------------------------------------

TREE = """
import lightning as L

class Work(L.LightningWork):
    def run(self, x=0):
        pass

class Flow(L.LightningFlow):
    def __init__(self) -> None:
        super().__init__()
        self.first = Work()
        BODY

    def run(self):
        RUN

app = L.LightningApp(Flow())
"""


def _tree(body: str = "pass", run: str = "pass") -> str:
    return TREE.replace("BODY", body).replace("RUN", run)


def test_a_component_in_two_places_is_refused_with_both(refuse: Refuse) -> None:
    refuse(_tree("self.second = self.first  # here"), "first", "second")


def test_a_component_inside_itself_is_refused(refuse: Refuse) -> None:
    refuse(_tree("self.me = self  # here"), "me")


def test_a_child_of_a_work_is_refused(refuse: Refuse) -> None:
    refuse(
        """
        import lightning as L

        class Work(L.LightningWork):
            def run(self):
                pass

        class Parent(L.LightningWork):
            def __init__(self):
                super().__init__()
                self.child = Work()  # here

            def run(self):
                pass

        app = L.LightningApp(Parent())
        """,
        "child",
        "flow",
    )


@pytest.mark.parametrize("option", ["paralel=True", "cloud_compute=L.CloudCompute('gpu', disk=10)"])
def test_a_misspelt_option_is_answered_with_what_was_meant(option: str, refuse: Refuse) -> None:
    refuse(
        _tree(f"self.second = L.LightningWork({option})  # here"), r"did you mean '(parallel|disk_size)'\?"
    )


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("self.second = Work(parallel='no')", r"parallel='no'\): it is True or False"),
        ("self.second = Work(timeout='5s')", r"timeout='5s'\): it is a number of seconds"),
        ("self.second = Work(host=None)", r"host=None\): it is a name or an address"),
        ("self.second = Work(cloud_build_config=['torch'])", r"L\.BuildConfig\(\['torch'\]\)"),
        ("self.first.parallel = True", r"super\(\).__init__\(parallel=\.\.\.\)"),
        ("self.stop()", "do it in run"),
        ("self.schedule('hourly')", "call it in run"),
        ("setattr(self, 'a.b', Work())", r"Flow\.a\.b .*no dot"),
    ],
)
def test_what_a_new_user_may_write_in_init_is_answered_with_what_to_do(
    line: str, word: str, refuse: Refuse
) -> None:
    refuse(_tree(f"{line}  # here"), word)


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("self.frist.run()", "Did you mean: 'first'"),
        ("print(self.first.loss)", r"root\.first .*'loss'. Give it a first value in __init__"),
        ("self.schedule('hourly', start_time='12:00')", r"start_time='12:00'\): it is a datetime"),
        ("self.load_state_dict([1])", "a dictionary, not a list"),
    ],
)
def test_what_a_new_user_may_write_in_run_is_answered_with_what_to_do(
    line: str, word: str, refuse: Refuse
) -> None:
    refuse(_tree(run=f"{line}  # here"), word)


@pytest.mark.parametrize(
    ("app", "word"),
    [
        ("L.LightningApp(Flow(), log_level='loud')", "one of debug, info, warning, error"),
        ("L.LightningApp(Flow(), 'gpu')", r"L\.CloudCompute\("),
        (
            "L.LightningApp(type('Needs', (Flow,), {'run': lambda self, x: None})())",
            "'x' of Needs.run.*without",
        ),
    ],
)
def test_what_a_new_user_may_say_of_the_app_is_answered_with_what_to_do(
    app: str, word: str, refuse: Refuse
) -> None:
    refuse(_tree().replace("L.LightningApp(Flow())", f"{app}  # here"), word)


# -- calls ----------------------------------------------------------------------------------------


def test_a_work_as_an_argument_is_refused(refuse: Refuse) -> None:
    refuse(_tree("self.second = Work()", "self.first.run(self.second)  # here"), "second")


def test_an_argument_without_a_key_says_keyed(refuse: Refuse) -> None:
    refuse(_tree(run="self.first.run(object())  # here"), r"\bx\b", r"Keyed\(")


@pytest.mark.parametrize("call", ["self.first.run(1, 2, 3)", "self.first.run(y=1)"])
def test_wrong_arguments_are_refused_where_the_call_is(call: str, refuse: Refuse) -> None:
    refuse(_tree(run=f"{call}  # here"), r"first|Work", "run", "argument")


def test_a_work_that_calls_another_work_is_told_that_flows_do(refuse: Refuse) -> None:
    refuse(
        """
        import lightning as L

        class Work(L.LightningWork):
            def run(self):
                pass

        class Caller(L.LightningWork):
            def run(self):
                other.run()  # here

        other = Work()

        class Flow(L.LightningFlow):
            def __init__(self) -> None:
                super().__init__()
                self.other = other
                self.caller = Caller()

            def run(self):
                self.caller.run()

        app = L.LightningApp(Flow())
        """,
        "other",
        "flow",
    )


def test_an_attribute_that_cannot_travel_is_named_with_the_remedy(refuse: Refuse) -> None:
    refuse(
        """
        import threading
        import lightning as L

        class Work(L.LightningWork):
            def __init__(self):
                super().__init__()
                self._lock = threading.Lock()

            def run(self):
                pass

        app = L.LightningApp(Work())
        """,
        "_lock",
        r"create it in `?run",
    )


@pytest.mark.parametrize("line", ["every tuesday", "61 * * * *", "* * *", ""])
def test_a_bad_cron_line_is_refused_where_it_is_written(line: str, refuse: Refuse) -> None:
    words = [re.escape(line)] if line else []
    refuse(_tree(run=f"self.schedule({line!r})  # here"), "cron|schedule", *words)


# -- exceptions of the user's own code ------------------------------------------------------------


def _assert_shown_once(terminal: Terminal, error: str) -> None:
    assert terminal.err.count(error) == 1, str(terminal)
    assert terminal.errors.count(TRACEBACK) == 1, str(terminal)


def test_an_exception_in_init_is_shown_once(refuse: Refuse) -> None:
    terminal = refuse(_tree("raise ValueError('no such model: resnet-0')  # here"))
    _assert_shown_once(terminal, "ValueError: no such model: resnet-0")


def test_an_exception_in_a_flow_is_shown_once(refuse: Refuse) -> None:
    terminal = refuse(_tree(run="self.first.run(); raise ValueError('no such model: resnet-0')  # here"))
    _assert_shown_once(terminal, "ValueError: no such model: resnet-0")


def test_an_exception_in_a_work_is_shown_once(refuse: Refuse) -> None:
    terminal = refuse(
        """
        import lightning as L

        class Work(L.LightningWork):
            def load(self, name):
                raise ValueError(f"no such model: {name}")  # here

            def run(self):
                self.load("resnet-0")  # here

        class Flow(L.LightningFlow):
            def __init__(self) -> None:
                super().__init__()
                self.idle = Work(parallel=True)
                self.train = Work()

            def run(self):
                self.train.run()

        app = L.LightningApp(Flow())
        """,
        r"root\.train|\btrain\b",
    )
    _assert_shown_once(terminal, "ValueError: no such model: resnet-0")


def test_an_exception_in_a_work_that_may_fail_leaves_the_flow_going(
    write_app: WriteApp, run_app: RunApp
) -> None:
    write_app(
        """
        import lightning as L

        class Work(L.LightningWork):
            def run(self):
                raise ValueError("no such model: resnet-0")

        class Flow(L.LightningFlow):
            def __init__(self) -> None:
                super().__init__()
                self.train = Work(raise_exception=False)

            def run(self):
                result = self.train.run()
                if self.train.has_failed:
                    print(result, self.train.status.stage, self.train.status.message)
                    self.stop()

        app = L.LightningApp(Flow())
        """
    )
    terminal = run_app("app.py")
    terminal.end(0)
    (line,) = terminal.printed
    assert line.startswith("None failed ")
    assert "no such model: resnet-0" in line


def test_an_app_that_fails_itself_exits_with_one_and_its_message(refuse: Refuse) -> None:
    refuse(_tree(run="self.fail('the model got worse')"), "the model got worse")


# -- runs -----------------------------------------------------------------------------------------


def test_a_second_start_of_a_live_run_is_a_conflict(write_app: WriteApp, run_app: RunApp) -> None:
    folder = write_app(_tree(run="self.first.run()")).parent
    first = run_app("app.py")
    first.started()
    (run,) = (entry.name for entry in (folder / ".lightning" / "runs").iterdir())
    second = run_app("app.py", f"--resume={run}")
    second.end(5)
    assert run in second.errors
    first.stop()


def test_a_run_that_does_not_exist_cannot_be_resumed(write_app: WriteApp, run_app: RunApp) -> None:
    write_app(_tree())
    terminal = run_app("app.py", "--resume=no-such-run")
    terminal.end(3)
    assert "no-such-run" in terminal.errors
