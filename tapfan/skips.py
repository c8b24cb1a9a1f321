"""Why a packet that the listener saw gave no record: what its reports and the status count by."""

from collections import Counter
from collections.abc import Mapping
from typing import Literal, get_args

SkipReason = Literal[
    "not_tcp",  # another protocol
    "other_endpoint",  # not sent to an endpoint, or, with only = "syn", no SYN
    "fragment",  # a later one of a TCP segment, whose first gives the record
    "link_type",  # of a capture file: link headers of a kind that is not known
    "no_timestamp",  # of a capture file: there is none, and none before it; or it is beyond the year 2286
    "truncated",  # from here on malformed: its headers are not all there
    "bad_ip",  # a version that its link header does not name, or a header or total length that cannot be
    "bad_extension",  # more IPv6 extension headers than are followed
    "bad_tcp",  # a header length below 20 bytes, or beyond the end of the packet
]
SKIP_REASONS: tuple[SkipReason, ...] = get_args(SkipReason)
MALFORMED = SKIP_REASONS[SKIP_REASONS.index("truncated") :]

Skipped = Counter[SkipReason]


def malformed(skipped: Mapping[SkipReason, int]) -> int:
    """The packets among them whose headers were cut off or cannot be."""
    return sum(skipped.get(reason, 0) for reason in MALFORMED)
