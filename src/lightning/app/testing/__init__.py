"""Testing apps: in the test's own process with a clock turned by hand, or as real processes."""

from lightning.app.testing.harness import Harness, crash

__all__ = ["Harness", "crash"]
