"""What every tapfan process shares: records, wire, sockets, settings, logs, and the `tapfan` command."""
