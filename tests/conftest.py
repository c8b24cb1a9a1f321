"""What all tests share."""

import os
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

# No example has a deadline of its own: the machines that run the tests are busy with other things, too.
settings.register_profile("tapfan", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tapfan")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With NO_SKIPS set, as in continuous integration, a skipped test counts as failed."""
    report = yield
    if os.environ.get("NO_SKIPS") and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped, but NO_SKIPS is set: {report.longrepr}"
    return report
