"""The exit code of a run."""

from __future__ import annotations

import pytest

from probes.plugin.shutdown import TERMINATED


def exit_code(
    pytest_status: int,
    *,
    refused: bool = False,
    terminated: bool = False,
    interrupted: bool = False,
    undecided: bool = False,
    changed: bool = False,
    left_out: bool = False,
) -> int:
    """Return the exit code of a run, the most urgent reason first.

    `refused`: the command line, a target or the report folder cannot be used. `terminated`: by
    SIGTERM. `interrupted`: by Ctrl-C while the run was ending. `undecided`: there are records, and
    no claim was decided. `changed`: the run differs from its baseline in what counts. `left_out`:
    a budget left out a contract, or an observation that is expected.

    >>> int(exit_code(0, changed=True)), int(exit_code(1, terminated=True))
    (1, 143)
    """
    if refused:
        return pytest.ExitCode.USAGE_ERROR
    if terminated:
        return TERMINATED
    if interrupted:
        return pytest.ExitCode.INTERRUPTED
    if pytest_status != pytest.ExitCode.OK:
        return pytest_status
    if undecided:
        return pytest.ExitCode.NO_TESTS_COLLECTED
    return pytest.ExitCode.TESTS_FAILED if changed or left_out else pytest.ExitCode.OK
