"""Trueup keeps what people can do in Looker and TeamCity true to what the identity provider says they are."""
