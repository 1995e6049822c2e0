"""``python -m lightning.app`` is the command ``lightning``, wherever that name may lead on this machine."""

from __future__ import annotations

import sys

from lightning.app.cli import main

sys.exit(main())
