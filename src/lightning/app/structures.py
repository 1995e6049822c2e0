"""Lists and dictionaries of components: ``structures.List(Work(), Work())``, ``structures.Dict(a=Work())``."""

from lightning.app.core.structures import Dict, List

__all__ = ["Dict", "List"]
