"""Constructors that know their options: one that does not exist is refused with the name that was meant."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from lightning.app.config import guess
from lightning.app.errors import OptionError

P = ParamSpec("P")
C = TypeVar("C")


def options_checked(what: str) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """For an ``__init__``: refuse unknown options, in the words of ``what`` it makes, such as "a work"."""

    def decorate(init: Callable[P, None]) -> Callable[P, None]:
        code = init.__code__  # of a function, as every __init__ here is
        known = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
        names = frozenset(known)

        @wraps(init)
        def checked(*args: P.args, **kwargs: P.kwargs) -> None:
            if not kwargs.keys() <= names:
                unknown = next(name for name in kwargs if name not in names)
                raise OptionError(_refusal(type(args[0]), what, unknown, known))
            if len(args) > 1 and not known:
                raise OptionError(_refusal(type(args[0]), what, "", known))
            init(*args, **kwargs)

        return checked

    return decorate


def checks_options(what: str) -> Callable[[type[C]], type[C]]:
    """The same for a class whose ``__init__`` is made for it, as a dataclass has it."""

    def decorate(cls: type[C]) -> type[C]:
        cls.__init__ = options_checked(what)(cls.__init__)  # type: ignore[method-assign]
        return cls

    return decorate


def _refusal(cls: type, what: str, unknown: str, known: tuple[str, ...]) -> str:
    near = guess(unknown, known)
    listed = f"it has {', '.join(known)}" if known else f"{what} has none at all"
    if unknown:
        told = f"{cls.__name__}({unknown}=...): {what} has no option {unknown!r}{near}; {listed}"
    else:
        told = f"{cls.__name__}(...) was given a value: {what} takes no options"
    if near or not hasattr(cls, "_kind"):
        return told
    name = unknown or "value"
    return f"{told}. For a value of its own give it def __init__(self, {name}), and set self.{name} = {name} there"
