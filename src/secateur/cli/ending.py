"""What trains ends in order when it is told to end."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ending_in_order() -> Iterator[None]:
    """For a while, take SIGTERM as Ctrl-C is taken: what is finished is written, and the process ends.

    Schedulers end a run with SIGTERM, and so does torchrun when another process ended. An end that is under
    way already, perhaps for that reason, is let be.

    Raises:
        KeyboardInterrupt: SIGTERM came.

    Example:
        >>> try:
        ...     with ending_in_order():
        ...         signal.raise_signal(signal.SIGTERM)
        ... except KeyboardInterrupt:
        ...     print("told to end")
        told to end
    """

    def interrupt(*_: object) -> None:
        if sys.exc_info()[0] is None:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
