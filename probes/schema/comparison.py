"""What a comparison of two records holds. ``docs/upgrades.md`` explains what is found."""

from __future__ import annotations

from collections import Counter
from enum import Enum
from typing import Literal

from pydantic import JsonValue

from probes.errors import UserError, did_you_mean
from probes.schema.base import Stored
from probes.schema.evidence.quantization import QuantizationCost
from probes.schema.record import Verdict

FORMAT: Literal[1] = 1


class Outcome(str, Enum):
    """The result for a claim, or for a part of its evidence, from one run to another.

    They are shown in this order: what needs attention comes first.
    """

    NEWLY_FAILING = "newly failing"
    CHANGED = "changed"
    DRIFTED = "drifted"
    REMOVED = "removed"
    NOT_COMPARABLE = "not comparable"
    FIXED = "fixed"
    ADDED = "added"
    SAME = "same"

    @property
    def option(self) -> str:
        """Its spelling on the command line.

        >>> Outcome.NEWLY_FAILING.option
        'newly-failing'
        """
        return self.value.replace(" ", "-")


class Estimate(Stored):
    """A number with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


class Effect(Stored):
    """By how much numbers of one name moved, new less old."""

    numbers: int
    """How many numbers there are."""
    moved: int
    """How many moved further than rounding explains."""
    difference: Estimate
    """Mean difference. The interval of several is Student's for paired differences; that of one
    number is as wide as rounding may move it."""
    size: float | None
    """The mean difference in standard deviations of the differences; none of fewer than three, or
    where all moved by the same amount."""
    largest: float
    """The largest difference, with its sign."""


class FirstToken(Stored):
    """The first token that differs between two greedy texts of one prompt."""

    step: int
    """Its number, from 0."""
    ids: tuple[int | None, int | None]
    """The token id in the old and the new text; none where a text has ended."""
    margin: float
    """How far the two tokens' logits moved relative to each other: their distance in the old run
    plus that in the new one."""
    at_least: bool
    """Whether it may be more: one of the tokens was not among those kept."""
    noise: float
    """How far rounding moves a logit, as measured in the two runs."""
    near_tie: bool
    """Whether the margin is within twice the noise."""


class ChangedIds(Stored):
    """Token ids of the corpus that are not the same in both runs."""

    changed: int
    """How many texts have other ids."""
    texts: int
    """How many texts there are."""
    text: str | None
    """The first such text whose ids are kept; none where this suite's texts are other ones."""


class ChangedSetting(Stored):
    """A setting of `generate()` with another value or source; a source is empty without a value."""

    old_source: str
    """Where the old value comes from, as in the record."""
    new_source: str
    """Where the new value comes from."""


class ChangedBeam(Stored):
    """A text of beam search that is another, or whose score moved."""

    old_score: float
    """Mean log-probability of the old text's tokens, in nats."""
    new_score: float
    """The same of the new text."""
    explained: float
    """How far rounding moves the distance of two scores."""
    near_tie: bool
    """Whether rounding explains that another text was found."""


class ChangedChats(Stored):
    """Rendered conversations that are not the same in both runs."""

    changed: int
    """How many have another text, or other ids."""
    chats: int
    """How many there are."""
    conversation: str
    """The name of the first that changed."""
    place: int | None
    """Characters before its first difference; none where its text is the same, and its ids are
    not."""


class ChangedText(Stored):
    """A greedy text of an engine that goes on with another token."""

    prompt: str
    position: int
    """How many tokens of it are the same in both runs."""
    old: str | None
    """The token after them in the old run; none where the text ended."""
    new: str | None
    """The token in the new run."""
    near_tie: bool
    """Whether rounding explains it, by the reference's log-probabilities of the two tokens."""


class ChangedSteps(Stored):
    """An engine's greedy texts with other log-probabilities, or with other tokens."""

    compared: int
    """Tokens that both runs have, after the same beginning."""
    largest: float
    """The largest change of the engine's log-probability of one of them, in nats."""
    prompt: str
    """The prompt of its text; empty where there is no such token."""
    position: int
    """Its number in the text, from 0."""
    explained: float
    """The largest change that rounding explains: the sum of the two runs' tolerances."""
    texts: tuple[ChangedText, ...]
    """Texts with other tokens."""


class Difference(Stored):
    """One value of a check's evidence, or several numbers of one name, that differ."""

    check: str
    """The check's name; empty where the check itself differs."""
    name: str
    """The path in the evidence; `[*]` is any item of a list."""
    outcome: Outcome
    """`drifted` for numbers and near-ties, else `changed`."""
    old: JsonValue
    """The value in the old record; of several numbers, that which moved the most."""
    new: JsonValue
    effect: Effect | None = None
    """Of numbers: by how much they moved."""
    token: FirstToken | None = None
    """Of a greedy text whose logits are kept: where it differs, and how near that was."""
    lengths: tuple[int, int] | None = None
    """Of a greedy text generated to its end: its tokens in the old and the new run, where they
    differ."""
    ids: ChangedIds | None = None
    """Of the ids of many texts: how many changed; `old` and `new` are those of the first text, none
    where they are not kept."""
    setting: ChangedSetting | None = None
    """Of a setting that `generate()` uses: where its values come from."""
    beam: ChangedBeam | None = None
    """Of a text of beam search: its scores."""
    chats: ChangedChats | None = None
    """Of rendered conversations: how many changed; `old` and `new` are the text around the first
    difference, or the ids from it on, and none where the template refuses the conversation."""
    steps: ChangedSteps | None = None
    """Of an engine's greedy texts: `old` and `new` are the mean divergence from the reference."""


class ClaimComparison(Stored):
    """A claim in both runs."""

    id: str
    section: str
    title: str
    outcome: Outcome
    near_the_line: bool = False
    """Whether it is an observation that flipped though the quantity measured stays within the other
    run's interval: its outcome is that of the other evidence."""
    old: Verdict | None = None
    """Its verdict in the old run; none if it was not decided."""
    new: Verdict | None = None
    """Its verdict in the new run; none if it was not decided."""
    old_reason: str = ""
    new_reason: str = ""
    differences: tuple[Difference, ...] = ()
    """The differences in its evidence, changes first."""


class Change(Stored):
    """A fact about target or environment that differs; `absent` where it was not known."""

    name: str
    old: str
    new: str


class Flip(Stored):
    """A position of a shared prompt after which another token is the most likely."""

    prompt: str
    position: int
    """After how many of its tokens, from 1."""
    old: str
    """The most likely token in the old run, decoded."""
    new: str
    """The most likely token in the new run, decoded."""
    margin: float
    """How far the two tokens' logits moved relative to each other: their distance in the old run
    plus that in the new one; the least it can be if one was not kept."""
    near_tie: bool
    """Whether the margin is within twice the noise."""


class Drift(Stored):
    """How far the next-token distributions on the shared prompts are apart."""

    outcome: Outcome
    """`same` where rounding explains all, `drifted`, `changed` where prompts have other token ids,
    `not comparable` where one of the records does not keep all that the other does."""
    prompts: int = 0
    """Prompts compared."""
    positions: int = 0
    """Positions compared; a beginning that several prompts share counts once."""
    encoded_otherwise: tuple[str, ...] = ()
    """Prompts whose token ids differ."""
    in_one_only: tuple[str, ...] = ()
    """Prompts that only one of the records keeps, or keeps in numbers."""
    kl: Estimate | None = None
    """Mean KL divergence from the old to the new distribution, in nats, over the tokens kept in
    both and all others as one: a lower bound of that over the whole vocabulary."""
    rms_dp: Estimate | None = None
    """Root mean square of the change in the probability of the old run's most likely token."""
    same_top: Estimate | None = None
    """Share of positions with the same most likely token."""
    largest_change: float = 0.0
    """Largest change of a token's log-probability; of a token kept in one run only, the least that
    it can have changed."""
    noise: float = 0.0
    """How far another batch moved a logit within a run: the larger of the two runs, at most four
    times the smaller; the smaller if they computed in different types."""
    explained: float = 0.0
    """The largest change of a log-probability that is taken for rounding: four times the noise, for
    the logit and for the sum of all, but no more than is possible in the type at all."""
    flips: tuple[Flip, ...] = ()
    """Positions with another most likely token, the widest margin first; ten at most."""


class RateRatio(Stored):
    """A rate of throughput that both runs measured at the same sizes, named as in the record."""

    what: str
    unit: str
    batch: int
    cache: str
    compiled: bool
    old: float
    """The rate a second in the old run, the median of its repetitions."""
    new: float
    """The rate in the new run."""
    ratio: Estimate
    """The new rate as a share of the old one: above 1 is faster. The interval's ends are the
    slowest repetition of one run against the fastest of the other."""


class Run(Stored):
    """One of the two runs."""

    target: str
    """The target's name."""
    started: str
    """Start of the run, UTC, ISO 8601."""
    suite: str
    """Version of this package that made it."""
    complete: bool
    """Whether every planned check was made."""


class Comparison(Stored):
    """What differs between two records."""

    format: Literal[1] = FORMAT
    """Version of this format."""
    old: Run
    """The earlier, or the one trusted."""
    new: Run
    """The later, or the one in question."""
    environment: tuple[Change, ...]
    """What differs in target and environment."""
    claims: tuple[ClaimComparison, ...]
    """All claims of both, in reading order."""
    drift: Drift | None
    """Of the distributions on the shared prompts; none if neither record keeps any."""
    speed: Estimate | None
    """Seconds of the new run as a share of the old one's, over checks that made the same forward
    passes; none where there are fewer than three of those that took long enough to time."""
    throughput: tuple[RateRatio, ...] = ()
    """The rates that both runs measured; empty where one of them measured none."""
    quantizations: tuple[QuantizationCost, ...] = ()
    """Those that either run compared with the model as it is, the largest first; empty where both
    compared the same ones."""

    @property
    def counts(self) -> Counter[Outcome]:
        """Number of claims by outcome."""
        return Counter(claim.outcome for claim in self.claims)

    @property
    def outcomes(self) -> set[Outcome]:
        """All outcomes there are: of claims, and of the distributions."""
        return {*self.counts, *([self.drift.outcome] if self.drift else [])}


ANY_CHANGE = frozenset(Outcome) - {Outcome.SAME}
"""What counts as a change by default."""


def parse_outcomes(text: str | None) -> frozenset[Outcome]:
    """Return the outcomes that `--fail-on` names, separated by commas; all changes for None.

    Raises:
        UserError: there is no such outcome.

    >>> sorted(parse_outcomes("newly-failing,drifted"))
    [<Outcome.DRIFTED: 'drifted'>, <Outcome.NEWLY_FAILING: 'newly failing'>]
    >>> parse_outcomes("newly")
    Traceback (most recent call last):
    probes.errors.UserError: --fail-on: no outcome 'newly'; choose among ...
    """
    words = {"none": frozenset[Outcome](), "any": ANY_CHANGE}
    word = "any" if text is None else text.strip()
    if word in words:
        return words[word]
    known = {outcome.option: outcome for outcome in ANY_CHANGE}
    names = [name.strip() for name in word.split(",")]
    for name in names:
        if name not in known:
            raise UserError(
                f"--fail-on: no outcome {name!r}{did_you_mean(name, known) or ';'} choose among "
                f"{', '.join(sorted(known))}; or any, or none"
            )
    return frozenset(known[name] for name in names)
