"""How fast one link may ask: a bucket for each annotator, whatever address the requests come from."""

from __future__ import annotations

import time
from collections.abc import Callable

BURST = 40.0
"""Requests that may come at once."""
PER_SECOND = 5.0
"""Requests that may come for ever. An answer is three: it is sent, and the next page and its picture are read."""


class Pace:
    """Token buckets, one for each annotator: their number is that of the annotators, whoever asks for what.

    Args:
        burst: requests that may come at once.
        per_second: requests that a bucket gets back in a second.
        clock: seconds; never goes back.
    """

    def __init__(
        self, burst: float = BURST, per_second: float = PER_SECOND, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._burst = burst
        self._per_second = per_second
        self._clock = clock
        self._buckets: dict[int, tuple[float, float]] = {}

    def wait(self, annotator: int) -> float:
        """Count a request.

        Returns:
            0 where it may go on; otherwise the seconds until one may.
        """
        now = self._clock()
        left, before = self._buckets.get(annotator, (self._burst, now))
        left = min(self._burst, left + (now - before) * self._per_second)
        if left < 1:
            self._buckets[annotator] = (left, now)
            return (1 - left) / self._per_second
        self._buckets[annotator] = (left - 1, now)
        return 0.0
