"""What all tests share."""

import os

import pytest


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):  # type: ignore[no-untyped-def]
    """With NO_SKIPS set, as in continuous integration, a skipped test counts as failed."""
    outcome = yield
    report = outcome.get_result()
    if os.environ.get("NO_SKIPS") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, but NO_SKIPS is set: {report.longrepr}"
