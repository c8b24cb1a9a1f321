"""What is told when a capture file cannot be read."""


class CaptureFileError(ValueError):
    """One line: which file, what is wrong with it and where, and what would be right."""
