"""Tests of the control channel as docs/control.md has it, with a client that was written from it alone."""
