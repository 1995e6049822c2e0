"""The pure kernel: the model, and every rule. No I/O, no clock, no threads."""
