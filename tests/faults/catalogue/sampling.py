"""Faults of sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.faults.catalogue.base import LIBRARY, Patch, Wrapper, fault, result, wrapped

if TYPE_CHECKING:
    from probes import Model


def drawing(draw: Wrapper) -> Patch:
    """Replace the function that draws from probabilities."""
    return wrapped("torch", "multinomial", draw)


ONE_DRAWN_TEST = "first_tokens and Once"


@fault("sampling 5 % sharper than requested", "samples-follow-distribution", checks=ONE_DRAWN_TEST)
def sampling_5_percent_sharper(model: Model) -> Patch:
    return drawing(lambda original, p, **kwargs: original(p.pow(1.05), **kwargs))


@fault("sampling 1 % sharper than requested", "samples-follow-distribution", checks="two_million")
def sampling_1_percent_sharper(model: Model) -> Patch:
    return drawing(lambda original, p, **kwargs: original(p.pow(1.01), **kwargs))


@fault(
    "the most likely token drawn 4 % too often",
    "samples-follow-distribution",
    checks=ONE_DRAWN_TEST,
)
def likeliest_token_drawn_too_often(model: Model) -> Patch:
    def draw(original: Wrapper, p: Any, **kwargs: Any) -> Any:
        import torch

        first = torch.rand(len(p), 1, device=p.device) < 0.04
        return torch.where(first, p.argmax(dim=-1, keepdim=True), original(p, **kwargs))

    return drawing(draw)


@fault(
    "a token of probability 0 in one draw of 1,000 (pytorch 192812: 85 in 20,000)",
    "samples-follow-distribution",
    checks=ONE_DRAWN_TEST,
)
def dropped_tokens_drawn(model: Model) -> Patch:
    def draw(original: Wrapper, p: Any, **kwargs: Any) -> Any:
        import torch

        drawn = original(p, **kwargs)
        any_token = torch.randint_like(drawn, p.shape[-1])
        return torch.where(torch.rand(drawn.shape) < 1e-3, any_token, drawn)

    return drawing(draw)


@fault(
    "all rows of a batch draw the same number", "samples-follow-distribution", checks=ONE_DRAWN_TEST
)
def rows_share_their_draw(model: Model) -> Patch:
    return drawing(lambda original, p, **kwargs: original(p[:1], **kwargs).expand(len(p), 1))


@fault(
    "the second token drawn from the first one's distribution: a stale graph",
    "samples-follow-distribution",
    checks="pairs",
)
def second_draw_from_stale_probabilities(model: Model) -> Patch:
    last: list[Any] = []

    def draw(original: Wrapper, p: Any, **kwargs: Any) -> Any:
        stale = last.pop() if last else None
        if stale is not None and stale.shape == p.shape:
            return original(stale, **kwargs)
        last.append(p)
        return original(p, **kwargs)

    return drawing(draw)


@fault("a generator seeded from the clock instead of the given seed", "seeded")
def seed_ignored(model: Model) -> Patch:
    def draw(original: Wrapper, p: Any, **kwargs: Any) -> Any:
        import torch

        generator = torch.Generator(p.device)
        generator.seed()
        return original(p, generator=generator, **kwargs)

    return drawing(draw)


@fault("every seed treated as the same seed", "seeded")
def one_seed_for_all(model: Model) -> Patch:
    return wrapped(LIBRARY, "set_seed", lambda original, _: original(0))


@fault(
    "greedy decoding although sampling was requested",
    "samples-follow-distribution",
    "seeded",
    checks="min-p or seed",
)
def sampling_is_greedy(model: Model) -> Patch:
    return drawing(lambda _, p, **__: p.argmax(dim=-1, keepdim=True))


@fault(
    "an overtrained model with only one continuation: logits far too sharp",
    *("heat-varies", "heat-wide-varies-more", "greedy-repeats"),
    "stories-sampled",
    checks="Japan or long_greedy or three_wide",
)
def logits_far_too_sharp(model: Model) -> Patch:
    return wrapped(model.network.lm_head, "forward", result(lambda logits: 50 * logits))
