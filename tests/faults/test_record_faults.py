"""Faults that recorded outputs must find, and changes that they must let pass."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import probes
from probes.data import published
from probes.data.tokenizer_texts import PROMPTS
from probes.measure import determinism, embeddings, recorded_outputs
from probes.measure.greedy import generate_greedy, step_logits
from probes.plugin import recordings
from probes.results.environment import describe_environment
from probes.schema.recorded_output import Recording, describe_provenance, parse_recording
from probes.stats.near_tie import judge_text
from probes.stats.rounding import logit_tolerance
from probes.targets.preflight import preflight
from probes.targets.resolve import resolve
from tests.claims import test_greedy as greedy
from tests.claims import test_loading as loading
from tests.claims import test_recorded as claims

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from probes import Model
    from probes.engines.base import Generation

    Fault = Callable[[Model], None]

CHECKS = [claims.test_greedy_texts_are_the_recorded_ones, claims.test_numbers_are_the_recorded_ones]


def texts(model: Model) -> list[Generation]:
    return generate_greedy(model, PROMPTS, claims.LENGTH)


@pytest.fixture(scope="module")
def sound() -> Recording:
    """What the sound model gives, in float32 and with one thread."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model = probes.Model(preflight(resolve("embedded")))
        found = dict(zip(PROMPTS, texts(model), strict=True))
    finally:
        torch.set_num_threads(before)
    facts = model.facts()
    return Recording(
        made=describe_provenance(facts, describe_environment(facts.device), batch=len(PROMPTS)),
        texts={name: recorded_outputs.record_text(text) for name, text in found.items()},
        numbers=recorded_outputs.record_numbers(model, found),
    )


def decided(check: Callable[..., None], model: Model, sound: Recording) -> dict[str, Any]:
    """Decide a claim about recorded outputs against what the sound model gave."""
    part: dict[str, Any] = {"texts": {}} if "numbers" in check.__name__ else {"numbers": {}}
    baseline = sound.model_copy(update=part)
    now = describe_provenance(model.facts(), describe_environment(), batch=len(PROMPTS))
    recorded = recordings.Recorded(now, baseline, updating=False, file=Path("never-written"))
    evidence: dict[str, Any] = {}
    check(model, lambda _: texts(model), recorded, evidence)
    return evidence


def red(check: Callable[..., None], model: Model, sound: Recording, match: str) -> None:
    with pytest.raises(AssertionError, match=match):
        decided(check, model, sound)


# --- what must pass ------------------------------------------------------------------------------


@pytest.fixture
def two_threads() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("check", CHECKS)
def test_recording_of_one_thread_holds_with_two(
    own_model: Model, sound: Recording, two_threads: None, check: Callable[..., None]
) -> None:
    evidence = decided(check, own_model, sound)
    assert evidence["largest_share_of_tolerance"] < 0.1
    assert evidence["near_ties"] == []


def test_shipped_recordings_hold_in_their_environment(sound: Recording) -> None:
    folder = Path(claims.__file__).parent / recordings.SHIPPED / "test_recorded"
    files = sorted(folder.glob(f"*[[]{sound.made.key}].json"))
    if not files:
        pytest.skip(f"nothing is recorded for {sound.made.words}")
    found = [parse_recording(file.read_text(encoding="utf-8"), file.name) for file in files]
    assert sound.names <= set().union(*(recording.names for recording in found))
    model_files = {recording.made.circumstances["model files"] for recording in found}
    assert model_files == {sound.made.circumstances["model files"]}


def test_bfloat16_texts_hold_or_name_their_near_tie(own_model: Model, sound: Recording) -> None:

    found = texts(own_model.variant(dtype="bfloat16"))
    tolerance = logit_tolerance(map(step_logits, found), "bfloat16")
    (variation,) = determinism.vary_precision(own_model, PROMPTS, claims.LENGTH)
    for prompt, text in zip(PROMPTS, found, strict=True):
        finding = judge_text(
            recorded_outputs.compare_text(own_model, prompt, sound.texts[prompt], text),
            tolerance=tolerance,
            noise=lambda: variation.noise,
        )
        assert finding.holds, finding.reason
        assert 0 < finding.share < 1
        assert (finding.recorded != finding.now) == ("a near-tie" in finding.reason)


def test_flipped_near_tie_holds_and_is_named(own_model: Model) -> None:
    """Two tokens are equally likely at the last step: one was recorded, the other comes now."""
    text = texts(own_model)[0]
    last = step_logits(text)[-1]
    first, second = last.topk(2).indices.tolist()
    last[second] = last[first]
    recorded = recorded_outputs.record_text(text)
    text.ids[0][-1] = second
    compared = recorded_outputs.compare_text(own_model, "Japan", recorded, text)
    found = judge_text(compared, tolerance=1e-3, noise=lambda: 1e-5)
    assert (found.outcome.value, found.holds) == ("near-tie", True)
    assert f"token {claims.LENGTH - 1} is {own_model.decode([second])!r}" in found.reason


# --- what must fail ------------------------------------------------------------------------------


def noisy(name: str) -> Fault:
    """One per cent of noise on every matrix whose name contains this."""

    def spoil(model: Model) -> None:
        import torch

        generator = torch.Generator().manual_seed(0)
        for full, weight in model.network.named_parameters():
            if name in full and weight.dim() == 2:
                noise = torch.randn(weight.shape, generator=generator)
                weight.data += 0.01 * weight.data.std() * noise

    return spoil


def without_position(model: Model) -> None:
    model.network.model.rotary_emb.inv_freq.zero_()


def broken_logits(model: Model) -> None:
    model.network.model.norm.weight.data[0] = float("nan")


LAYERS = [f"layers.{number}." for number in range(4)]


@pytest.mark.parametrize(
    "fault", [*map(noisy, LAYERS), without_position], ids=[*LAYERS, "no positions"]
)
def test_texts_catch_changed_weights(own_model: Model, sound: Recording, fault: Fault) -> None:
    fault(own_model)
    red(CHECKS[0], own_model, sound, "times what rounding explains")


@pytest.mark.parametrize(
    "fault",
    [noisy(LAYERS[0]), noisy(LAYERS[3]), without_position],
    ids=[LAYERS[0], LAYERS[3], "no positions"],
)
def test_numbers_catch_changed_weights(own_model: Model, sound: Recording, fault: Fault) -> None:
    """These are fewer and coarser: a layer whose noise leaves the first tokens alone passes."""
    fault(own_model)
    red(CHECKS[1], own_model, sound, "times the drift tolerated")


@pytest.mark.parametrize("check", CHECKS)
def test_nan_logits_are_caught(
    own_model: Model, sound: Recording, check: Callable[..., None]
) -> None:
    broken_logits(own_model)
    red(check, own_model, sound, "are no distribution: 32,000 of 32,000 are NaN")


@pytest.mark.parametrize("matrix", ["layers.1.mlp.up_proj", "layers.1.self_attn.k_proj"])
def test_texts_catch_noise_on_least_influential_matrices(
    own_model: Model, sound: Recording, matrix: str
) -> None:
    """Of the 28 matrices these move logits least: by 4 to 5 times what rounding explains."""
    noisy(matrix)(own_model)
    red(CHECKS[0], own_model, sound, "times what rounding explains")


def test_similarities_catch_a_moved_row(own_model: Model, sound: Recording) -> None:
    (king,) = embeddings.word_ids(own_model, "king")
    own_model.embedding()[king] *= own_model.embedding().new_tensor([1.0, 1.01]).repeat(64)
    red(CHECKS[1], own_model, sound, "cosine of 'king' and 'queen' is .* times the drift tolerated")


def test_texts_catch_another_token(
    own_model: Model, sound: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A choice that is not the most likely: the logits are right, and the text is not."""
    monkeypatch.setattr(recorded_outputs, "measure_noise", lambda *_: 1e-5)
    text = texts(own_model)[0]
    text.ids[0][3] = sound.texts[PROMPTS[0]].top_ids[3][1]
    red(CHECKS[0], own_model, sound, "token 3 is .* no near-tie where noise moves each by")


def test_texts_catch_another_length(own_model: Model, sound: Recording) -> None:
    name, last = PROMPTS[0], claims.LENGTH - 1
    old = sound.texts[name]
    shorter = old.model_copy(
        update={key: getattr(old, key)[:last] for key in ("ids", "top_ids", "top_logits")}
    )
    ended = sound.model_copy(update={"texts": sound.texts | {name: shorter}})
    red(
        CHECKS[0],
        own_model,
        ended,
        f"goes on with 'Japan' after {last} tokens, where the recorded one ends",
    )


def test_texts_catch_other_prompt_ids(own_model: Model, sound: Recording) -> None:
    texts(own_model)[0].prompt_ids.insert(1, 28705)
    red(CHECKS[0], own_model, sound, "has other token ids than were recorded")


def test_numbers_catch_a_wrong_recording(own_model: Model, sound: Recording) -> None:
    name = f"entropy after {PROMPTS[0]!r}"
    wrong = sound.numbers[name].model_copy(update={"value": sound.numbers[name].value + 0.1})
    numbers = sound.model_copy(update={"numbers": sound.numbers | {name: wrong}})
    red(CHECKS[1], own_model, numbers, "entropy after .* times the drift tolerated \\(rounding")


def test_finding_names_what_changed_since_recording(own_model: Model, sound: Recording) -> None:
    then = sound.made.model_copy(
        update={"circumstances": sound.made.circumstances | {"transformers": "4.46.0"}}
    )
    noisy(LAYERS[0])(own_model)
    old = sound.model_copy(update={"made": then})
    red(CHECKS[0], own_model, old, r"since it was recorded: transformers 4\.46\.0 then, .* now")


# --- published texts -----------------------------------------------------------------------------


def test_published_text_finding_names_first_difference(own_model: Model) -> None:
    expected = published.find_text("default-text")
    text = own_model.generate(expected.prompt, output_logits=True)
    found = recorded_outputs.judge_published_text(own_model, expected, text)
    assert found.outcome.value == "changed"
    assert found.reason.startswith(
        "after 'The capital of Japan is' token 9 is 'country', recorded 'world': their logits lie "
    )
    own = expected.model_copy(update={"text": text.text.strip().replace(". ", ".\n")})
    assert recorded_outputs.judge_published_text(own_model, own, text).outcome.value == "same"


@pytest.mark.parametrize(
    ("check", "name"),
    [
        (loading.test_default_continuation_is_the_published_one, "default-text"),
        (greedy.test_text_without_bos_is_the_published_one, "bos-recorded"),
    ],
)
def test_published_texts_hold_only_when_generated(
    own_model: Model,
    monkeypatch: pytest.MonkeyPatch,
    check: Callable[[Model, dict[str, Any]], None],
    name: str,
) -> None:
    expected = published.find_text(name)
    ids = own_model.encode(expected.prompt, add_special_tokens=expected.special_tokens)
    own = own_model.generate(ids, max_new_tokens=expected.tokens, do_sample=False).text.strip()
    known = [expected.model_copy(update={"text": text}) for text in (own, f"Not {own}")]
    monkeypatch.setattr(published, "find_text", lambda _: known[0])
    check(own_model, {})
    monkeypatch.setattr(published, "find_text", lambda _: known[1])
    with pytest.raises(AssertionError, match="token 0 is 'Tokyo', recorded 'Not'"):
        check(own_model, {})


def test_published_text_holds_at_a_near_tie(own_model: Model) -> None:
    """As by another kernel: the published token is all but as likely as the one chosen."""
    expected = published.find_text("default-text")
    text = own_model.generate(expected.prompt, output_logits=True)
    (world,) = own_model.encode("world", add_special_tokens=False)
    logits = step_logits(text)[9]
    logits[world] = logits[text.ids[0][9]] - 1e-6
    found = recorded_outputs.judge_published_text(own_model, expected, text)
    assert (found.outcome.value, found.holds) == ("near-tie", True)
