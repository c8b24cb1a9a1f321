"""What a writer warns of, of a Redis that takes records: in its reports as long as it lasts, in its log once."""

import time
from collections.abc import Callable, Mapping

from tapfan import redis_warnings
from tapfan.logs import Logger
from tapfan.messages import Projection
from writers.vitals import Vitals

_OVER_AFTER_S = 10.0


def concerns(vitals: Vitals | None, projection: Projection | None) -> dict[str, str]:
    """The warnings by what they are about."""
    told = {"memory": redis_warnings.memory(projection.model_dump() if projection else None)}
    if vitals is not None:
        told["eviction"] = redis_warnings.eviction(vitals.policy, vitals.max_memory)
        told["clock"] = redis_warnings.clock(vitals.ahead_us, vitals.round_trip_us)
    return {about: text for about, text in told.items() if text}


class ConcernLog:
    """Logs when a concern begins, and when it has been over for a while: one at a bound may come and go."""

    def __init__(self, log: Logger, redis: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._redis = redis
        self._clock = clock
        self._last_s: dict[str, float] = {}  # when a concern that was told was there last

    def tell(self, now: Mapping[str, str]) -> None:
        """Log what of the concerns is news."""
        now_s = self._clock()
        for about, text in now.items():
            if about not in self._last_s:
                self._log.warning(f"redis_{about}", redis=self._redis, problem=text)
            self._last_s[about] = now_s
        for about in [about for about, last_s in self._last_s.items() if now_s - last_s >= _OVER_AFTER_S]:
            del self._last_s[about]
            self._log.info(f"redis_{about}_fine", redis=self._redis)
