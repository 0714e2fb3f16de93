"""Switches each guard off in a copy of the product, and expects the test that is named for it to fail."""
