"""Tests of `listener`, without processes."""
