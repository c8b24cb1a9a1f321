"""Tests of `router`, without processes."""
