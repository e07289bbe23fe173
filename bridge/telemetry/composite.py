"""Combines several observers into one.

An observer that raises does not affect the others.
"""

from __future__ import annotations

import logging

from poolproof.bridge import Event, Observer

logger = logging.getLogger(__name__)


def fan_out(*observers: Observer) -> Observer:
    """Return an observer that calls each of `observers`, in order, in the thread that calls it.

    An exception of an observer is logged and dropped. An interrupt (a BaseException that is no Exception) is raised
    again after the other observers were called; otherwise they would miss the end of a call.
    """

    def tell(event: Event) -> None:
        interrupt: BaseException | None = None
        for observer in observers:
            try:
                observer(event)
            except Exception:
                logger.exception("the observer %r failed at %s", observer, event.kind)
            except BaseException as error:
                interrupt = interrupt or error
        if interrupt is not None:
            raise interrupt

    return tell
