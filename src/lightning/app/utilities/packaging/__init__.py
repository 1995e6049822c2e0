"""Where a work runs and what it needs there."""
