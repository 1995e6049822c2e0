"""Engines place works: processes, their channels, their ends."""
