"""Tests mirror the tree of `worker`; their names read as sentences."""
