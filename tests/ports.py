"""Ports for the servers of tests."""

import itertools
import random

from include.local_stack.ports import is_free


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that were free a moment ago, each another one.

    Below those that the system gives to clients: a server that is killed and started again finds its port free.
    """
    numbers = list(range(20_000, 32_000))
    random.SystemRandom().shuffle(numbers)
    return list(itertools.islice(filter(is_free, numbers), count))


def free_port() -> int:
    """One of them."""
    return free_ports(1)[0]
