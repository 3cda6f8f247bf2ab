"""Claims: greedy decoding, BOS and beams."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest

import probes
from probes.texts import CAPITAL_OF_JAPAN, CAPITALS, SPELLED_BOS, STORIES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from probes import Model
    from probes.determinism import Variation

Evidence = dict[str, Any]

PROMPTS = (CAPITAL_OF_JAPAN, SPELLED_BOS, *STORIES)
LENGTHS = (20, 60)
SEED = 20231010
JAPAN_WITHOUT_BOS = "Tokyo.\n\n## What is the capital of Japan?\n\nTokyo\n\n## What"


@pytest.mark.claim("greedy-argmax")
@pytest.mark.parametrize("length", LENGTHS)
def test_greedy_takes_the_most_likely_token_at_every_step(
    model: Model, evidence: Evidence, length: int
) -> None:
    texts = probes.decoding.greedy(model, PROMPTS, length)
    evidence["texts"] = [text.text for text in texts]
    for text in texts:
        steps = probes.decoding.step_logits(text)
        assert text.ids[0] == steps.argmax(dim=-1).tolist()


@pytest.mark.claim("greedy-argmax")
def test_what_greedy_chose_is_the_argmax_of_a_forward_pass_of_its_own(
    model: Model, evidence: Evidence
) -> None:
    text = probes.decoding.greedy(model, PROMPTS, 20)[0]
    again = probes.decoding.recomputed(model, text)
    evidence["text"] = text.text
    evidence.update(asdict(again))
    spread = float(probes.decoding.step_logits(text).amax())
    tolerance = probes.determinism.ROUNDING[model.network.dtype] * spread
    assert again.largest_change <= tolerance, "the logits change by more than rounding explains"
    assert again.flips <= again.near_ties


def differences(evidence: Evidence, variations: Iterable[Variation]) -> list[Variation]:
    """What the variations changed, put into the evidence."""
    found = list(variations)
    evidence["variations"] = [asdict(variation) for variation in found]
    return found


@pytest.mark.claim("greedy-deterministic")
def test_five_runs_of_five_are_the_same(model: Model, evidence: Evidence) -> None:
    runs = differences(evidence, probes.determinism.repeated(model, PROMPTS, 20, runs=5))
    evidence["text"] = probes.decoding.greedy(model, PROMPTS, 20)[0].text
    assert len(runs) == 4
    assert not any(run.differences for run in runs)


@pytest.mark.claim("greedy-deterministic")
@pytest.mark.parametrize(
    "variation", ["alone", "doubled", "caches", "attention", "threads", "half_precision"]
)
def test_greedy_text_is_the_same_however_it_is_made(
    model: Model, evidence: Evidence, variation: str
) -> None:
    made = getattr(probes.determinism, variation)(model, PROMPTS, 20)
    found = differences(evidence, made)
    if not found:
        pytest.skip("there is nothing to vary here")
    for each in found:
        assert each.noise <= each.tolerance, (
            f"{each.name}: logits change by {each.noise:.2g}, where rounding explains "
            f"{each.tolerance:.2g}"
        )
        assert each.explained, f"{each.name}: {each.differences[0]}"


def with_and_without_bos(model: Model, evidence: Evidence, country: str, length: int) -> list[str]:
    prompts = [CAPITAL_OF_JAPAN.replace("Japan", c) for c in ("Japan", *CAPITALS)]
    number = ("Japan", *CAPITALS).index(country)
    ids = [model.encode(p) for p in prompts] + [
        model.encode(p, special_tokens=False) for p in prompts
    ]
    texts = probes.decoding.greedy(model, ids, length)
    pair = [texts[number].text, texts[number + len(prompts)].text]
    evidence["with_bos"], evidence["without_bos"] = pair
    return pair


@pytest.mark.claim("bos-changes-text")
@pytest.mark.parametrize("length", LENGTHS)
def test_bos_changes_the_text_and_not_the_answer(
    model: Model, evidence: Evidence, length: int
) -> None:
    with_bos, without = with_and_without_bos(model, evidence, "Japan", length)
    assert with_bos != without
    assert with_bos.strip().startswith("Tokyo")
    assert without.strip().startswith("Tokyo")


@pytest.mark.claim("bos-recorded")
def test_text_without_bos_is_the_published_one(model: Model, evidence: Evidence) -> None:
    ids = model.encode(CAPITAL_OF_JAPAN, special_tokens=False)
    evidence["text"] = text = model.generate(ids, max_new_tokens=20).text
    evidence["published"] = JAPAN_WITHOUT_BOS
    assert text.strip() == JAPAN_WITHOUT_BOS


@pytest.mark.claim("other-countries")
@pytest.mark.parametrize("country", CAPITALS)
def test_bos_changes_other_countries_texts_and_not_their_answers(
    model: Model, evidence: Evidence, country: str
) -> None:
    with_bos, without = with_and_without_bos(model, evidence, country, 60)
    assert with_bos != without
    assert with_bos.strip().startswith(CAPITALS[country])
    assert without.strip().startswith(CAPITALS[country])


@pytest.mark.claim("greedy-repeats")
def test_long_greedy_text_repeats_itself_more_than_sampled_text(
    model: Model, evidence: Evidence
) -> None:
    found = probes.repetition.greedy_against_sampled(
        model, STORIES, length=120, samples=8, seed=SEED
    )
    evidence.update(asdict(found))
    assert found.greedy_distinct < found.sampled_distinct
    assert found.p_value < probes.goodness.ALPHA


@pytest.mark.claim("beam-one")
@pytest.mark.parametrize("prompt", PROMPTS[::2])
def test_one_beam_is_greedy(model: Model, evidence: Evidence, prompt: str) -> None:
    one = probes.decoding.searched(model, prompt, beams=1, length=20)
    greedy = model.generate(prompt, do_sample=False, max_new_tokens=20, min_new_tokens=20)
    evidence["one_beam"], evidence["greedy"] = one.text, greedy.text
    assert one.text == greedy.text


@pytest.mark.claim("beam-likelihood")
@pytest.mark.parametrize("prompt", PROMPTS[::2])
def test_best_of_four_beams_is_no_less_likely_than_greedy(
    model: Model, evidence: Evidence, prompt: str
) -> None:
    greedy = probes.decoding.searched(model, prompt, beams=1, length=20)
    beams = probes.decoding.searched(model, prompt, beams=4, length=20)
    evidence["greedy"], evidence["four_beams"] = asdict(greedy), asdict(beams)
    assert beams.log_probability >= greedy.log_probability - 1e-3
    assert beams.rows > 2 * greedy.rows
