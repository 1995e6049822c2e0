"""Blobs by key: what a store is, and the stores there are."""
