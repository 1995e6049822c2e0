"""The web process: a peer of the runtime, so that a busy flow never freezes the page."""
