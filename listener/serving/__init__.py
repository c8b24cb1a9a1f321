"""Serving the endpoints, so that there are packets at all: a process of its own, as it must never slow capturing."""
