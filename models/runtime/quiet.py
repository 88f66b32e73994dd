"""Libraries kept from telling what concerns their authors and not whoever runs this program."""

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def quiet(*names: str) -> Iterator[None]:
    """Only errors from the loggers of these names. Not for several threads at once."""
    logs = [logging.getLogger(name) for name in names]
    levels = [log.level for log in logs]
    try:
        for log in logs:
            log.setLevel(logging.ERROR)
        yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
