"""Tests on real processes, real sockets and a real redis-server."""
