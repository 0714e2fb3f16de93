"""The pure heart: what people deserve, what they hold, how the two differ and what would cure it."""
