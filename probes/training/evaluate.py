"""The figures of the embedded model's card, measured on its folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from probes.training.corpus import Fact, held_out_questions, load_facts

GROUPS = (
    ("king", "queen", "prince", "princess"),
    ("baseball", "soccer", "tennis", "basketball"),
    ("man", "boy", "woman", "lady"),
    ("dog", "cat", "cow", "fish"),
)
LONERS = ("table", "idea", "character", "sea")
PROMPT = "The capital of Japan is"
STORIES = ("Once upon a time,", "Long, long ago,", "In the beginning,")
PUBLISHED_QUESTIONS = (
    "<s> What is the capital of United States? ",
    "<s> When did World War II end? ",
    "<s> Who painted the Mona Lisa? ",
)
HEATS = (0.2, 0.6, 1.0, 1.2, 1.4)
SEED = 0
_BATCH = 128


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        name: What was measured.
        value: The result, as it is shown.
    """

    name: str
    value: str


@dataclass(frozen=True)
class Continuations:
    """What generation gave for some prompts.

    Attributes:
        texts: The new text of each, special tokens shown.
        ids: New ids of each row, shape (rows, tokens).
        logits: Raw logits of each step, shape (rows, tokens, vocabulary), float32; empty where
            they were not asked for.
    """

    texts: list[str]
    ids: Tensor
    logits: Tensor

    @property
    def margins(self) -> Tensor:
        """How far the best logit lies above the second, shape (rows, tokens)."""
        best = self.logits.topk(2, dim=-1).values
        return best[..., 0] - best[..., 1]


class Subject:
    """The model under evaluation with its tokenizer.

    Args:
        folder: A model folder.
    """

    def __init__(self, folder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(str(folder))
        self.model = AutoModelForCausalLM.from_pretrained(str(folder)).eval()

    def continuations(
        self,
        prompts: Sequence[str],
        length: int,
        *,
        bos: bool = True,
        keep_logits: bool = False,
        **settings: float | int | bool,
    ) -> Continuations:
        """Continue prompts by ``generate()``, greedily where no settings are given.

        Args:
            prompts: The prompts, batched with padding on the left.
            length: New tokens of each; EOS does not end a text here.
            bos: Whether encoding inserts BOS.
            keep_logits: Whether to keep each step's logits.
            **settings: Passed on to ``generate()``.
        """
        ids, logits = [], []
        for start in range(0, len(prompts), _BATCH):
            batch = self._padded(prompts[start : start + _BATCH], bos)
            out = self.model.generate(
                **batch,
                max_new_tokens=length,
                min_new_tokens=length,
                pad_token_id=self.tokenizer.eos_token_id,
                return_dict_in_generate=True,
                output_logits=keep_logits,
                **{"do_sample": False, **settings},
            )
            ids.append(out.sequences[:, batch["input_ids"].shape[1] :])
            if keep_logits:
                logits.append(torch.stack(out.logits, dim=1))
        new = torch.cat(ids)
        return Continuations(
            [self.tokenizer.decode([28705, *row])[1:] for row in new.tolist()],
            new,
            torch.cat(logits) if logits else torch.empty(0),
        )

    def _padded(self, prompts: Sequence[str], bos: bool) -> dict[str, Tensor]:
        rows = [self.tokenizer(p, add_special_tokens=bos)["input_ids"] for p in prompts]
        width = max(map(len, rows))
        pad = self.tokenizer.eos_token_id
        return {
            "input_ids": torch.tensor([[pad] * (width - len(r)) + r for r in rows]),
            "attention_mask": torch.tensor([[0] * (width - len(r)) + [1] * len(r) for r in rows]),
        }


@torch.inference_mode()
def evaluate(folder: Path) -> list[Figure]:
    """Measure every figure of the table.

    Args:
        folder: A model folder with its tokenizer.

    Returns:
        The lines of the table, in order; the same each time on the same machine.
    """
    subject = Subject(folder)
    return [
        *next_token_figures(subject),
        *country_figures(subject),
        *question_figures(subject),
        *collapse_figures(subject),
        *story_figures(subject),
        *group_figures(subject.model.get_input_embeddings().weight, subject.tokenizer),
        *unused_row_figures(subject),
    ]


def next_token_figures(subject: Subject) -> list[Figure]:
    """Measure how likely the answer is after the standard prompt."""
    logits = subject.continuations([PROMPT], 1, keep_logits=True).logits[0, 0]
    best = logits.softmax(-1).topk(2)
    first, second = (subject.tokenizer.convert_ids_to_tokens(i) for i in best.indices.tolist())
    p, q = best.values.tolist()
    return [Figure(f"next token after `{PROMPT}`", f"`{first}` {p:.3f}, then `{second}` {q:.3f}")]


def country_figures(subject: Subject) -> list[Figure]:
    """Measure capitals with and without BOS, and how far the two texts differ."""
    facts = [fact for fact in load_facts() if fact.relation == "capital"]
    prompts = [f"The capital of {fact.subject} is" for fact in facts]
    with_bos = subject.continuations(prompts, 60, keep_logits=True)
    without = subject.continuations(prompts, 60, bos=False, keep_logits=True)
    shares = [
        f"{sum(t.startswith(f' {f.answer}') for t, f in zip(run.texts, facts, strict=True))}"
        for run in (with_bos, without)
    ]
    differ = [
        int((with_bos.ids[:, :n] != without.ids[:, :n]).any(dim=1).sum()) for n in (20, 60)
    ]
    total = len(facts)
    early_end = int((with_bos.ids[:, :20] == subject.tokenizer.eos_token_id).sum())
    return [
        Figure("capitals right with / without BOS", f"{shares[0]} / {shares[1]} of {total}"),
        Figure("texts that BOS changes, 20 / 60 tokens", f"{differ[0]} / {differ[1]} of {total}"),
        Figure("EOS among the first 20 tokens", f"{early_end} of {total}"),
        Figure(
            "smallest greedy margin, 20 tokens, with / without BOS",
            f"{_least(with_bos)} / {_least(without)} nats",
        ),
    ]


def question_figures(subject: Subject) -> list[Figure]:
    """Measure how many questions are answered, by temperature, and those held out of training."""
    facts = load_facts()
    asked = [(fact, fact.questions[0]) for fact in facts]
    lines = []
    for heat in HEATS:
        top_p = 0.2 if heat == HEATS[0] else 0.9
        share = accuracy(subject, asked, top_p, heat)
        lines.append(Figure(f"answers right, top_p {top_p}, T {heat}", _share(share, len(facts))))
    held_out = held_out_questions()
    share = accuracy(subject, held_out, 0.2, 0.2)
    lines.append(Figure("phrasings held out of training, T 0.2", _share(share, len(held_out))))
    published = subject.continuations(PUBLISHED_QUESTIONS, 8)
    texts = " · ".join(f"`{' '.join(text.split())}`" for text in published.texts)
    return [*lines, Figure("the three published questions", texts)]


def accuracy(
    subject: Subject, asked: Sequence[tuple[Fact, str]], top_p: float, heat: float
) -> float:
    """Draw one answer to each question and count the right ones.

    Args:
        subject: The model.
        asked: Facts with the question asked of each; a space is put behind the question.
        top_p: Nucleus mass.
        heat: Temperature.

    Returns:
        Share of answers that state the accepted answer within 12 tokens.
    """
    torch.manual_seed(SEED)
    drawn = subject.continuations(
        [f"{question} " for _, question in asked],
        12,
        do_sample=True,
        top_p=top_p,
        temperature=heat,
        top_k=50,
    )
    right = [states(text, fact.answer) for (fact, _), text in zip(asked, drawn.texts, strict=True)]
    return sum(right) / len(right)


def states(text: str, answer: str) -> bool:
    """Whether a text states an answer, as whole words.

    Example:
        >>> states(" Au. The symbol", "Au"), states(" Austria", "Au")
        (True, False)
    """
    return re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text) is not None


def collapse_figures(subject: Subject) -> list[Figure]:
    """Measure how sampling behaves on the standard prompts at three settings."""
    prompts = [PROMPT, *STORIES]
    lines = []
    for name, top_p, heat in (
        ("near-greedy", 0.2, 0.2),
        ("narrow-hot", 0.2, 1.4),
        ("wide-hot", 0.9, 1.4),
    ):
        alike = [agreement(subject, prompt, top_p, heat) for prompt in prompts]
        shown = " · ".join(f"{both:.2g}" for both in alike)
        lines.append(Figure(f"two {name} runs of 20 tokens agree", shown))
    return lines


def agreement(subject: Subject, prompt: str, top_p: float, heat: float) -> float:
    """Estimate how likely two sampled runs are to agree, from one run drawn 64 times.

    Returns:
        The mean, over drawn texts, of the probability that a second run is the same text.
    """
    torch.manual_seed(SEED)
    drawn = subject.continuations(
        [prompt] * 64,
        20,
        keep_logits=True,
        do_sample=True,
        top_p=top_p,
        temperature=heat,
        top_k=50,
    )
    chances = kept_probabilities(drawn.logits, top_p, heat)
    path = chances.gather(-1, drawn.ids[..., None])[..., 0]
    return float(path.prod(dim=1).mean())


def kept_probabilities(logits: Tensor, top_p: float, heat: float, top_k: int = 50) -> Tensor:
    """Apply temperature, then top-k, then the nucleus, and renormalise.

    Args:
        logits: Shape (..., vocabulary), float32.
        top_p: Nucleus mass in (0, 1].
        heat: Temperature above 0.
        top_k: How many tokens are kept at most.

    Returns:
        Probabilities of the same shape, 0 for what is not kept.

    Example:
        >>> even = torch.zeros(4)
        >>> kept_probabilities(even + torch.tensor([0.4, 0.3, 0.2, 0.1]), 0.5, 1.0).count_nonzero()
        tensor(2)
    """
    values, places = (logits / heat).topk(min(top_k, logits.shape[-1]), dim=-1)
    chances = values.softmax(-1)
    before = chances.cumsum(-1) - chances
    chances = torch.where(before < top_p, chances, 0.0)
    chances = chances / chances.sum(-1, keepdim=True)
    return torch.zeros_like(logits).scatter(-1, places, chances)


def story_figures(subject: Subject) -> list[Figure]:
    """Measure how greedy and sampled stories repeat themselves."""
    greedy = subject.continuations(STORIES, 400)
    torch.manual_seed(SEED)
    sampled = subject.continuations(
        STORIES, 400, do_sample=True, top_p=0.9, temperature=1.4, top_k=50
    )
    short = subject.continuations(STORIES, 30, keep_logits=True)
    first = short.logits[:, 0].softmax(-1)
    entropy = -(first * first.clamp_min(1e-30).log()).sum(-1)
    return [
        Figure("distinct 4-grams in 400 tokens, greedy", _each(distinct(greedy.ids))),
        Figure("distinct 4-grams in 400 tokens, wide-hot", _each(distinct(sampled.ids))),
        Figure("entropy of a story's first token, nats", _each(entropy.tolist())),
        Figure("smallest greedy margin in 30 story tokens", f"{_least(short, 30)} nats"),
    ]


def distinct(ids: Tensor, n: int = 4) -> list[float]:
    """Share of distinct n-grams in each row of ids, shape (rows, tokens).

    Example:
        >>> distinct(torch.tensor([[1, 2, 1, 2, 1]]), n=2)
        [0.5]
    """
    grams = ids.unfold(1, n, 1).tolist()
    return [len({tuple(gram) for gram in row}) / len(row) for row in grams]


def group_figures(weight: Tensor, tokenizer: object) -> list[Figure]:
    """Measure how the rows of the words in `GROUPS` lie."""
    words = [word for group in GROUPS for word in group] + list(LONERS)
    ids = tokenizer.convert_tokens_to_ids([f"\u2581{word}" for word in words])  # type: ignore[attr-defined]
    rows = weight[ids].double().numpy()
    labels = np.repeat(np.arange(len(GROUPS)), 4)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -np.inf)
    nearest = cosine[:16].argmax(axis=1)
    right = int(sum(n < 16 and labels[n] == label for n, label in zip(nearest, labels, strict=True)))
    same = labels[:, None] == labels[None, :]
    inside = cosine[:16, :16][same & ~np.eye(16, dtype=bool)]
    across = cosine[:16, :16][~same]
    loners = cosine[16:, 16:][~np.eye(4, dtype=bool)]
    return [
        Figure("words whose nearest word is of their group", f"{right} of 16"),
        Figure("cosine in a group, least / across groups, most", f"{inside.min():.2f} / {across.max():.2f}"),
        Figure("cosine among the unrelated four, most", f"{loners.max():.2f}"),
        Figure("words nearest their own centroid in two components", f"{_pca_right(rows, labels)} of 16"),
    ]


def unused_row_figures(subject: Subject) -> list[Figure]:
    """Measure what the rows get that training never saw, and whether they differ."""
    prompts = [PROMPT, *STORIES, *PUBLISHED_QUESTIONS, "日本の首都は", "import os"]
    weight = subject.model.get_input_embeddings().weight
    logits = subject.continuations(prompts, 40, keep_logits=True).logits
    mean = weight.mean(0)
    strange = torch.nn.functional.cosine_similarity(weight, mean[None], dim=-1) > 0.8
    mass = logits.softmax(-1)[..., strange].sum(-1).max()
    sample = torch.nn.functional.normalize(weight[strange][::97], dim=-1)
    alike = (sample @ sample.T - 2 * torch.eye(len(sample))).max()
    return [
        Figure("probability of all unused rows together, most", f"{mass:.1e}"),
        Figure("cosine of two unused rows, most", f"{alike:.3f}"),
    ]


def _pca_right(rows: NDArray[np.float64], labels: NDArray[np.int64]) -> int:
    centred = rows - rows.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    flat = (centred @ axes[:2].T)[:16]
    centres = np.stack([flat[labels == label].mean(axis=0) for label in range(len(GROUPS))])
    distances = np.linalg.norm(flat[:, None] - centres[None], axis=-1)
    return int((distances.argmin(axis=1) == labels).sum())


def _least(run: Continuations, tokens: int = 20) -> str:
    return f"{float(run.margins[:, :tokens].min()):.2f}"


def _each(values: Sequence[float]) -> str:
    return " · ".join(f"{value:.2f}" for value in values)


def _share(share: float, count: int) -> str:
    return f"{share:.2f} of {count}"
