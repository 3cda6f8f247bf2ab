"""Faults that the claims about tasks must find: each turns the right claim red."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from probes.data import published, questions
from probes.measure import asking as forms
from probes.measure import knowledge, stories
from probes.schema.sampling import GRID, NEAR_GREEDY, WIDE_HOT, Sampling
from probes.stats import answer_matching, answer_tree, permutation, sampling_reference
from tests.claims import test_tasks as claims
from tests.faults.runner import shorten_stories

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from probes import Model
    from probes.data.questions import Question

    Check = Callable[[Model], None]

SEED = 20231010
ASKED = 16
"""Questions asked here: enough to see every fault, and quick."""


def near_against_wide(model: Model) -> None:
    claims.test_near_greedy_answers_most_questions_and_wide_hot_fewer(model, SEED, {})


def drawn_near_greedy(model: Model) -> None:
    claims.test_drawn_answers_are_right_as_often_as_computed(model, SEED, {}, NEAR_GREEDY)


def drawn_wide_hot(model: Model) -> None:
    claims.test_drawn_answers_are_right_as_often_as_computed(model, SEED, {}, WIDE_HOT)


def published_questions(model: Model) -> None:
    claims.test_the_published_questions_are_asked_as_published(model, {})


def dose(model: Model) -> None:
    claims.test_accuracy_falls_as_temperature_rises(model, SEED, {}, 0.9)


def greedy_stories(model: Model) -> None:
    claims.test_three_greedy_runs_are_the_same(model, {})


def sampled_stories(model: Model) -> None:
    claims.test_three_wide_hot_runs_all_differ(model, SEED, {})


def both_tasks(model: Model) -> None:
    claims.test_facts_want_near_greedy_and_stories_want_sampling(model, SEED, {})


SOUND: list[Check] = [
    near_against_wide,
    drawn_near_greedy,
    drawn_wide_hot,
    published_questions,
    dose,
    greedy_stories,
    sampled_stories,
    both_tasks,
]


@pytest.fixture(autouse=True)
def few_questions() -> Iterator[None]:
    # Its own patches: those of a test are undone first.
    with pytest.MonkeyPatch.context() as patches, shorten_stories():
        asking(patches, questions.built_in_questions()[:ASKED])
        patches.setattr(knowledge, "WIDTH", 96)
        patches.setattr(knowledge, "LOOKS", (1,))
        yield


def asking(monkeypatch: pytest.MonkeyPatch, questions: Sequence[Question]) -> None:
    monkeypatch.setattr(claims, "asked_questions", lambda model: forms.ask(model, questions))


def red(check: Check, model: Model, match: str | None = None) -> None:
    """The check must fail."""
    with pytest.raises(AssertionError, match=match):
        check(model)


@pytest.mark.parametrize("check", SOUND, ids=lambda check: check.__name__)
def test_sound_model_passes_task_checks(intact: Model, check: Check) -> None:
    check(intact)


# --- the key and the matching --------------------------------------------------------------------


@pytest.mark.parametrize("check", [near_against_wide, dose, both_tasks])
def test_wrong_answer_key_is_found(
    intact: Model, monkeypatch: pytest.MonkeyPatch, check: Check
) -> None:
    asked = questions.built_in_questions()[:ASKED]
    keys = [question.accepted for question in asked]
    asking(
        monkeypatch,
        [
            question.model_copy(update={"accepted": key})
            for question, key in zip(asked, keys[1:] + keys[:1], strict=True)
        ],
    )
    red(check, intact)


def test_matching_that_accepts_everything_is_found(
    own_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_matching, "_contain", lambda *_: True)
    red(near_against_wide, own_model, "does not answer clearly fewer")
    red(drawn_near_greedy, own_model, "other questions' keys accept")
    red(drawn_wide_hot, own_model, "other questions' keys accept")
    red(dose, own_model, "no clear fall")


def test_matching_that_accepts_nothing_is_found(
    own_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_matching, "_contain", lambda *_: False)
    red(near_against_wide, own_model)
    red(dose, own_model)


def test_computation_with_another_key_is_found(
    own_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is computed and what is drawn are held against each other."""
    sound = knowledge.make_match
    monkeypatch.setattr(
        knowledge, "make_match", lambda model, keys: sound(model, [*keys[1:], keys[0]])
    )
    red(drawn_near_greedy, own_model, "at most")


# --- the settings --------------------------------------------------------------------------------


def swapped(sampling: Sampling) -> Sampling:
    return {NEAR_GREEDY: WIDE_HOT, WIDE_HOT: NEAR_GREEDY}.get(sampling, sampling)


def test_reversed_settings_are_found(own_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = sampling_reference.log_probabilities
    turned = dict(zip(GRID, reversed(GRID), strict=True))
    monkeypatch.setattr(
        sampling_reference,
        "log_probabilities",
        lambda logits, sampling=None: sound(logits, turned.get(sampling, sampling)),
    )
    red(near_against_wide, own_model)
    red(drawn_wide_hot, own_model)


def test_draws_at_another_setting_are_found(
    own_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = own_model.generate_batch

    def wrong(prompts: Any, *, sampling: Any = None, **arguments: Any) -> Any:
        return sound(prompts, sampling=swapped(sampling), **arguments)

    monkeypatch.setattr(own_model, "generate_batch", wrong)
    red(drawn_near_greedy, own_model, "are expected")


def test_ignored_temperature_is_found(own_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in what is computed nor in what is drawn."""
    sound = own_model.generate_batch

    def always_cool(prompts: Any, *, sampling: Any = None, **arguments: Any) -> Any:
        cool = None if sampling is None else replace(sampling, temperature=0.2)
        return sound(prompts, sampling=cool, **arguments)

    monkeypatch.setattr(sampling_reference, "temperature", lambda logits, _: logits.float() / 0.2)
    monkeypatch.setattr(own_model, "generate_batch", always_cool)
    red(near_against_wide, own_model)
    red(dose, own_model)


def test_inverted_temperature_is_found(own_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sampling_reference, "temperature", lambda logits, value: logits.float() * (value - 0.1)
    )
    red(dose, own_model, "more are right at T")


def test_lost_probability_of_right_answers_is_found(
    own_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bounds that exclude what is true: half of what is right is lost."""
    sound = answer_tree.follow_continuations

    def losing(*args: Any, **arguments: Any) -> Any:
        found = sound(*args, **arguments)
        return replace(found, right=found.right / 2, wrong=1 - found.right / 2)

    monkeypatch.setattr(knowledge, "follow_continuations", losing)
    asking(monkeypatch, questions.built_in_questions()[:30])
    red(drawn_near_greedy, own_model, "at most")


# --- the rows of a batch -------------------------------------------------------------------------


def test_shuffled_batch_rows_are_found(own_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = own_model.generate_batch

    def shuffled(prompts: Any, **arguments: Any) -> Any:
        found = sound(prompts, **arguments)
        return [*found[1:], found[0]]

    monkeypatch.setattr(own_model, "generate_batch", shuffled)
    red(drawn_near_greedy, own_model)


def test_shuffled_output_rows_lose_the_answers(own_model: Model) -> None:
    """The head's rows, shuffled: what was learnt is there, under other tokens."""
    import torch

    weight = own_model.embedding()
    order = torch.randperm(len(weight), generator=torch.Generator().manual_seed(0))
    weight[:] = weight[order].clone()
    red(near_against_wide, own_model, "near-greedy answers only")


# --- prompts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda ids: ids[1:], "BOS is not there twice"),
        (lambda ids: ids[:-1], "the space at the end is no token"),
    ],
    ids=["one BOS", "no space"],
)
def test_prompt_with_other_ids_is_found(
    own_model: Model,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[list[int]], list[int]],
    message: str,
) -> None:
    sound = own_model.encode_prompt
    monkeypatch.setattr(own_model, "encode_prompt", lambda prompt: spoil(sound(prompt)))
    red(published_questions, own_model, message)


def test_published_questions_with_other_spelling_are_found(
    own_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forms, "PUBLISHED", "<s> {}")
    red(published_questions, own_model)


def test_published_questions_in_another_form_are_found(
    own_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forms, "list_forms", lambda _: ("plain",))
    red(published_questions, own_model)


# --- stories -------------------------------------------------------------------------------------


def test_greedy_runs_that_sample_are_found(
    own_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = own_model.generate_batch
    monkeypatch.setattr(
        own_model,
        "generate_batch",
        lambda prompts, **arguments: sound(prompts, **(arguments | {"do_sample": True})),
    )
    red(greedy_stories, own_model)


def test_sampled_runs_that_are_greedy_are_found(
    own_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "WIDE_HOT", NEAR_GREEDY)
    red(sampled_stories, own_model, "repeats an earlier one with probability")


def test_samples_that_are_copies_are_found(
    own_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = own_model.generate_batch

    def copies(prompts: Any, **arguments: Any) -> Any:
        return [
            replace(found, ids=[found.ids[0]] * 3, texts=[found.texts[0]] * 3)
            for found in sound(prompts, **arguments)
        ]

    monkeypatch.setattr(own_model, "generate_batch", copies)
    red(sampled_stories, own_model)


def test_stories_at_swapped_settings_are_found(
    intact: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = stories.sample_grid

    def exchanged(model: Model, seed: int) -> Any:
        found = sound(model, seed)
        return {setting: found[swapped(setting)] for setting in found}

    monkeypatch.setattr(stories, "sample_grid", exchanged)
    red(both_tasks, intact)


def test_stories_drawn_at_one_setting_are_found(
    intact: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = stories.sample_grid

    def one(model: Model, seed: int) -> Any:
        found = sound(model, seed)
        return dict.fromkeys(found, found[WIDE_HOT])

    monkeypatch.setattr(stories, "sample_grid", one)
    red(both_tasks, intact, "no flatter a law")


@pytest.mark.parametrize("name", claims.STORIES_RECORDED)
def test_recorded_stories_hold_only_when_generated(
    own_model: Model, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    expected = published.find_text(name)
    generated = replace(own_model.generate("Once", max_new_tokens=1), texts=[f" {expected.text}"])
    with pytest.raises(AssertionError):
        claims.test_stories_are_the_published_ones(own_model, {}, name)
    monkeypatch.setattr(own_model, "generate", lambda *_, **__: generated)
    claims.test_stories_are_the_published_ones(own_model, {}, name)


# --- where bounds do not decide ------------------------------------------------------------------


def test_draws_decide_when_bounds_are_wide(
    own_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = claims.asked_questions(own_model)
    monkeypatch.setattr(knowledge, "WIDTH", 1)  # two continuations of each
    monkeypatch.setattr(knowledge, "LOOKS", (1, 9))
    found = knowledge.compare_settings(own_model, asked, NEAR_GREEDY, WIDE_HOT, SEED)
    assert ("draws" in found.by, found.p_value < permutation.ALPHA) == (True, True)


def test_draws_find_no_difference_when_none_exists(
    own_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = knowledge.compare_settings(
        own_model, claims.asked_questions(own_model), WIDE_HOT, WIDE_HOT, SEED
    )
    assert ("draws" in found.by, found.p_value < permutation.ALPHA) == (True, False)
