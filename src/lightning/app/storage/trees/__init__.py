"""Files and folders in a store, by content."""
