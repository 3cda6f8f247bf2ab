"""One suite for every engine, and for the toy with each capability switched off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import probes
from probes.engines.base import ARGUMENTS, PROTOCOLS
from probes.errors import MissingCapabilityError
from probes.schema.claim import CAPABILITIES, NEEDS, catalogue
from probes.schema.record import TargetFacts
from probes.schema.sampling import Sampling
from tests.support.stub_server import Stub, connect_to

OPTIONAL = sorted(
    {*CAPABILITIES} - {"model", "weights", "variants", "beam-search", "timing", "streams", "server"}
)
ENGINES = ["transformers", "toy", "stub server", *(f"toy without {name}" for name in OPTIONAL)]
TEXT = "abcdabcd"
PROMPTS = ["a", TEXT]
HOT = Sampling(temperature=2.0, top_k=0)


def make_toy(*without: str) -> Any:
    from probes.engines.toy import ToyEngine

    return ToyEngine(without)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Any:
    if request.param == "transformers":
        return probes.load("embedded")
    if request.param == "stub server":
        return request.getfixturevalue("served_toy")
    return make_toy(*request.param.split()[2:])


@pytest.fixture(scope="module")
def served_toy() -> Iterator[Any]:
    with connect_to(Stub(make_toy())) as engine:
        yield engine


def need(engine: Any, *capabilities: str) -> None:
    """Leave out a test of capabilities that the engine does not offer."""
    for capability in capabilities:
        if capability not in engine.capabilities:
            pytest.skip(str(engine.explain_missing(capability)))


# --- what every engine offers -------------------------------------------------------------------


def test_greedy_generation_is_repeatable(engine: Any) -> None:
    first, again = (engine.generate(TEXT, do_sample=False, max_new_tokens=5) for _ in "12")
    assert first.text == again.text
    assert (first.prompt_ids, first.ids) == (again.prompt_ids, again.ids)
    assert 1 <= len(first.ids[0]) <= 5


def test_batch_continues_each_prompt_as_if_alone(engine: Any) -> None:
    together = engine.generate_batch(PROMPTS, do_sample=False, max_new_tokens=5)
    alone = [engine.generate(prompt, do_sample=False, max_new_tokens=5) for prompt in PROMPTS]
    assert [each.ids for each in together] == [each.ids for each in alone]


def test_draws_repeat_with_the_seed_and_differ_among_themselves(engine: Any) -> None:
    settings: dict[str, Any] = {"sampling": HOT, "num_return_sequences": 8, "max_new_tokens": 6}
    found = engine.generate(TEXT, seed=1, **settings)
    assert engine.generate(TEXT, seed=1, **settings).texts == found.texts
    assert len(found.texts) == len(found.ids) == 8
    assert len(set(map(tuple, found.ids))) > 1


def test_facts_describe_the_target(engine: Any) -> None:
    facts = engine.facts()
    assert isinstance(facts, TargetFacts)
    assert TargetFacts.model_validate_json(facts.model_dump_json()) == facts


def test_cost_grows_with_generation(engine: Any) -> None:
    before = engine.cost
    engine.generate_batch(PROMPTS, max_new_tokens=2, do_sample=False)
    assert engine.cost.forward_passes > before.forward_passes
    assert engine.cost.rows >= before.rows + len(PROMPTS)


# --- capabilities that are missing --------------------------------------------------------------


@pytest.mark.parametrize("name", NEEDS)
def test_missing_need_has_a_reason_in_one_line(engine: Any, name: str) -> None:
    reason = engine.explain_missing(name)
    if name in engine.capabilities:
        assert reason is None
    elif name in CAPABILITIES:
        assert reason
        assert "\n" not in reason
        assert name in reason


@pytest.mark.parametrize("capability", PROTOCOLS)
def test_members_exist_exactly_where_the_capability_does(engine: Any, capability: str) -> None:
    for member in (name for name in vars(PROTOCOLS[capability]) if not name.startswith("_")):
        assert hasattr(engine, member) is (capability in engine.capabilities)
        if capability not in engine.capabilities:
            with pytest.raises(MissingCapabilityError) as refused:
                getattr(engine, member)
            assert str(refused.value) == engine.explain_missing(capability)


def test_generate_refuses_what_needs_a_missing_capability(engine: Any) -> None:
    asked: list[tuple[str, Any, dict[str, Any]]] = [
        *((capability, TEXT, {name: 2}) for name, capability in ARGUMENTS.items()),
        ("token-ids", [0, 2], {}),
    ]
    for capability, prompt, arguments in asked:
        if capability not in engine.capabilities:
            with pytest.raises(MissingCapabilityError, match=capability):
                engine.generate(prompt, **arguments)


@pytest.mark.parametrize("capability", OPTIONAL)
def test_claims_are_not_applicable_without_their_capability(capability: str) -> None:
    toy = make_toy(capability)
    for claim in catalogue().values():
        reasons = [toy.explain_missing(each) for each in claim.needs]
        assert (capability in claim.needs) <= any(f"offer {capability}:" in str(r) for r in reasons)


# --- capabilities -------------------------------------------------------------------------------


def test_tokenizer_returns_the_text(engine: Any) -> None:
    need(engine, "tokenizer")
    ids = engine.encode(TEXT, add_special_tokens=False)
    assert engine.decode(ids) == TEXT
    assert len(engine.tokens(ids)) == len(ids)
    special = engine.encode(TEXT)
    assert set(special) - set(ids) <= set(engine.special_token_ids)
    assert engine.decode(special, skip_special_tokens=True) == TEXT
    assert engine.encode_prompt(TEXT) == special


def test_ids_as_prompt_are_taken_as_they_are(engine: Any) -> None:
    need(engine, "tokenizer", "token-ids")
    ids = engine.encode(TEXT)
    of_ids, of_text = (engine.generate(each, max_new_tokens=4) for each in (ids, TEXT))
    assert of_ids.prompt_ids == ids
    assert of_ids.ids == of_text.ids


def test_logits_are_the_same_by_every_way(engine: Any) -> None:
    need(engine, "logits", "tokenizer", "config")
    ids = engine.encode(TEXT)
    logits = engine.logits(TEXT)
    assert logits.shape == (len(ids), engine.vocab_size)
    batch = engine.logits_batch(PROMPTS)
    assert batch[1].allclose(logits, atol=1e-3)
    after = engine.logits_after(ids[:-2], [ids[-2:], ids[-2:]])
    assert after.shape == (2, 2, engine.vocab_size)
    assert after[1].allclose(logits[-2:], atol=1e-3)


def test_branches_have_the_logits_of_their_whole_texts(engine: Any) -> None:
    need(engine, "logits", "tokenizer")
    follow = engine.follow_branches()
    prompts = [engine.encode(prompt) for prompt in PROMPTS]
    token = prompts[0][-1]
    grown = [[*prompts[1], token], [*prompts[0], token], [*prompts[1], token + 1]]
    for texts in (
        prompts,
        grown,
        [[*grown[2], token]],
        prompts[:1],
        grown[:2],
        [[*prompts[0]] * 2],
    ):
        expected = [engine.logits(ids)[-1] for ids in texts]
        for found, one in zip(follow(texts), expected, strict=True):
            assert found.cpu().allclose(one, atol=1e-3)


def test_prompts_that_are_not_computed_again_give_the_same_texts(engine: Any) -> None:
    need(engine, "logits", "token-ids")
    settings: dict[str, Any] = {"max_new_tokens": 5, "seed": 1, "sampling": HOT}
    expected = engine.generate_batch(PROMPTS, **settings)
    engine.follow_branches()([engine.encode(prompt) for prompt in PROMPTS])
    reused = engine.reuse_prompts(PROMPTS)
    assert bool(reused) is (engine.name == "transformers")
    found = engine.generate_batch(PROMPTS, **settings, **reused)
    assert [each.ids for each in found] == [each.ids for each in expected]
    assert engine.reuse_prompts(PROMPTS[::-1]) == {}


def test_greedy_takes_the_argmax_of_the_logits(engine: Any) -> None:
    need(engine, "logits")
    found = engine.generate(
        TEXT, do_sample=False, max_new_tokens=4, output_logits=True, output_scores=True
    )
    assert found.logits[0].argmax(dim=-1)[: len(found.ids[0])].tolist() == found.ids[0]
    assert found.scores.shape == found.logits.shape
    assert found.logits[0, 0].allclose(engine.logits(TEXT)[-1], atol=1e-3)


def test_top_logprobs_list_the_most_likely_tokens(engine: Any) -> None:
    need(engine, "logprobs")
    found = engine.generate(TEXT, do_sample=False, max_new_tokens=4, top_logprobs=3)
    (steps,) = found.top_logprobs
    assert [step.ids[0] for step in steps] == found.ids[0]
    assert all(step.logprobs[0] == step.chosen for step in steps)
    assert all(step.logprobs == sorted(step.logprobs, reverse=True) for step in steps)
    assert {len(step.ids) for step in steps} == {3}


def test_prompt_logprobs_score_each_token_of_a_text(engine: Any) -> None:
    need(engine, "prompt-logprobs", "logits", "tokenizer")
    ids = engine.encode(TEXT)
    found = engine.prompt_logprobs(TEXT, 2)
    assert len(found) == len(ids) - 1
    expected = engine.logits(TEXT).double().log_softmax(dim=-1)
    chosen = [float(row[token]) for row, token in zip(expected, ids[1:], strict=False)]
    assert [step.chosen for step in found] == pytest.approx(chosen)
    assert [step.ids[0] for step in found] == expected[:-1].argmax(dim=-1).tolist()


def test_processors_change_the_scores(engine: Any) -> None:
    need(engine, "processors", "logits")

    def allow_one(_: Any, scores: Any) -> Any:
        scores = scores.clone()
        scores[:, :3], scores[:, 4:] = -float("inf"), -float("inf")
        return scores

    found = engine.generate(TEXT, max_new_tokens=3, do_sample=False, logits_processor=[allow_one])
    assert found.ids == [[3, 3, 3]]


def test_chat_answers_messages(engine: Any) -> None:
    need(engine, "chat")
    found = engine.chat([{"role": "user", "content": TEXT}], max_new_tokens=3)
    assert len(found.texts) == 1


def test_chat_continues_the_ids_of_its_prompt(engine: Any) -> None:
    need(engine, "chat")
    messages = [{"role": "user", "content": TEXT}]
    found = engine.chat(messages, max_new_tokens=3)
    assert found.prompt_ids == engine.encode_chat(messages)


def test_variant_with_the_same_settings_is_itself(engine: Any) -> None:
    need(engine, "variants")
    assert engine.variant() is engine
    assert engine.variant(quantization="none") is engine
    bf16 = engine.variant(dtype="bfloat16")
    assert bf16 is engine.variant(dtype="bfloat16")
    assert bf16.facts().dtype == "bfloat16"


def test_counting_can_be_paused(engine: Any) -> None:
    need(engine, "timing")
    before = engine.cost
    with engine.pause_counting():
        engine.generate(TEXT, max_new_tokens=1)
    assert engine.cost == before
