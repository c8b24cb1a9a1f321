"""Tests of `writers`, without processes."""
