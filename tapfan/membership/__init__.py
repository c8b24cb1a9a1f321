"""A writer that comes or goes while everything runs: configuration, supervisord's file, process and router in one."""
