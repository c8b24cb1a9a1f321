"""The `tapfan` command."""
