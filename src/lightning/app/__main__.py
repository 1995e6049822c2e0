"""The command ``lightning``, also as ``python -m lightning.app``, wherever that name may lead on this machine."""

from __future__ import annotations

import sys

from lightning.app.runtime.signals import leave_at_once, leave_undisturbed


def main() -> int:
    """Run one command and give its exit code. Ctrl-C while the command line is being loaded is quiet."""
    leave_at_once()
    from lightning.app.cli import main

    code = main()
    leave_undisturbed(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
