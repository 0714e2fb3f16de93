"""Faithful local Okta, Entra ID, Looker and TeamCity servers, for the demo, the tests, and rehearsing a policy."""
