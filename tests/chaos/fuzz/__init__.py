"""Fuzzing, guided by coverage where atheris is installed: ``python -m tests.chaos.fuzz frames -runs=1000000``."""
