"""Claims: what settings do to tasks. Facts and stories, over one grid of settings."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest

from probes import measure, stats
from probes.data import published, questions
from probes.data.tokenizer_texts import STORIES
from probes.schema.evidence.shape import Interval, Measured
from probes.schema.evidence.texts import AnswerBounds, TaskSetting, TaskSettings
from probes.schema.sampling import GRID, NEAR_GREEDY, NUCLEI, TEMPERATURES, WIDE_HOT, Sampling

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from probes import Model
    from probes.measure.asking import AskedQuestion
    from probes.measure.knowledge import GreedyAnswers
    from probes.measure.stories import StoryVariety
    from probes.stats.answer_tree import AnswerProbability

Evidence = dict[str, Any]

DRAWN = {"near-greedy": NEAR_GREEDY, "wide-hot": WIDE_HOT}
PUBLISHED = (
    "<s> What is the capital of United States? ",
    "<s> When did World War II end? ",
    "<s> Who painted the Mona Lisa? ",
)
"""They spell the token that is inserted already, and end in a space."""

RUNS = 3
SHOWN = 3
"""Wrong answers in a message."""

MOST_BY_OTHER_KEYS = 0.05
"""Share of answers that other questions' keys may accept: a key must tell answers apart."""

STORIES_RECORDED = ("story-once", "story-long", "story-beginning")


def asked_questions(model: Model) -> tuple[AskedQuestion, ...]:
    """The target's questions, or the built-in ones, as it is meant to be asked them."""
    return measure.asking.ask(model, questions.load_questions(model.target.questions))


def describe_asking(model: Model) -> dict[str, str]:
    """The form in which the target is asked, and its first question as the network gets it."""
    first = asked_questions(model)[0]
    return {"form": first.form, "prompt": model.decode(model.encode_prompt(first.prompt))}


def accuracy(model: Model) -> AnswerProbability:
    """How likely each is answered rightly: computed once a session."""
    return measure.knowledge.compute_accuracy(model, asked_questions(model))


def named(sampling: Sampling) -> dict[str, float | None]:
    return {"top_p": sampling.top_p, "temperature": sampling.temperature}


# --- facts ---------------------------------------------------------------------------------------


@pytest.mark.claim("knowledge-accuracy")
@pytest.mark.needs("tokenizer", "token-ids", "logits")
def test_near_greedy_answers_most_questions_and_wide_hot_fewer(
    model: Model, seed: int, evidence: Evidence
) -> None:
    found = accuracy(model)
    near, wide = found.mean(NEAR_GREEDY), found.mean(WIDE_HOT)
    asked = asked_questions(model)
    evidence["questions"], evidence["asked_as"] = len(asked), describe_asking(model)
    evidence["right_within_tokens"] = measure.knowledge.LENGTH
    evidence["near_greedy"], evidence["wide_hot"] = near, wide
    test = measure.knowledge.compare_settings(model, asked, NEAR_GREEDY, WIDE_HOT, seed)
    evidence["compared_by_question"] = test
    evidence.update(
        Measured(
            measured={
                "right_near_greedy": stats.permutation.interval_of_mean(found.lower(NEAR_GREEDY)),
                "difference": Interval(value=test.difference, low=test.low, high=test.high),
            }
        ).as_evidence()
    )
    evidence["each"] = list_probabilities(asked, found)
    answers = measure.knowledge.answer_greedily(
        model, measure.asking.ask_in_all_forms(model, [each.question for each in asked])
    )
    evidence["right_greedily_by_form"] = {each.form: each.share for each in answers}
    evidence["greedy_answers"] = list_answers(asked, answers)
    first = answers[0]
    wrong = [
        f"{each.question.text!r}: {text!r}"
        for each, text, right in zip(asked, first.texts, first.right, strict=True)
        if not right
    ]
    assert near.lower > 0.5, (
        f"near-greedy answers only {near.lower:.0%} rightly; asked in the form {first.form}, it "
        f"answers greedily {'; '.join(wrong[:SHOWN]) or 'all rightly'}"
    )
    assert test.p_value < stats.permutation.ALPHA, (
        f"wide-hot does not answer clearly fewer: the difference is {test.difference:.3f}, "
        f"p = {test.p_value:.2g}, by {test.by}"
    )
    assert test.low > 0, f"wide-hot may answer more: the difference is at least {test.low:.3f}"


def list_probabilities(
    asked: Sequence[AskedQuestion], found: AnswerProbability
) -> list[dict[str, Any]]:
    return [
        {
            "question": each.question.text,
            "accepted": ", ".join(each.question.accepted),
            "near_greedy": at_least[0],
            "wide_hot_least": at_least[1],
            "wide_hot_most": most,
            "origin": each.question.origin.partition(":")[0],
        }
        for each, *at_least, most in zip(
            asked,
            found.lower(NEAR_GREEDY).round(4).tolist(),
            found.lower(WIDE_HOT).round(4).tolist(),
            found.upper(WIDE_HOT).round(4).tolist(),
            strict=True,
        )
    ]


def list_answers(
    asked: Sequence[AskedQuestion], answers: Sequence[GreedyAnswers]
) -> list[dict[str, str]]:
    return [
        {
            "question": each.question.text,
            "accepted": ", ".join(each.question.accepted),
            **{found.form: found.texts[number] for found in answers},
            "right": ", ".join(found.form for found in answers if found.right[number]),
        }
        for number, each in enumerate(asked)
    ]


@pytest.mark.claim("knowledge-accuracy")
@pytest.mark.needs("tokenizer", "token-ids", "logits")
@pytest.mark.parametrize("sampling", DRAWN.values(), ids=DRAWN.keys())
def test_drawn_answers_are_right_as_often_as_computed(
    model: Model, seed: int, evidence: Evidence, sampling: Sampling
) -> None:
    found = measure.knowledge.sample_answers(model, asked_questions(model), sampling, seed)
    evidence["questions"], evidence["right"] = len(found.right), sum(found.right)
    evidence["expected"] = found.expected
    evidence["p_of_so_few"], evidence["p_of_so_many"] = found.p_few, found.p_many
    evidence["right_by_other_questions_keys"] = found.by_other_keys
    evidence["wrong_answers"] = {
        each.question.text: text
        for each, text, right in zip(asked_questions(model), found.texts, found.right, strict=True)
        if not right
    }
    alpha = stats.goodness_of_fit.ALPHA
    assert found.p_few >= alpha, (
        f"{sum(found.right)} of {len(found.right)} are right, at least {found.expected.lower:.1f} "
        "are expected"
    )
    assert found.p_many >= alpha, (
        f"{sum(found.right)} of {len(found.right)} are right, at most {found.expected.upper:.1f} "
        "are expected"
    )
    assert found.by_other_keys <= MOST_BY_OTHER_KEYS, (
        f"other questions' keys accept {found.by_other_keys:.1%} of the answers"
    )


@pytest.mark.claim("knowledge-accuracy")
@pytest.mark.needs("tokenizer", "token-ids", "logits")
@pytest.mark.needs("mistral-tokenizer")
def test_the_published_questions_are_asked_as_published(model: Model, evidence: Evidence) -> None:
    first = questions.built_in_questions()[: len(PUBLISHED)]
    prompts = [each.prompt for each in measure.asking.ask(model, first)]
    assert prompts == [*PUBLISHED], f"the first questions are {prompts}"
    evidence["ids"] = ids = {prompt: model.encode_prompt(prompt) for prompt in PUBLISHED}
    for prompt, found in ids.items():
        assert found[:2] == [1, 1], f"{prompt}: BOS is not there twice"
        assert found[-1] == 28705, f"{prompt}: the space at the end is no token"


@pytest.mark.claim("knowledge-dose")
@pytest.mark.parametrize("top_p", NUCLEI)
def test_accuracy_falls_as_temperature_rises(
    model: Model, seed: int, evidence: Evidence, top_p: float
) -> None:
    settings = [Sampling(temperature=t, top_p=top_p) for t in TEMPERATURES]
    means = [accuracy(model).mean(setting) for setting in settings]
    evidence.update(
        AnswerBounds(
            temperatures=[*TEMPERATURES],
            at_least=[bounds.lower for bounds in means],
            at_most=[bounds.upper for bounds in means],
        ).as_evidence()
    )
    evidence["asked_as"] = describe_asking(model)
    for place, hotter in enumerate(means[1:], start=1):
        coolest = min(bounds.upper for bounds in means[:place])
        assert hotter.lower <= coolest + 1e-9, f"more are right at T = {TEMPERATURES[place]}"
    if top_p < max(NUCLEI):
        return  # a narrow nucleus may hold the answer alone at any temperature
    test = measure.knowledge.compare_settings(
        model, asked_questions(model), settings[0], settings[-1], seed
    )
    evidence["coolest_against_hottest"] = test
    assert test.p_value < stats.permutation.ALPHA, (
        f"no clear fall: {test.difference:.3f}, p = {test.p_value:.2g}, by {test.by}"
    )


def counted(different: Iterable[int]) -> str:
    """How many texts each opening got."""
    return ", ".join(
        f"{n} after {opening!r}" for opening, n in zip(STORIES, different, strict=True)
    )


# --- stories -------------------------------------------------------------------------------------


@pytest.mark.claim("stories-greedy")
def test_three_greedy_runs_are_the_same(model: Model, evidence: Evidence) -> None:
    found = measure.stories.run_greedily(model, runs=RUNS)
    evidence["texts"] = {opening: runs.texts for opening, runs in zip(STORIES, found, strict=True)}
    different = counted(runs.distinct for runs in found)
    assert all(runs.distinct == 1 for runs in found), f"different texts of {RUNS}: {different}"


@pytest.mark.claim("stories-sampled")
def test_three_wide_hot_runs_all_differ(model: Model, seed: int, evidence: Evidence) -> None:
    found = measure.stories.run_by_sampling(model, WIDE_HOT, seed, runs=RUNS)
    evidence["texts"] = {opening: runs.texts for opening, runs in zip(STORIES, found, strict=True)}
    chances = [runs.chance_of_repeat for runs in found if runs.chance_of_repeat is not None]
    if chances:  # they are known where the engine gives its logits
        evidence["chance_of_a_repeat"] = chances
    assert max(chances, default=0.0) < 0.01, (
        f"a run repeats an earlier one with probability {max(chances):.2g}"
    )
    different = counted(runs.distinct for runs in found)
    assert all(runs.distinct == RUNS for runs in found), f"different texts of {RUNS}: {different}"


@pytest.mark.claim("stories-recorded")
@pytest.mark.parametrize("name", STORIES_RECORDED)
def test_stories_are_the_published_ones(model: Model, evidence: Evidence, name: str) -> None:
    expected = published.find_text(name)
    ids = model.encode(expected.prompt, add_special_tokens=expected.special_tokens)
    text = model.generate(ids, max_new_tokens=expected.tokens, do_sample=False).text
    evidence["text"], evidence["published"] = text, expected.text
    assert text.strip() == expected.text, f"{text.strip()!r} is not {expected.text!r}"


# --- both ----------------------------------------------------------------------------------------


@pytest.mark.claim("task-settings")
def test_facts_want_near_greedy_and_stories_want_sampling(
    model: Model, seed: int, evidence: Evidence
) -> None:
    facts = accuracy(model)
    drawn = measure.stories.sample_grid(model, seed)
    varieties = {setting: measure.stories.measure_story_variety(drawn[setting]) for setting in GRID}
    settings = [
        TaskSetting(
            top_p=setting.top_p or 1,
            temperature=setting.temperature,
            right_least=facts.mean(setting).lower,
            right_most=facts.mean(setting).upper,
            **asdict(varieties[setting]),
        )
        for setting in GRID
    ]
    evidence.update(TaskSettings(settings=settings).as_evidence())
    evidence["asked_as"] = describe_asking(model)
    evidence["stories"] = {
        name: {opening: told[0].text for opening, told in zip(STORIES, drawn[s], strict=True)}
        for name, s in DRAWN.items()
    }
    evidence["published_for_gpt2_large"] = {
        "source": measure.stories.GPT2_LARGE_SOURCE,
        "figures": [*measure.stories.GPT2_LARGE],
    }
    fewer = measure.knowledge.compare_settings(
        model, asked_questions(model), NEAR_GREEDY, WIDE_HOT, seed
    )
    varies = measure.variety.p_value_of_larger(
        *([s.entropy for told in drawn[at] for s in told] for at in (WIDE_HOT, NEAR_GREEDY))
    )
    evidence["fewer_right_at_wide_hot"] = fewer
    evidence["p_value_of_entropies"] = varies
    most = facts.mean(NEAR_GREEDY).upper
    better = [named(s) for s in GRID if facts.mean(s).lower > most + 1e-9]
    assert not better, f"more answers are right elsewhere: {better}"
    assert fewer.p_value < stats.permutation.ALPHA, (
        f"wide-hot does not answer clearly fewer: p = {fewer.p_value:.2g}"
    )
    refute_that_stories_vary_as_little(varieties, varies)


def refute_that_stories_vary_as_little(
    varieties: dict[Sampling, StoryVariety], p_value: float
) -> None:
    """Fail unless near-greedy stories vary least and wide-hot ones follow a flatter law."""
    near, wide = varieties[NEAR_GREEDY], varieties[WIDE_HOT]
    least = min(each.entropy for each in varieties.values())
    assert near.entropy <= least + 1e-9, (
        f"near-greedy stories are drawn with an entropy of {near.entropy:.6g}, others with "
        f"{least:.6g}"
    )
    assert p_value < stats.permutation.ALPHA, (
        f"wide-hot stories are drawn from no flatter a law: p = {p_value:.2g}"
    )
    assert wide.self_bleu < near.self_bleu, (
        f"wide-hot stories are as much alike: a Self-BLEU of {wide.self_bleu:.3f}, near-greedy "
        f"{near.self_bleu:.3f}"
    )
    assert wide.distinct_4_grams > near.distinct_4_grams, (
        f"wide-hot stories repeat as much: {wide.distinct_4_grams:.1%} of their 4-grams are "
        f"distinct, of near-greedy ones {near.distinct_4_grams:.1%}"
    )
    assert wide.log_likelihood < near.log_likelihood, (
        f"wide-hot stories are as likely: {wide.log_likelihood:.3f} nats a token, near-greedy "
        f"{near.log_likelihood:.3f}"
    )
