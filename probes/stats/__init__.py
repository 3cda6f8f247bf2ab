"""Pure functions: numbers in, numbers out. Some need torch, some scipy."""

from typing import TYPE_CHECKING

from probes._util.lazy import import_on_use

if TYPE_CHECKING:
    from probes.stats import answer_matching as answer_matching
    from probes.stats import answer_tree as answer_tree
    from probes.stats import beam_reference as beam_reference
    from probes.stats import bleu as bleu
    from probes.stats import distribution_distance as distribution_distance
    from probes.stats import goodness_of_fit as goodness_of_fit
    from probes.stats import near_tie as near_tie
    from probes.stats import penalty_reference as penalty_reference
    from probes.stats import permutation as permutation
    from probes.stats import projection as projection
    from probes.stats import repetition as repetition
    from probes.stats import rounding as rounding
    from probes.stats import sampling_reference as sampling_reference
    from probes.stats import seeded_draws as seeded_draws
    from probes.stats import similarity as similarity
    from probes.stats import testing_logits as testing_logits
    from probes.stats import text_probability as text_probability
else:
    __getattr__ = import_on_use(__name__)
