"""Speed and memory, measured on real processes: `make bench`."""
