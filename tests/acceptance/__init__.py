"""What a user sees: real command lines, real processes, real output."""
