"""Memory does not grow with the number of samples, measured in a separate process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.warm_process import call_apart

ALLOWED = 160
"""MiB by which more samples may raise the peak: what an allocator keeps."""


def measure_peaks() -> dict[str, tuple[int, int]]:
    """Return the peak with few and with more samples, in MiB, by what is drawn."""
    import probes
    from probes.data.questions import built_in_questions
    from probes.measure import knowledge, sampling_fit, variety
    from probes.measure.asking import ask
    from probes.measure.greedy import generate_greedy
    from probes.measure.row_sampling import sample_texts
    from probes.schema.sampling import WIDE_HOT, Sampling

    model, story = probes.load("embedded"), "Once upon a time,"
    few = Sampling(temperature=1.4, top_k=5)
    texts = generate_greedy(model, [story], 20)
    knowledge.WIDTH = 8  # what is expected of answers takes no more for more of them

    def first(count: int) -> None:
        sampling_fit.fit_first_tokens(model, story, WIDE_HOT, count=count, seed=1, most_likely=256)

    def whole(count: int) -> None:
        sampling_fit.fit_first_tokens(model, story, WIDE_HOT, count=count, seed=1)

    def pairs(count: int) -> None:
        sampling_fit.fit_token_pairs(model, story, few, count=count, seed=1)

    def samples(count: int) -> None:
        sample_texts(model, [story, "Once"], [WIDE_HOT], samples=count, length=20, seed=1)

    def runs(count: int) -> None:
        variety.count_reproductions(model, texts, WIDE_HOT, runs=count, seed=1)

    def answers(count: int) -> None:
        for seed in range(count):
            knowledge.sample_answers(model, ask(model, built_in_questions()), WIDE_HOT, seed)

    kinds: list[tuple[Callable[[int], None], int, int]] = [
        (first, 20_000, 60_000),
        (whole, 300, 800),
        (pairs, 20_000, 60_000),
        (samples, 8, 28),
        (runs, 5, 80),
        (answers, 1, 3),
    ]
    return {draw.__name__: (peak(draw, normal), peak(draw, many)) for draw, normal, many in kinds}


def peak(draw: Callable[[int], None], count: int) -> int:
    """Return the peak of a process's memory while it draws, in MiB."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    draw(count)
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux reports a peak")
def test_memory_does_not_grow_with_samples() -> None:
    peaks: dict[str, tuple[int, int]] = call_apart(measure_peaks)
    assert len(peaks) == 6
    grown = {name: many - normal for name, (normal, many) in peaks.items()}
    assert not {name: by for name, by in grown.items() if by > ALLOWED}, peaks
    assert max(many for _, many in peaks.values()) < 1500
