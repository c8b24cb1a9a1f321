"""The small messages between the programs: reports and acknowledgements. Batches are in `tapfan.wire`.

Both hops speak the same way. A sender numbers what it sends and keeps it until it is acknowledged. Now and
then it says how far it has sent (`sent`); the receiver, which takes everything in order only, answers what it
expects next. As both travel in order, an `expected` below the echoed `sent` proves a loss, and the sender sends
again from there. A receiver that restarted, or a connection that broke, needs no other case.

Shares are numbered one by one and travel several to a message (`tapfan.wire`); `Stored` is about several, too.
"""

from typing import Annotated, Any, Literal, Self

import msgpack
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from tapfan.bounds import MAX_COUNT, MAX_NUMBER, MAX_PARTS, MAX_SEQUENCE
from tapfan.losses import Reason
from tapfan.names import Name, Stream
from tapfan.skips import SkipReason
from tapfan.wire import WireError

MAX_TEXT = 500
Sequence = Annotated[int, Field(ge=0, le=MAX_SEQUENCE)]
Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]  # of packets or records, which others are added to
Whole = Annotated[int, Field(ge=0, lt=MAX_NUMBER)]  # a number of a message or a share, or an amount that stands alone
Epoch = Annotated[str, Field(pattern="^[0-9a-f]{8}$")]
Text = Annotated[str, Field(max_length=MAX_TEXT)]  # see `cut`
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
SourceKind = Literal["capture", "accept", "file"]
Lost = Annotated[dict[Reason, Count], Field(default_factory=dict)]

MAX_LEFTOVERS = 1000
MAX_WARNINGS = 10


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    def pack(self) -> bytes:
        """The message as msgpack."""
        packed: bytes = msgpack.packb(self.model_dump())
        return packed


def cut(text: str) -> str:
    """The text, or as much of its beginning as a message has room for."""
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


class PacketCounts(_Message):
    """What a listener saw: seen = records + kernel drops + skipped + those that it has not looked at yet."""

    seen: Count = 0  # that passed the kernel's filter, or are in the capture file
    kernel_drops: Count = 0  # that found the capture ring full
    ring_freezes: Count = 0  # how often that began
    skipped: dict[SkipReason, Count] = Field(default_factory=dict)


class ListenerReport(_Message):
    """Listener to router, twice a second and for each of its streams: how far that is, and its counters.

    A listener has one stream that it captures into, and those of earlier starts that it found in its spool.
    """

    kind: Literal["listener"] = "listener"
    name: Name
    stream: Stream
    live: bool  # whether it still captures into this stream
    number: Whole  # of this report
    base: Sequence  # the first record not yet acknowledged: where a router that is new begins
    sent: Sequence  # one past the last record sent
    lost: Lost  # of the records below base, those that are not stored
    captured: Sequence  # records in the stream so far, sent or not
    spooled: Count  # of those, the last ones, which are on disk only
    leftovers: list[Stream] = Field(max_length=MAX_LEFTOVERS)  # the earlier streams that it still has
    packets: PacketCounts
    source: SourceKind
    ended: bool = False  # nothing more comes, and that is well so: of a capture file
    spool_damaged: bool = False  # since its start, or found so: what of earlier streams is not reported was lost there

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if not sum(self.lost.values()) <= self.base <= self.sent <= self.captured - self.spooled:
            raise ValueError("lost, base, sent and captured without spooled must not fall")
        return self


class Gap(_Message):
    """Listener to router, in the place of a batch: records of its stream that it has no more."""

    kind: Literal["gap"] = "gap"
    stream: Stream
    first: Sequence
    end: Sequence
    reason: Reason

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if self.first >= self.end:
            raise ValueError("a gap ends after its first record")
        return self


class Acknowledgement(_Message):
    """Router to listener: what is stored, and what the router waits for."""

    kind: Literal["acknowledgement"] = "acknowledgement"
    stream: Stream
    acknowledged: Sequence  # every record below is stored or lost
    lost: Lost  # of those, since the stream's beginning
    expected: Sequence  # one past the last record received in order
    report: Whole  # the number and `sent` of the last report, echoed
    sent: Sequence
    ttl_ms: Whole  # how long records live, from their capture on: what is older need not be sent


class Projection(_Message):
    """What the records that a writer stores will need in Redis, once as many expire as come in."""

    rate: Amount  # records/s, over the last minute
    bytes_a_record: Amount
    needed: Whole  # bytes: rate x TTL x bytes a record
    available: Whole | None  # bytes that Redis has for them; None when that is unlimited or not known


class WriterReport(_Message):
    """Writer to router, twice a second and on every change: its Redis, and the next share it expects."""

    kind: Literal["writer"] = "writer"
    name: Name
    redis: Text  # its URL without secrets
    weight: Amount  # as it is configured where the writer is, for a router that does not know it
    rampup_s: Amount  # the same
    healthy: bool  # its Redis takes records
    reason: Text  # why not
    round_trip_us: Whole | None  # of the last check of Redis; None while there was none
    used_memory: Whole | None  # bytes; None where Redis does not tell
    max_memory: Whole | None  # bytes; 0: unlimited
    projection: Projection | None = None  # None while it stores nothing
    warnings: list[Text] = Field(default_factory=list, max_length=MAX_WARNINGS)  # that its Redis may not keep records
    router: Epoch | None  # the router whose shares it counts; None before its first mark
    expected: Whole
    mark: Whole  # the number and `sent` of the last mark, echoed
    sent: Whole


class Mark(_Message):
    """Router to writer, in answer to its report: how far it has sent."""

    kind: Literal["mark"] = "mark"
    router: Epoch  # drawn at the router's start
    number: Whole  # of this mark
    base: Whole  # the oldest share kept for this writer: where a writer that is new begins
    sent: Whole  # the number after the last share sent to it


class Stored(_Message):
    """Writer to router: the records of some shares are in Redis, apart from those that had expired before.

    The shares follow each other by number.
    """

    kind: Literal["stored"] = "stored"
    name: Name
    router: Epoch
    number: Whole  # of the first share
    shares: Annotated[int, Field(ge=1, le=MAX_PARTS)]
    stored: Count  # records of all of them
    expired: Annotated[list[Count], Field(max_length=MAX_PARTS)] = []  # records of each; empty: of none any

    @property
    def end(self) -> int:
        """The number after the last share."""
        return self.number + self.shares

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.expired and len(self.expired) != self.shares:
            raise ValueError("expired must be empty or say how many of each share")
        return self


Message = ListenerReport | Gap | Acknowledgement | WriterReport | Mark | Stored
_MESSAGE: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="kind")])


def read_message(content: dict[str, Any]) -> Message:
    """The message of an unpacked map. Raises WireError."""
    if not isinstance(content.get("kind"), str):
        raise WireError("kind: not text")
    try:
        return _MESSAGE.validate_python(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "message"
        raise WireError(f"{place:.60}: {first['msg']:.200}") from error
