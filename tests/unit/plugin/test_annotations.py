from __future__ import annotations

from probes.plugin.summary import format_annotations
from probes.schema.record import Verdict
from tests.support.samples import check, record


def test_job_shows_each_claim_that_fails() -> None:
    reason = "100 % of texts\nsecond line"
    checks = [("bos-inserted", check(verdict=Verdict.FAILS, reason=reason)), ("pad-token", check())]
    assert format_annotations(record(checks)) == [
        "::error title=bos-inserted on embedded::100 %25 of texts"
    ]


def test_job_does_not_show_known_failures() -> None:
    known = check(verdict=Verdict.FAILS, reason="it fails", known_failure="as reported")
    assert format_annotations(record([("bos-inserted", known), ("pad-token", check())])) == []


def test_job_takes_no_command_from_a_reason() -> None:
    checks = [
        ("bos-inserted", check(verdict=Verdict.ERROR, reason="a\r::stop-commands::x")),
        ("pad-token", check()),
    ]
    (line,) = format_annotations(record(checks))
    assert line.startswith("::error title=bos-inserted on embedded::a")
    assert "\r" not in line
    assert "\n" not in line
