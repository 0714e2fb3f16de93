"""`python -m worker` is the command `trueup`, for whoever has no script of that name in the path."""

from worker.cli import main

main()
