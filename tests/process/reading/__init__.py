"""Tests of capture files that are read through the whole pipeline, by real processes."""
