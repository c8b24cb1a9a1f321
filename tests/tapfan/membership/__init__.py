"""Tests of adding and removing writers, apart from those of real processes."""
