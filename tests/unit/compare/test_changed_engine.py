"""An engine in two runs, each beside its reference."""

from __future__ import annotations

from typing import Any

import pytest

from probes.report.text.comparison import describe_difference
from probes.schema.comparison import Outcome
from probes.schema.evidence.engines import (
    AS_ASKED,
    EngineDistance,
    EnginePair,
    EnginePairs,
    EnginePower,
    EngineStep,
    EngineSteps,
    SettingEvidence,
    SettingPower,
    SettingsInForce,
)
from probes.schema.evidence.shape import Shape
from tests.support.comparing import differences

TEXT = [(" upon", -0.5), (" a", -0.25), (" time", -1.0)]


def steps(text: list[tuple[str, float]], tolerance: float = 0.001, **more: Any) -> EngineSteps:
    """An engine's text after one prompt; the reference agrees with it."""
    found = [
        EngineStep(
            prompt="Once",
            position=place,
            token=token,
            engine=number,
            reference=number,
            change=0.0,
            divergence=0.01,
            same_top=True,
        )
        for place, (token, number) in enumerate(text)
    ]
    shape = EngineDistance if more else EngineSteps
    return shape(engine_steps=found, tolerance=tolerance, **more)


def test_changes_within_rounding_are_no_difference() -> None:
    moved = [(token, number + 0.0015) for token, number in TEXT]
    assert differences(steps(TEXT), steps(moved)) == []
    means = {"mean_divergence": 0.1, "mean_divergence_of_nf4": 0.2, "same_top_token": 1.0}
    later = means | {"mean_divergence": 0.15, "same_top_token": 0.75}
    assert differences(steps(TEXT, **means), steps(moved, **later)) == []


@pytest.mark.parametrize(
    ("text", "outcome", "said"),
    [
        (
            [*TEXT[:2], (" time", -1.25)],
            Outcome.DRIFTED,
            "the engine's log-probabilities moved by up to "
            '0.25 (after "Once", token 2; tokens compared: 3), where rounding explains 0.002; '
            "mean divergence from the reference 0.01 then, 0.01 now",
        ),
        (
            [TEXT[0], (" the", -0.2515), (" sea", -3.0)],
            Outcome.DRIFTED,
            "the engine's log-probabilities moved by up to "
            '0 (after "Once", token 0; tokens compared: 1), where rounding explains 0.002; '
            "mean divergence from the reference 0.01 then, 0.01 now; "
            'after "Once" token 1 was " a", is " the": a near-tie',
        ),
        (
            [(" again", -0.75)],
            Outcome.CHANGED,
            "mean divergence from the reference 0.01 then, 0.01 now; "
            'after "Once" token 0 was " upon", is " again": no near-tie',
        ),
        (
            TEXT[:2],
            Outcome.CHANGED,
            "the engine's log-probabilities moved by up to "
            '0 (after "Once", token 0; tokens compared: 2), where rounding explains 0.002; '
            "mean divergence from the reference 0.01 then, 0.01 now; "
            'after "Once" token 2 was " time", is the end: '
            "no near-tie",
        ),
    ],
    ids=["numbers", "near-tie", "text", "end"],
)
def test_changed_text_is_compared_up_to_its_first_difference(
    text: list[tuple[str, float]], outcome: Outcome, said: str
) -> None:
    (found,) = differences(steps(TEXT), steps(text))
    assert (found.name, found.outcome) == ("engine_steps", outcome)
    assert describe_difference(found) == said


def test_change_is_reported_in_japanese() -> None:
    (found,) = differences(steps(TEXT), steps([*TEXT[:1], (" the", -2.0)]))
    assert describe_difference(found, "ja") == (
        "始まりが同じ 1 個のトークンで、エンジンの対数確率が最大 0 動いた"
        '（"Once" の後のトークン 0）。丸めで説明できるのは 0.002 まで。'
        "参照からのダイバージェンスの平均は以前 0.01、今 0.01。"
        '"Once" の後のトークン 1 は以前 " a"、今 " the": 僅差ではない'
    )


def pairs(*differ: int | None) -> EnginePairs:
    made = [
        EnginePair(way="alone", prompt="Once", text="a", other="b", step=step, margin=0.0)
        for step in differ
    ]
    return EnginePairs(pairs=made, noise=0.001)


def test_texts_that_differ_among_others_are_counted() -> None:
    assert differences(pairs(None, 3), pairs(5, None)) == []
    (found,) = differences(pairs(None, None), pairs(None, 3))
    assert found.outcome is Outcome.DRIFTED
    assert describe_difference(found) == "0 then, 1 now"


def test_settings_in_force_are_compared() -> None:
    best = [SettingEvidence(settings="top_k 40", nats=1.0)]

    def drawn(in_force: str) -> SettingsInForce:
        return SettingsInForce(
            drawn_tokens=500, log_e=-1.0, limit=20.8, alternatives=best, in_force=in_force
        )

    (found,) = differences(drawn(AS_ASKED), drawn("top_k 40 and min_p 0.1"))
    assert (found.name, found.outcome) == ("settings in force", Outcome.CHANGED)
    assert describe_difference(found) == '"those asked for" then, "top_k 40 and min_p 0.1" now'
    assert differences(drawn("top_k 40"), drawn("top_k 40")) == []


def test_draws_are_not_compared_with_earlier_draws() -> None:
    def drawn(tokens: int, settings: str) -> list[Shape]:
        best = [SettingEvidence(settings=settings, nats=-float(tokens))]
        power = [SettingPower(settings=settings, tokens=tokens)]
        return [
            SettingsInForce(
                drawn_tokens=tokens,
                log_e=-1.0 / tokens,
                limit=20.8,
                alternatives=best,
                in_force=AS_ASKED,
            ),
            EnginePower(drawn_tokens=tokens, tokens_needed=power),
        ]

    for old, new in zip(drawn(500, "top_k 40"), drawn(512, "top_k 50"), strict=True):
        assert differences(old, new) == []
