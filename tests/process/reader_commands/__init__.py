"""Tests of `tapfan query`, `top` and `follow` as people and scripts run them, on real Redis servers in both layouts."""
