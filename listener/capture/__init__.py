"""Capturing packets from the kernel: AF_PACKET rings, their filter, and the decoding in bulk."""
