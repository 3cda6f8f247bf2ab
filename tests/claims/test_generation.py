"""Claims: what generate() does beyond plain decoding: drafts, filled caches, embeddings, stops."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest

from probes import measure
from probes.data.tokenizer_texts import CAPITAL_OF_JAPAN
from probes.measure.asking import list_prompts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from probes import Model
    from probes.engines.base import Generation
    from probes.measure.stopping import Stop
    from probes.stats.goodness_of_fit import Fit

    Greedy = Callable[[int], list[Generation]]

Evidence = dict[str, Any]

LENGTH = 20
SHOWN = 60
"""Characters of a value in a message."""

DRAFTED_DRAWS = 300
"""Tokens drawn one after another: the library drafts for one text at a time."""

RULE_DRAWS = 3000
"""Draws by the library's rule alone, which are quicker."""

PAST_THE_WINDOW = 8
"""New tokens after a prompt longer than the attention window."""

NO_WINDOW = "it attends to all that came before, or to more than 4,096 tokens"


def past_window(model: Model) -> list[int]:
    """A prompt longer than the attention window; without one, the check is not applicable."""
    longer = measure.determinism.lengthen_past_window(model, list_prompts(model))
    if longer is None:
        pytest.skip(NO_WINDOW)
    return longer


@pytest.mark.claim("drafted-greedy")
@pytest.mark.parametrize("place", ["short", "past the window"])
def test_drafted_text_is_the_greedy_text(model: Model, evidence: Evidence, place: str) -> None:
    prompts, length = (
        (list_prompts(model)[:2], LENGTH)
        if place == "short"
        else ([past_window(model)], PAST_THE_WINDOW)
    )
    found = [*measure.drafted_texts.vary_drafting(model, prompts, length)]
    evidence["variations"] = [variation for variation, _ in found]
    evidence["drafted_texts"] = [drafted for _, drafted in found]
    for each, _ in found:
        complaint = each.complain()
        assert not complaint, complaint


def follows(fit: Fit, what: str) -> None:
    assert fit.outside == 0, f"{what}: {fit.outside} draws of tokens that the target never draws"
    assert fit.good, (
        f"{what}: draws do not follow the target's distribution: G = {fit.statistic:.1f} in "
        f"{fit.bins} bins, p = {fit.p_value:.1e}"
    )


@pytest.mark.claim("drafted-sampling")
@pytest.mark.parametrize(
    "way", ["prompt lookup", "the model as its own assistant", "another assistant"]
)
def test_tokens_drawn_with_drafts_follow_the_distribution(
    seed: int, evidence: Evidence, way: str
) -> None:
    fit, drafted = measure.drafted_sampling.fit_drafted_tokens(way, count=DRAFTED_DRAWS, seed=seed)
    evidence.update(asdict(fit))
    evidence["drafted_texts"] = [drafted]
    follows(fit, f"drafts by {way}")


@pytest.mark.claim("drafted-sampling")
def test_rule_of_which_drafts_to_keep_gives_the_distribution(seed: int, evidence: Evidence) -> None:
    fits = measure.drafted_sampling.fit_acceptance(count=RULE_DRAWS, seed=seed)
    evidence["fits"] = fits
    for place, fit in enumerate(fits, 1):
        follows(fit, f"token {place}")


@pytest.mark.claim("cache-continued")
@pytest.mark.parametrize("place", ["short", "past the window"])
def test_filled_cache_is_continued_as_one_pass(
    model: Model, evidence: Evidence, place: str
) -> None:
    texts = [model.encode_prompt(prompt) for prompt in list_prompts(model)]
    ids = texts[0] + texts[-1] if place == "short" else past_window(model)
    evidence["ways"] = found = measure.continued_cache.continue_caches(model, ids, texts[-1])
    if all(each.refused for each in found):
        pytest.skip(f"no cache can be continued: {found[0].refused}")
    for each in found:
        assert each.explained, (
            f"a cache continued ({each.name}): distances of logits change by {each.change:.2g}, "
            f"where rounding explains {each.tolerance:.2g} "
            f"({measure.reproduction.describe_conditions(model)})"
        )


@pytest.mark.claim("embeddings-as-input")
def test_text_from_embeddings_is_the_text_from_ids(model: Model, evidence: Evidence) -> None:
    ids = model.encode_prompt(CAPITAL_OF_JAPAN)
    prompts = [ids[:1], ids[:2], ids]
    evidence["variations"] = found = measure.input_embeddings.generate_from_embeddings(
        model, prompts, LENGTH // 2
    )
    for each in found:
        complaint = each.complain()
        assert not complaint, complaint


@pytest.mark.claim("padded-rows")
@pytest.mark.parametrize("how", ["alone", "together", "by the tokenizer"])
def test_padded_row_gives_what_it_gives_alone(model: Model, evidence: Evidence, how: str) -> None:
    if how == "by the tokenizer":
        side = str(model.tokenizer.padding_side)
        named = {"left": side, "right": "right, where generate() needs the left"}
        evidence["own_padding_side"] = named.get(side, side)
    evidence["variations"] = found = measure.padded_rows.vary_padding(
        model, list_prompts(model), how
    )
    for each in found:
        complaint = each.complain()
        assert not complaint, complaint


@pytest.mark.claim("packed-rows")
def test_texts_packed_into_one_row_do_not_see_each_other(model: Model, evidence: Evidence) -> None:
    rows = [model.encode_prompt(prompt) for prompt in list_prompts(model)[:3]]
    evidence["packed"] = found = measure.packed_rows.pack_rows(model, rows)
    for each in found:
        assert each.explained, (
            f"{each.texts} texts packed into one row, told apart by {each.name}: distances of "
            f"logits change by {each.change:.2g}, where rounding explains {each.tolerance:.2g}"
        )


@pytest.mark.claim("continuous-batching")
def test_continuous_batching_gives_greedy_texts_and_changes_nothing(
    model: Model, evidence: Evidence
) -> None:
    texts, changed = measure.continuous_batching.batch_continuously(
        model, list_prompts(model), LENGTH // 3
    )
    evidence["texts"], evidence["left_changed"] = texts, changed
    for each in texts:
        where = f"continuous batching, attention {each.attention}: {each.texts[1]!r}"
        assert each.step is None or each.margin <= each.tolerance, (
            f"{where} is not {each.texts[0]!r}: at token {each.step} two logits lie "
            f"{each.margin:.2g} apart, where rounding explains {each.tolerance:.2g}"
        )
        assert each.explained, (
            f"{where}: the log-probability of a token changes by {each.change:.2g}, where "
            f"rounding explains {each.tolerance:.2g}"
        )
    assert not changed, (
        f"generate_batch() leaves {len(changed)} parts of the model changed: "
        + ", ".join(changed[:3])
    )


@pytest.mark.claim("half-precision")
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_layers_in_half_precision_differ_by_rounding_alone(
    model: Model, evidence: Evidence, dtype: str
) -> None:
    rows = [model.encode_prompt(prompt) for prompt in list_prompts(model)[:3]]
    found = measure.half_precision.compare_layers(model, rows, dtype)
    evidence["whole"], evidence["layers"] = found.whole, found.layers
    wrong, over = found.unexplained, found.overflow
    if wrong is not None:
        where = f"{wrong.name} ({dtype}, attention {wrong.attention}, {found.padding})"
        assert not wrong.broken, f"{where} returns {wrong.broken}"
        assert wrong.change <= wrong.tolerance, (
            f"{where}, given the same input, differs from float32 by {wrong.change:.2g} of what it "
            f"returns, where rounding explains {wrong.tolerance:.2g}"
        )
    if over is not None:
        pytest.skip(f"it leaves the range of {dtype}: {over.name} reaches {over.reached:,.0f}")


def verdict_of(evidence: Evidence, stops: Sequence[Stop]) -> None:
    evidence["stops"] = stops
    for stop in stops:
        assert stop.same, f"after {stop.prompt!r}, told to stop at {stop.at}, the text is another"
        assert stop.found == stop.expected, (
            f"after {stop.prompt!r} the text ends after {stop.found} tokens, not after "
            f"{stop.expected}: it was told to stop at {stop.at} ({stop.kind})"
        )


def texts_to_stop(greedy: Greedy) -> list[Generation]:
    return greedy(LENGTH)[:3]


@pytest.mark.claim("stop-ids")
@pytest.mark.needs("tokenizer", "logits", "config", "weights", "variants")
def test_each_of_several_end_ids_stops_any_row(
    model: Model, greedy: Greedy, evidence: Evidence
) -> None:
    verdict_of(evidence, measure.stopping.stop_at_ids(model, texts_to_stop(greedy)))


@pytest.mark.claim("stop-strings")
@pytest.mark.needs("tokenizer", "token-ids", "logits", "config", "weights", "variants")
def test_stop_string_stops_wherever_it_begins(
    model: Model, greedy: Greedy, evidence: Evidence
) -> None:
    stops, shown = measure.stopping.stop_at_strings(model, texts_to_stop(greedy))
    if not stops:
        pytest.skip("its greedy texts have no letters to stop at")
    evidence["stopped_texts"] = shown
    verdict_of(evidence, stops)


@pytest.mark.claim("settings-win")
def test_setting_that_is_given_closest_to_the_call_has_effect(
    model: Model, evidence: Evidence
) -> None:
    ids = model.encode_prompt(CAPITAL_OF_JAPAN)
    evidence["settings_by_place"] = found = measure.settings.find_effective_settings(model, ids)
    try:
        prepared = measure.settings.find_prepared_settings(model)
    except measure.used_settings.UnseenSettingsError as error:
        evidence["prepared"] = str(error)
        prepared = []
    evidence["prepared_by_place"] = [each for each in prepared if not each.wins]
    evidence["settings_prepared"] = len(prepared)
    for each in (*found, *prepared):
        assert each.wins, (
            f"{each.field}: {str(each.found)[:SHOWN]} has effect, not {each.expected}; given were "
            + ", ".join(f"{value} by {place}" for place, value in each.given.items())
        )


@pytest.mark.claim("settings-used")
def test_generate_uses_the_settings_of_the_files(model: Model, evidence: Evidence) -> None:
    try:
        account = measure.used_settings.account_for_settings(model)
    except measure.used_settings.UnseenSettingsError as error:
        pytest.skip(str(error))
    evidence.update(account.used.as_evidence())
    evidence["ignored_settings"] = account.ignored
    complaints = "\n".join(account.complaints)
    assert not complaints, complaints
    ids = model.encode_prompt(CAPITAL_OF_JAPAN)
    wrong, beyond = measure.settings_effect.find_wrong_scores(model, ids, account.used)
    evidence["effect_not_checked_with"] = beyond
    assert not wrong, wrong


@pytest.mark.claim("penalties")
@pytest.mark.needs("tokenizer", "token-ids", "logits", "weights", "variants")
def test_penalties_change_scores_as_defined(model: Model, evidence: Evidence) -> None:
    try:
        ids = measure.penalties.choose_prompt(model)
    except LookupError as error:
        pytest.skip(str(error))
    evidence["penalties"] = found = measure.penalties.measure_penalties(model, ids)
    for each in found:
        assert not each.wrong, f"{each.setting} {each.value}: {each.wrong}"
    unseen = [each.setting for each in found if not each.changed]
    if unseen:
        evidence["without_effect"] = ", ".join(unseen)
    if len(unseen) == len(found):
        pytest.skip(f"on its logits nothing changes by {', '.join(unseen)}")
