"""Celery's side of Trueup: the metronome, and one thin module per flow that workers run."""
