"""Ctrl-C and SIGTERM, so that a run stops between two updates and not inside one."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass
class Flag:
    """Whether a signal has come."""

    raised: bool = False


@contextmanager
def interruptions() -> Iterator[Flag]:
    """A flag that Ctrl-C and SIGTERM (a cluster's) raise. A second one interrupts at once. Only the main
    thread may handle signals; elsewhere nothing changes."""
    flag = Flag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def handle(number: int, frame: Any) -> None:
        if flag.raised:
            raise KeyboardInterrupt
        flag.raised = True

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
