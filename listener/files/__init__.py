"""Capture files, pcap and pcapng, as they are or in gzip, from a disk or a pipe: read in bulk."""
