"""What users subclass: flows, works, apps, structures; and the tracked state behind their attributes."""
