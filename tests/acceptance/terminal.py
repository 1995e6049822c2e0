"""What acceptance tests use of ``lightning.app.testing.terminal``."""

from lightning.app.testing.terminal import STARTED, STARTING, Expected, Terminal, assert_components, ended

__all__ = ["STARTED", "STARTING", "Expected", "Terminal", "assert_components", "ended"]
