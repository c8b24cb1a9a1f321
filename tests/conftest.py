"""What all tests share."""

import os
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

KERNEL_HAS_NO = "this kernel has no"
# No example has a deadline of its own: the machines that run the tests are busy with other things, too.
settings.register_profile("tapfan", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tapfan")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With NO_SKIPS set, as in continuous integration, a skipped test counts as failed.

    Tools can be installed and rights be given; what a kernel does not have (`KERNEL_HAS_NO`), it has not.
    """
    report = yield
    if os.environ.get("NO_SKIPS") and report.skipped and KERNEL_HAS_NO not in str(report.longrepr):
        report.outcome = "failed"
        report.longrepr = f"skipped, but NO_SKIPS is set: {report.longrepr}"
    return report
