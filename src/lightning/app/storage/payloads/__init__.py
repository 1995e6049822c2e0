"""Values by pointer: how they become bytes, where these are, how they get to other machines."""
