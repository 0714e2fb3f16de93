"""Where the command `trueup` starts, also as `python -m worker` for whoever has no script of that name in the path."""

from __future__ import annotations

import gc


def main() -> None:
    """Run the command. What is imported stays, so garbage is not looked for among it: a tenth of every start."""
    gc.disable()
    from worker import cli

    gc.freeze()
    gc.enable()
    cli.main()


if __name__ == "__main__":
    main()
