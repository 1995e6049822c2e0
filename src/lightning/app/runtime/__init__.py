"""The runtime: the loop that drives an app, and performing what the kernel decided."""
