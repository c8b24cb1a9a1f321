"""The exact split: how many records of each batch every writer gets. Pure arithmetic, no clock, no chance.

At every batch boundary each writer's count is within one record of weight / Σ weights of the records, and no count
ever falls. Each record that a writer is owed is a unit job with a deadline: its j-th record must have come by
the time that the exact share reaches j. Per batch, every writer gets what is due, and the few records left go to
the earliest deadlines among those whose exact share has begun the next record. Earliest deadline first is
optimal for unit jobs on one machine, and Tijdeman's schedule (The chairman assignment problem, 1980) proves that
a feasible one exists; so what is due never exceeds the batch.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import gcd, lcm
from operator import sub


class Split:
    """Splits one batch after another by fixed weights, starting from zero counts.

    `weights`: >= 0, at least one of them > 0.
    """

    def __init__(self, weights: Sequence[Fraction]) -> None:
        scale = lcm(*(weight.denominator for weight in weights))
        whole = [weight.numerator * (scale // weight.denominator) for weight in weights]
        divisor = gcd(*whole)
        self._weights = [weight // divisor for weight in whole]
        self._sum = sum(self._weights)
        self.parts = [weight / self._sum for weight in self._weights]  # of 1; whole numbers of any size divide exactly
        # With so many binary digits after the point, deadlines that differ, n / weight, do so when rounded down, too.
        self._digits = 2 * max(self._weights).bit_length()
        self.counts = [0] * len(self._weights)
        self.total = 0

    def take(self, records: int) -> list[int]:
        """How many of the next `records` records each writer gets; the numbers add up to `records`."""
        parts, total, digits = self._sum, self.total + records, self._digits
        counts = [
            due if (due := weight * total // parts) > had else had
            for had, weight in zip(self.counts, self._weights, strict=True)
        ]
        left = total - sum(counts)
        if left:
            begun = [
                # The time of the next record's deadline, in units of the sum of weights.
                ((count + 1 << digits) // weight, i)
                for i, (count, weight) in enumerate(zip(counts, self._weights, strict=True))
                if count * parts < weight * total
            ]
            for _, i in sorted(begun)[:left]:
                counts[i] += 1
        shares = list(map(sub, counts, self.counts))
        self.counts, self.total = counts, total
        return shares
