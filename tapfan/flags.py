"""TCP flags as text: Scapy's letters, in its order; a SYN+ACK is "SA"."""

LETTERS = "FSRPAUEC"  # of the bits 0 to 7
TEXTS = tuple("".join(letter for bit, letter in enumerate(LETTERS) if flags >> bit & 1) for flags in range(256))
