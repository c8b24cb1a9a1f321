"""How often a peer may ask: a token bucket for each, without clocks and sockets."""

from collections import OrderedDict
from dataclasses import dataclass

RATE = 100.0  # requests a second, in the long run
BURST = 200.0  # requests at once
_MOST_PEERS = 1024


@dataclass
class _Bucket:
    tokens: float
    filled_s: float


class Limits:
    """The buckets of the peers that were heard last; one that comes back after many others begins with a full one."""

    def __init__(self, rate: float = RATE, burst: float = BURST, most_peers: int = _MOST_PEERS) -> None:
        self._rate = rate
        self._burst = burst
        self._most_peers = most_peers
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def allows(self, peer: str, now_s: float) -> bool:
        """Whether one more request of that peer is within its limit; `now_s`: of a clock that never goes back."""
        bucket = self._buckets.get(peer)
        if bucket is None:
            bucket = self._buckets[peer] = _Bucket(self._burst, now_s)
            if len(self._buckets) > self._most_peers:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(peer)
        bucket.tokens = min(self._burst, bucket.tokens + (now_s - bucket.filled_s) * self._rate)
        bucket.filled_s = now_s
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True
