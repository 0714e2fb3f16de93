"""Tests of the connectors that identities are read from."""
