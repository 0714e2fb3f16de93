"""Faithful local Okta, Looker and TeamCity servers, for the demo, the tests, and rehearsing a policy."""
