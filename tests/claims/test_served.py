"""Claims on servers: what requests decide of texts, draws and ends, without a reference.

Other checks decide the same claims on a network in this process, where all logits are known.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest

from probes import measure, stats
from probes.data import questions
from probes.data.tokenizer_texts import CAPITAL_OF_JAPAN, STORIES
from probes.schema.evidence.engines import AS_ASKED, UNKNOWN, SettingEvidence, SettingsInForce
from probes.schema.sampling import Sampling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probes.engines.base import Engine
    from probes.measure.served_texts import Repeated

Evidence = dict[str, Any]

pytestmark = pytest.mark.needs("server")

LENGTH = 20
RUNS = 5
STORY_LENGTH = 30
STORY_RUNS = 3
KEPT = 16
"""Tokens that top-k keeps: fewer than any server with log-probabilities lists."""

SHOWN = 5
HOT_PROMPTS = (CAPITAL_OF_JAPAN, STORIES[0])
UNLISTED = "it lists the log-probabilities of none of its texts, or not of all tokens"
CHOSEN_ALONE = "it lists no other token beside its own"
ORDERS = ("filters before the temperature", "the temperature before filters")


# --- greedy --------------------------------------------------------------------------------------


@pytest.mark.claim("greedy-argmax")
def test_greedy_takes_the_most_likely_token_that_is_listed(
    model: Engine, evidence: Evidence
) -> None:
    texts = measure.served_texts.make_greedy(model, LENGTH)
    listed = [step for text in texts for step in measure.listed_steps.list_steps(text)]
    steps = sum(step.shows_others for step in listed)
    evidence["texts"], evidence["steps"] = [text.text for text in texts], steps
    if not listed:
        pytest.skip(UNLISTED)
    if not steps:
        pytest.skip(CHOSEN_ALONE)
    for text, step, gap in measure.served_texts.find_wrong_choices(texts):
        pytest.fail(
            f"{text!r}: the token of step {step} is {gap:.2g} nats behind the most likely one "
            "that the server lists there",
            pytrace=False,
        )


def same_to_rounding(evidence: Evidence, pairs: Sequence[Repeated], what: str) -> None:
    evidence["repeated"] = pairs
    for pair in pairs:
        said = f"{what} differ: after {pair.prompt!r} token {pair.step} is another ({pair.way})"
        both = f"{pair.texts[0]!r}\n{pair.texts[1]!r}"
        assert not pair.fault, (
            f"{what} differ: after {pair.prompt!r} {pair.fault} ({pair.way})\n{both}"
        )
        assert pair.is_explained or not pair.is_decided, (
            f"{said}, {pair.margin:.2g} nats apart, where rounding explains {pair.tolerance:.2g}\n"
            f"{both}"
        )
    for pair in pairs:
        if not pair.is_decided:
            pytest.skip(f"{what} differ ({pair.way}), and how close the tokens were is not listed")


@pytest.mark.claim("greedy-deterministic")
def test_greedy_texts_are_the_same_in_every_run_and_alone(
    model: Engine, evidence: Evidence
) -> None:
    pairs = measure.served_texts.repeat_greedy(model, LENGTH, RUNS)
    same_to_rounding(evidence, pairs, "greedy texts")


@pytest.mark.claim("stories-greedy")
def test_three_greedy_runs_of_a_server_are_the_same(model: Engine, evidence: Evidence) -> None:
    pairs = measure.served_texts.repeat_together(model, STORY_LENGTH, STORY_RUNS, STORIES)
    evidence["texts"] = {
        story: [pair.texts[0], *(each.texts[1] for each in pairs if each.prompt == story)]
        for story, pair in zip(STORIES, pairs, strict=False)
    }
    same_to_rounding(evidence, pairs, "greedy stories")


@pytest.mark.claim("top-k")
def test_drawn_with_a_top_k_of_one_is_greedy(model: Engine, seed: int, evidence: Evidence) -> None:
    pairs = measure.served_texts.draw_top_1(model, seed=seed, length=LENGTH)
    same_to_rounding(evidence, pairs, "greedy texts and those of a top_k of 1")


@pytest.mark.claim("next-token")
def test_tokyo_leads_what_is_listed(model: Engine, evidence: Evidence) -> None:
    text = model.generate(CAPITAL_OF_JAPAN, max_new_tokens=1, do_sample=False, top_logprobs=10)
    steps = measure.listed_steps.list_steps(text)
    if not steps:
        pytest.skip(UNLISTED)
    if not steps[0].shows_others:
        pytest.skip(CHOSEN_ALONE)
    total = measure.listed_steps.sum_of_probabilities(steps[0])
    evidence["most_likely"], evidence["sum_of_ten"] = text.text, total
    assert total <= 1 + 1e-3, f"the probabilities of ten tokens sum to {total}"
    assert steps[0].gap == 0, (
        f"{text.text!r} is {steps[0].gap:.2g} nats behind the token that leads the list"
    )
    assert text.text.strip() == "Tokyo", f"{text.text!r} leads, not 'Tokyo'"


# --- draws ---------------------------------------------------------------------------------------


def follow_own_law(
    model: Engine,
    seed: int,
    evidence: Evidence,
    sampling: Sampling,
    shows: Sequence[str],
) -> None:
    """Fail where draws do not follow the listed law; `shows` names what they must be able to."""
    asked = measure.served_draws.without_filters(sampling)
    found = measure.served_draws.judge_own_draws(model, asked, seed=seed)
    test = found.test
    evidence["steps_left_out"], evidence["outside"] = found.unclear, test.outside
    if not test.tokens:
        pytest.skip("at none of its steps the filters end among the tokens that it lists")
    in_order = sorted(test.evidence.items(), key=lambda pair: -pair[1])
    best = [SettingEvidence(settings=name, nats=max(-1e9, nats)) for name, nats in in_order]
    limit = -math.log(test.alpha)
    shape = SettingsInForce(
        drawn_tokens=test.tokens,
        log_e=max(-1e9, test.log_e),
        limit=limit,
        alternatives=best[:SHOWN],
        in_force=AS_ASKED if test.good else found.in_force or UNKNOWN,
    )
    evidence.update(shape.as_evidence())
    needed = {name: count for name, count in test.needed.items() if name in shows}
    evidence["shown_after_tokens"] = {
        n: None if math.isinf(c) else int(c) for n, c in needed.items()
    }
    outside = f"{test.outside} of them are tokens that the settings drop; " if test.outside else ""
    why = f"they follow {found.in_force}" if found.in_force else "none of the known explains it"
    assert test.good, (
        f"{test.tokens} tokens do not follow the log-probabilities that the server lists under "
        f"{asked}: {outside}{why} (log of the e-value {test.log_e:.1f}, limit {limit:.1f})"
    )
    for name, count in needed.items():
        if count > test.tokens:
            pytest.skip(f"{test.tokens} tokens would not show {name}: {count:,.0f} are needed")


@pytest.mark.claim("temperature-formula")
@pytest.mark.parametrize("temperature", [0.4, 1.0, 1.6])
def test_draws_follow_the_listed_law_at_a_temperature(
    model: Engine, seed: int, evidence: Evidence, temperature: float
) -> None:
    sampling = Sampling(temperature=temperature, top_k=KEPT)
    doubled = "temperature 2 times what was asked for"
    follow_own_law(model, seed, evidence, sampling, [doubled])


@pytest.mark.claim("top-k")
def test_draws_are_of_the_k_most_likely_tokens(
    model: Engine, seed: int, evidence: Evidence
) -> None:
    sampling = Sampling(temperature=1.4, top_k=5)
    follow_own_law(model, seed, evidence, sampling, ["no filter, though one was asked for"])


@pytest.mark.claim("top-p-reference")
@pytest.mark.parametrize("p", [0.2, 0.5])
def test_draws_are_of_the_nucleus(model: Engine, seed: int, evidence: Evidence, p: float) -> None:
    sampling = Sampling(top_p=p, top_k=0)
    follow_own_law(model, seed, evidence, sampling, ["no filter, though one was asked for"])


@pytest.mark.claim("filter-order")
def test_draws_follow_the_order_that_the_server_documents(
    model: Engine, seed: int, evidence: Evidence
) -> None:
    sampling = Sampling(temperature=2.0, top_k=KEPT, top_p=0.7)
    follow_own_law(model, seed, evidence, sampling, ORDERS)


@pytest.mark.claim("samples-follow-distribution")
def test_draws_under_min_p_follow_the_listed_law(
    model: Engine, seed: int, evidence: Evidence
) -> None:
    sampling = Sampling(temperature=1.4, top_k=KEPT, min_p=0.1)
    follow_own_law(model, seed, evidence, sampling, ["no filter, though one was asked for"])


# --- seeds ---------------------------------------------------------------------------------------


@pytest.mark.claim("seeded")
def test_a_seed_decides_what_is_drawn(model: Engine, seed: int, evidence: Evidence) -> None:
    found = measure.served_seeds.draw_seeded(model, seed=seed, samples=8, length=LENGTH // 2)
    evidence.update(asdict(found))
    if found.different and not measure.served_seeds.keeps_seeds(model):
        pytest.skip(
            f"{found.different} of {len(found.first)} texts differ though they have the same seed, "
            "which its engine does not promise to keep"
        )
    differ = f"{found.different} of {len(found.first)} texts differ though they have the same seed"
    if found.different and not found.log_e:
        pytest.skip(f"{differ}, and no list tells how often rounding lets them")
    said = f"{differ}, and what is listed moves so far that rounding explains {found.expected:.2g}"
    assert found.p_value >= stats.goodness_of_fit.ALPHA, said
    if found.different and -found.log_e < -math.log(stats.goodness_of_fit.ALPHA):
        pytest.skip(f"{said}, which does not tell draws of one seed from independent ones")


@pytest.mark.claim("seeded")
def test_other_seeds_draw_other_texts(model: Engine, seed: int, evidence: Evidence) -> None:
    found = measure.served_seeds.draw_seeded(model, seed=seed, samples=8, length=LENGTH // 2)
    distinct = len({*found.first, *found.others})
    evidence["texts"], evidence["distinct"] = len(found.first) + len(found.others), distinct
    assert distinct > 1, f"{2 * len(found.first)} seeds give one text: {found.first[0]!r}"


# --- variety -------------------------------------------------------------------------------------


@pytest.mark.claim("collapse")
def test_near_greedy_draws_are_the_greedy_text(
    model: Engine, seed: int, evidence: Evidence
) -> None:
    found = measure.served_variety.run_near_greedy(model, seed=seed, length=LENGTH)
    evidence["near_greedy_texts"], evidence["p_of_so_few"] = found.texts, found.p_few
    if not found.texts:
        pytest.skip(f"{UNLISTED}, or {CHOSEN_ALONE}")
    runs = len(found.texts) * measure.served_variety.RUNS
    assert found.p_few >= stats.goodness_of_fit.ALPHA, (
        f"{sum(each.reproduced for each in found.texts)} of {runs} runs give the greedy text, at "
        f"least {sum(each.probability.lower for each in found.texts) * runs / len(found.texts):.1f}"
        " are expected"
    )
    for each in found.texts:
        assert each.probability.lower > 0.99, (
            f"after {each.prompt!r} sampling gives the greedy text with a probability of "
            f"{each.probability.lower:.3f} to {each.probability.upper:.3f} only"
        )


@pytest.mark.claim("heat-varies")
@pytest.mark.parametrize("prompt", HOT_PROMPTS)
def test_hot_draws_differ_though_the_nucleus_is_narrow(
    model: Engine, seed: int, evidence: Evidence, prompt: str
) -> None:
    found = measure.served_variety.draw_hot(model, prompt, seed=seed, length=LENGTH // 2)
    evidence.update(asdict(found))
    assert found.all_same < 0.01, (
        f"of {found.texts} texts {found.most} are the same: five may all be with a probability of "
        f"up to {found.all_same:.3f}"
    )


@pytest.mark.claim("heat-wide-varies-more")
@pytest.mark.parametrize("prompt", HOT_PROMPTS)
def test_wide_hot_draws_vary_more_and_are_less_likely(
    model: Engine, seed: int, evidence: Evidence, prompt: str
) -> None:
    found = measure.served_variety.compare_hot(model, prompt, seed=seed, length=LENGTH)
    if found is None:
        pytest.skip(UNLISTED)
    evidence.update(asdict(found))
    assert found.p_value < stats.goodness_of_fit.DIFFERENCE_ALPHA, (
        f"wide-hot texts are as likely: p = {found.p_value:.2g}"
    )
    assert found.wide_distinct_4_grams >= found.narrow_distinct_4_grams, (
        f"wide-hot texts are more alike: {found.wide_distinct_4_grams:.1%} of their 4-grams are "
        f"distinct, of narrow-hot texts {found.narrow_distinct_4_grams:.1%}"
    )


# --- ends ----------------------------------------------------------------------------------------


@pytest.mark.claim("stop-strings")
def test_stop_string_ends_a_text_of_a_server(model: Engine, evidence: Evidence) -> None:
    found = measure.engine_texts.stop_engine(model, HOT_PROMPTS, LENGTH)
    evidence["engine_stops"] = found
    for stop in found:
        assert not stop.is_wrong, stop.message
    if not any(stop.shows_string for stop in found):
        pytest.skip("its texts are empty, or others when they are to stop at a string")


@pytest.mark.claim("stop-ids")
def test_one_of_several_ids_ends_a_text_of_a_server(model: Engine, evidence: Evidence) -> None:
    evidence["id_stops"] = found = measure.served_texts.stop_at_ids(model, LENGTH)
    for stop in found:
        assert stop.found == stop.expected, (
            f"after {stop.prompt!r} the text has the ids {stop.found}, not {stop.expected}: it was "
            f"told to stop at {stop.expected[-1]}"
        )
        assert stop.reason in ("", "stop"), (
            f"after {stop.prompt!r} the reason of the end is {stop.reason!r}, not 'stop'"
        )


# --- penalties -----------------------------------------------------------------------------------


@pytest.mark.claim("penalties")
def test_greedy_choices_follow_the_penalized_list(model: Engine, evidence: Evidence) -> None:
    evidence["penalized"] = found = measure.served_penalties.penalize_texts(model, 2 * LENGTH)
    for each in found:
        assert each.wrong is None, (
            f"{each.penalty}: after {each.prompt!r} the token of step {each.wrong} is "
            f"{each.behind:.2g} nats behind the first of the list after the penalty\n{each.text!r}"
        )
    unseen = {each.penalty for each in found} - {each.penalty for each in found if each.changed}
    if unseen:
        pytest.skip(f"in its texts no choice changes by {' or '.join(sorted(unseen))}")


# --- facts ---------------------------------------------------------------------------------------


@pytest.mark.claim("knowledge-accuracy")
def test_near_greedy_answers_of_a_server_are_right_more_often(
    model: Engine, seed: int, evidence: Evidence
) -> None:
    asked = questions.load_questions(model.target.questions)  # type: ignore[attr-defined]
    found = measure.served_answers.draw_answers(model, asked, seed=seed)
    evidence["questions"], evidence["compared_by_question"] = len(asked), found.test
    evidence["right_near_greedy"], evidence["right_wide_hot"] = found.near_greedy, found.wide_hot
    evidence["wrong_answers"] = found.wrong
    first = next(iter(found.wrong.items()), ("", ""))
    assert found.near_greedy > 0.5, (
        f"near-greedy answers only {found.near_greedy:.0%} rightly; {first[0]!r}: {first[1]!r}"
    )
    assert found.test.p_value < stats.permutation.ALPHA, (
        f"wide-hot does not answer clearly fewer: the difference is {found.test.difference:.3f}, "
        f"p = {found.test.p_value:.2g}"
    )
