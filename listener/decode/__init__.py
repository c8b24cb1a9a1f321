"""From packets as they lie in a buffer to records: link, network and TCP headers, for many packets at once."""
