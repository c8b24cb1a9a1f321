"""Tests of `tapfan`, without processes."""
