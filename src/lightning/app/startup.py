"""What must be noted, and said to other libraries, before an app's file does anything. The package imports it first."""

from __future__ import annotations

import os
from contextlib import suppress

FOLDER = ""
"""Where the program was started. An app's file may go elsewhere, and must be imported again from where it began."""
with suppress(OSError):  # it has been removed
    FOLDER = os.getcwd()

# Asked whether there is a GPU, torch then asks the driver and opens no device: a process with one open cannot
# be forked.
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
