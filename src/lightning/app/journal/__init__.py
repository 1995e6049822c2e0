"""The ordered log of a run, and the folders in which runs live."""
