"""No check that draws fails under another seed, in another order.

A small share of ``python -m tests.benchmarks.false_alarms 500``: one seed, of filters and sampling
the checks that take little.
"""

from __future__ import annotations

import contextlib
import io
from unittest import mock

from tests.support.warm_process import call_apart

CHECKS = "(test_filters or test_sampling) and not (vary_more or near_greedy_runs or two_million)"


def count_alarms(*arguments: str) -> str:
    """Return what the program prints."""
    from tests.benchmarks import false_alarms

    output = io.StringIO()
    with (
        mock.patch.dict("os.environ", PYTEST_ADDOPTS=f"-k '{CHECKS}'"),
        mock.patch("sys.argv", ["false_alarms", *arguments]),
        contextlib.redirect_stdout(output),
    ):
        false_alarms.main()
    return output.getvalue()


def test_fresh_seeds_raise_no_alarm() -> None:
    output = call_apart(count_alarms, "1", "1000")
    assert " 1 runs (" in output
    assert "): 0 alarms in " in output, output
