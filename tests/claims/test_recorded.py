"""Claims: recorded outputs."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pytest

from probes import measure, stats
from probes.measure.asking import list_prompts
from probes.schema.evidence.texts import KeptBeams, KeptChats, KeptTexts
from probes.schema.evidence.words import KeptIds
from probes.schema.recorded_output import REMEDY, Recording, list_changes
from probes.stats.near_tie import Finding, OutputStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from probes import Model
    from probes.engines.base import Generation
    from probes.plugin.recordings import Recorded
    from probes.schema.recorded_output import RecordedText

    Greedy = Callable[[int], list[Generation]]

Evidence = dict[str, Any]

LENGTH = 20
CORPUS = "corpus"


@pytest.mark.claim("recorded-texts")
def test_greedy_texts_are_the_recorded_ones(
    model: Model, greedy: Greedy, recorded: Recorded, evidence: Evidence
) -> None:
    texts = dict(zip(list_prompts(model), greedy(LENGTH), strict=True))
    tolerance = stats.rounding.logit_tolerance(
        map(measure.greedy.step_logits, texts.values()), model.facts().dtype
    )
    evidence["tolerance"] = tolerance

    def noise() -> float:
        evidence["noise"] = measured = measure.recorded_outputs.measure_noise(
            model, list_prompts(model), LENGTH
        )
        return measured

    old = recorded.baseline.texts if recorded.baseline else {}
    findings = judge_texts(model, old, texts, tolerance, noise)
    now = {prompt: measure.recorded_outputs.record_text(text) for prompt, text in texts.items()}
    evidence.update(KeptTexts(kept_texts=[*now.values()]).as_evidence())
    decide(recorded, Recording(made=recorded.made, texts=now), findings, evidence)


def judge_texts(
    model: Model,
    old: Mapping[str, RecordedText],
    texts: Mapping[str, Generation],
    tolerance: float,
    noise: Callable[[], float],
) -> list[Finding]:
    """Judge the texts that are recorded, by their prompts."""
    return [
        stats.near_tie.judge_text(
            measure.recorded_outputs.compare_text(model, prompt, old[prompt], text),
            tolerance=tolerance,
            noise=noise,
        )
        for prompt, text in texts.items()
        if prompt in old
    ]


@pytest.mark.claim("recorded-numbers")
def test_numbers_are_the_recorded_ones(
    model: Model, greedy: Greedy, recorded: Recorded, evidence: Evidence
) -> None:
    texts = dict(zip(list_prompts(model), greedy(LENGTH), strict=True))
    now = measure.recorded_outputs.record_numbers(model, texts)
    old = recorded.baseline.numbers if recorded.baseline else {}
    findings = [
        stats.near_tie.judge_number(name, old[name], number.value)
        for name, number in now.items()
        if name in old
    ]
    decide(recorded, Recording(made=recorded.made, numbers=now), findings, evidence)


@pytest.mark.claim("beams-recorded")
def test_beams_are_the_recorded_ones(model: Model, recorded: Recorded, evidence: Evidence) -> None:
    prompts = list_prompts(model)[:2]
    try:
        searched = measure.beams.search_texts(model, prompts)
    except measure.beams.BeamsRefusedError as refusal:
        pytest.skip(f"this version of transformers refuses beam search here: {refusal}")
    found = dict(zip(prompts, searched, strict=True))
    now = {prompt: each.outputs for prompt, each in found.items()}
    closest = {prompt: each.closest for prompt, each in found.items()}
    evidence.update(KeptBeams.of(now, closest).as_evidence())
    tolerance = stats.rounding.logit_tolerance(
        (each.logits for each in found.values()), model.facts().dtype
    )
    # A log-probability moves by up to twice what its logits move by, a mean of several by less.
    explained = min(2 * tolerance, measure.beams.measure_noise(model, [*now.values()]))
    evidence["tolerance"] = explained
    for prompt, each in found.items():
        assert not each.wrong, f"after {prompt!r}: {each.wrong}"
        for beam, own in zip(each.outputs.beams, each.own_scores, strict=True):
            assert abs(beam.score - own) <= explained, (
                f"after {prompt!r} the score of {beam.text!r} is {beam.score:.6g}; the mean of its "
                f"tokens' log-probabilities is {own:.6g} by a pass of its own"
            )
    old = recorded.baseline.beams if recorded.baseline else {}
    findings = [
        finding
        for prompt, beams in now.items()
        if prompt in old
        for finding in stats.near_tie.judge_beams(
            prompt,
            old[prompt],
            beams,
            closest=closest[prompt],
            scores_of_recorded=measure.beams.score_texts(model, old[prompt]),
            explained=explained,
        )
    ]
    decide(recorded, Recording(made=recorded.made, beams=now), findings, evidence)


@pytest.mark.claim("recorded-long")
def test_long_texts_and_their_ends_are_the_recorded_ones(
    model: Model,
    greedy: Greedy,
    recorded: Recorded,
    evidence: Evidence,
    pytestconfig: pytest.Config,
) -> None:
    dear = measure.long_outputs.explain_dear(model)
    if dear and not pytestconfig.option.thorough_claims:
        pytest.skip(f"{dear}: decided under --thorough-claims")
    ids = measure.long_outputs.build_long_text(model)
    along = measure.long_outputs.compute_logits(model, tuple(ids))
    name = measure.long_outputs.NAME
    now_logits = measure.long_outputs.record_logits(model, ids)
    texts = {name: measure.long_outputs.continue_long_text(model, ids)}
    texts |= measure.long_outputs.generate_to_end(model)
    length = measure.long_outputs.find_longest(model, list_prompts(model))
    texts |= dict(zip(list_prompts(model), greedy(length), strict=True))
    tolerance = stats.rounding.logit_tolerance(
        [along, *map(measure.greedy.step_logits, texts.values())], model.facts().dtype
    )
    evidence["tolerance"] = tolerance
    evidence["text_tokens"], evidence["window"] = len(ids), measure.long_outputs.find_window(model)

    def noise() -> float:
        prompts = ((list_prompts(model), length), ([ids], measure.long_outputs.CONTINUED))
        evidence["noise"] = measured = max(
            measure.recorded_outputs.measure_noise(model, *each) for each in prompts
        )
        return measured

    old = recorded.baseline.texts if recorded.baseline else {}
    kept_logits = recorded.baseline.logits.values() if recorded.baseline else ()
    findings = [
        measure.long_outputs.judge_logits(
            each,
            now_logits,
            along,
            tolerance,
            lambda: measure.long_outputs.measure_noise(model, tuple(ids)),
        )
        for each in kept_logits
    ]
    findings += judge_texts(model, old, texts, tolerance, noise)
    now = {
        prompt: measure.recorded_outputs.record_text(text, top=2) for prompt, text in texts.items()
    }
    evidence["ends"] = list_ends(model, now)
    evidence.update(KeptTexts(kept_texts=[*now.values()]).as_evidence())
    outputs = Recording(made=recorded.made, texts=now, logits={name: now_logits})
    decide(recorded, outputs, findings, evidence)


def list_ends(model: Model, texts: Mapping[str, RecordedText]) -> list[dict[str, Any]]:
    """Return the length and the end of each text."""
    return [
        {
            "prompt": prompt,
            "tokens": len(text.ids),
            "ended": bool(text.ids) and text.ids[-1] in model.eos_token_ids,
            "text": text.text,
        }
        for prompt, text in texts.items()
    ]


@pytest.mark.claim("recorded-ids")
def test_ids_are_the_recorded_ones(
    model: Model, recorded_of_tokenizer: Recorded, evidence: Evidence
) -> None:
    encoding = measure.tokenizer_corpus.encode_corpus(model)
    now = measure.tokenizer_corpus.record_ids(model)
    evidence["texts"] = now.count
    evidence.update(KeptIds(corpus_ids=now).as_evidence())
    differing = measure.tokenizer_corpus.find_batch_dependence(model)
    assert not differing, f"alone, {differing[0].describe()}, as in a batch"
    made, baseline = recorded_of_tokenizer.made, recorded_of_tokenizer.baseline
    recording = Recording(made=made, ids={CORPUS: now})
    old = baseline.ids.get(CORPUS) if baseline else None
    if old is None:  # that a batch changes nothing is decided without a record
        evidence["note"] = recorded_of_tokenizer.settle(recording, [])
        return
    change = (
        measure.tokenizer_corpus.describe_change(encoding, old, now)
        if old.texts == now.texts
        else f"ids of other texts are recorded: {REMEDY}"
    )
    status = OutputStatus.CHANGED if change else OutputStatus.SAME
    finding = Finding(CORPUS, status, 0.0, old.digest, now.digest, change)
    decide(recorded_of_tokenizer, recording, [finding], evidence)


@pytest.mark.claim("chat-recorded")
def test_conversations_are_the_recorded_ones(
    model: Model, recorded_of_tokenizer: Recorded, evidence: Evidence
) -> None:
    try:
        chats = measure.chat.render_chats(model)
    except ImportError as error:
        pytest.skip(str(error))
    now = measure.chat.record_chats(model, chats)
    evidence.update(KeptChats(rendered_chats=now).as_evidence())
    evidence["refused_conversations"] = {
        each.conversation: each.refusal for each in chats if each.is_used and each.text is None
    }
    if all(each.text is None and each.own is None for each in chats):
        pytest.skip(f"its template refuses every conversation: {chats[0].refusal}")
    for each in chats:
        complaint = "" if each.is_begun or each.prompt else each.complain()
        assert not complaint, complaint
    made, baseline = recorded_of_tokenizer.made, recorded_of_tokenizer.baseline
    recording = Recording(made=made, chats=now)
    if baseline is None and any(each.own is not None for each in chats):
        # What the template itself says is decided without a record.
        evidence["note"] = recorded_of_tokenizer.settle(recording, [])
        return
    old = {} if baseline is None else baseline.chats
    findings = [
        measure.chat.judge_chat(name, old[name], chat) for name, chat in now.items() if name in old
    ]
    decide(recorded_of_tokenizer, recording, findings, evidence)


def decide(recorded: Recorded, now: Recording, findings: list[Finding], evidence: Evidence) -> None:
    """Hold where rounding explains all there is; never where nothing was compared."""
    evidence["made"] = now.made.model_dump()
    uncompared = recorded.settle(now, findings)
    old = recorded.baseline
    if uncompared or old is None:
        evidence["outputs"] = now.model_dump(
            mode="json", include={"texts", "numbers", "beams", "logits"}
        )
        pytest.skip(uncompared)
    evidence["findings"] = findings
    evidence["largest_share_of_tolerance"] = max((f.share for f in findings), default=0.0)
    evidence["near_ties"] = [f.reason for f in findings if f.holds and f.reason]
    evidence["not_recorded_before"] = sorted(now.names - old.names)
    evidence["unused"] = unused = sorted(old.names - now.names)
    evidence["changed_since"] = since = list_changes(old.made, now.made)
    if unused:
        warnings.warn(f"recorded but unused: {unused}: --snapshot-update removes it", stacklevel=1)
    wrong = [finding.reason for finding in findings if not finding.holds]
    if wrong:
        circumstances = f"since it was recorded: {'; '.join(since) or 'no library changed'}"
        raise AssertionError("\n".join([*wrong, circumstances, f"if that is meant, {REMEDY}"]))
