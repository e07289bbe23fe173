"""Several observers as one.

Knows nothing of what they do; one that raises harms no other.
"""

from __future__ import annotations

import logging

from poolproof.bridge import Event, Observer

logger = logging.getLogger(__name__)


def fan_out(*observers: Observer) -> Observer:
    """An observer that tells each of `observers`, in their order, in the thread that took the step.

    What one raises is logged and dropped. An interrupt (a BaseException that is no Exception) is raised again, after
    the rest were told: otherwise the end of a call would be lost to them.
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
