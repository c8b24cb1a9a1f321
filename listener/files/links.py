"""The link types of capture files."""

from listener.decode.protocols import LinkType

# What BSDs' own libpcaps wrote for RAW (DLT_RAW is 12 on most systems and 14 on OpenBSD).
_RAW_OF_BSD = (12, 14)
SUPPORTED = ", ".join(f"{link} ({link.name})" for link in LinkType)


def link_type(number: int) -> LinkType | None:
    """The link type of this number; None when it is not supported."""
    if number in _RAW_OF_BSD:
        return LinkType.RAW
    try:
        return LinkType(number)
    except ValueError:
        return None
