"""How much there may be of what the programs send each other, and how large its numbers may be."""

MAX_RECORDS = 65_536  # of one batch; four bytes of its sequence numbers, and 3 MiB on the wire
MAX_MESSAGE_BYTES = 4 * 1024 * 1024  # what is longer is not unpacked
MAX_PARTS = 4096  # shares of one message
MAX_NUMBER = 2**63  # no share has it
MAX_SEQUENCE = 2**48  # twelve hexadecimal digits in a key: nine years at a million records a second
MAX_COUNT = 2**48  # of packets, or of records: 30,000 of them add up to less than 2^63
MAX_TTL_MS = 2**40
MAX_TIMESTAMP_NS = 10**19  # 19 digits, as the keys have room for: the year 2286
