"""Memory does not grow with the number of samples, measured in a separate process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ALLOWED = 160
"""MiB by which more samples may raise the peak: what an allocator keeps."""

MEASURE = """
import json
from pathlib import Path

import probes
from probes.measure import sampling_fit as draws
from probes.measure import knowledge
from probes.measure import variety
from probes.measure.asking import ask
from probes.measure.greedy import generate_greedy
from probes.data.questions import built_in_questions
from probes.schema.sampling import NEAR_GREEDY, WIDE_HOT, Sampling

model, story = probes.load("embedded"), "Once upon a time,"
few = Sampling(temperature=1.4, top_k=5)
texts = generate_greedy(model, [story], 20)
knowledge.WIDTH = 8  # what is expected of answers takes no more for more of them


def first(count):
    draws.fit_first_tokens(model, story, WIDE_HOT, count=count, seed=1, most_likely=256)


def whole(count):
    draws.fit_first_tokens(model, story, WIDE_HOT, count=count, seed=1)


def pairs(count):
    draws.fit_token_pairs(model, story, few, count=count, seed=1)


def samples(count):
    variety.sample_texts(model, [story, "Once"], WIDE_HOT, samples=count, length=20, seed=1)


def runs(count):
    variety.count_reproductions(model, texts, NEAR_GREEDY, runs=count, seed=1)


def answers(count):
    for seed in range(count):
        knowledge.sample_answers(model, ask(model, built_in_questions()), WIDE_HOT, seed)


def peak(draw, count):
    Path("/proc/self/clear_refs").write_text("5")
    draw(count)
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


peaks = {}
for draw, normal, many in (
    (first, 20_000, 60_000),
    (whole, 300, 800),
    (pairs, 20_000, 60_000),
    (samples, 16, 36),
    (runs, 5, 100),
    (answers, 1, 3),
):
    peaks[draw.__name__] = peak(draw, normal), peak(draw, many)
print(json.dumps(peaks))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux reports a peak")
def test_memory_does_not_grow_with_samples() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    peaks: dict[str, tuple[int, int]] = json.loads(done.stdout)
    assert len(peaks) == 6
    grown = {name: many - normal for name, (normal, many) in peaks.items()}
    assert not {name: by for name, by in grown.items() if by > ALLOWED}, peaks
    assert max(many for _, many in peaks.values()) < 1500
