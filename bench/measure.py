"""Print a figure on one line; fail the bench when a target is missed."""

import sys


def print_figure(what: str, figure: str) -> None:
    """One line of `make bench`."""
    print(f"{what:.<62} {figure}", flush=True)


def require(condition: bool, message: str) -> None:
    """A target of the bench.

    Raises:
        SystemExit: it was missed.
    """
    if not condition:
        print(f"MISSED: {message}", file=sys.stderr)
        raise SystemExit(1)
