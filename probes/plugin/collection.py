"""Which tests decide which claims on which targets, and which of them are run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from probes._util.files import claims_folder
from probes.errors import UserError, did_you_mean
from probes.plugin import markers, options
from probes.plugin.known_failures import refuse_unmatched
from probes.plugin.session import asks_for_cuda, session_of
from probes.plugin.verdicts import Phase
from probes.schema.claim import KNOWLEDGE, SERVER, Claim, Kind, catalogue
from probes.schema.record import Cost, Rate


@dataclass
class TestState:
    """What the plugin knows of one test.

    `targets` has one target if the test takes `model`, every target of the run for a claim without
    `model`, and none for a test that neither decides a claim nor measures. `place` numbers the
    tests that decide claims, in the order of collection. `known_failure` is why it is known to
    fail, if it is. `missing` says by target why the claim is not applicable, `left_out` why the
    test is left out, if it is. `cost_before` is the target's cost before the test, `loading_before`
    the seconds that loading weights had taken.
    """

    targets: tuple[str, ...] = ()
    claim: Claim | None = None
    needs: tuple[str, ...] = ()
    place: int = 0
    known_failure: str = ""
    missing: dict[str, str] = field(default_factory=dict)
    left_out: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)
    rates: list[Rate] = field(default_factory=list)
    cost_before: Cost | None = None
    loading_before: float = 0.0
    phases: list[Phase] = field(default_factory=list)


_STATE = pytest.StashKey[TestState]()


def state_of(item: pytest.Item) -> TestState:
    """Return what the plugin knows of a test."""
    return item.stash.setdefault(_STATE, TestState())


def target_parameter(item: pytest.Item) -> str | None:
    """Return the target that a test's `model` is; None where it takes no model."""
    parameters: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    return str(parameters["model"]) if "model" in parameters else None


def name_of(item: pytest.Item) -> str:
    """Return a test's name without its target's, so that runs on two targets have equal names."""
    name, _, parameters = item.name.partition("[")
    target = target_parameter(item) or ""
    for spelled in (target, target.encode("unicode_escape").decode("ascii")):
        if target and parameters.startswith(spelled):
            rest = parameters.removeprefix(spelled).removesuffix("]").removeprefix("-")
            return f"{name}[{rest}]" if rest else name
    return item.name


def parametrize_model(metafunc: pytest.Metafunc) -> None:
    """Run a test of a claim or of throughput once for each target."""
    marked = any(map(metafunc.definition.get_closest_marker, ("claim", "throughput")))
    if marked and "model" in metafunc.fixturenames:
        targets = [
            pytest.param(name, marks=[pytest.mark.gpu] if asks_for_cuda(target) else [])
            for name, target in session_of(metafunc.config).targets.items()
        ]
        metafunc.parametrize("model", targets, indirect=True, scope="session")


def select_tests(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Find each test's claim, and keep the claims that `--claim` names.

    Raises UserError if a marker is wrong, or no test decides a named claim.
    """
    for item in items:
        item.stash[_STATE] = state = _read_markers(item)
        if state.claim is not None:  # a property in JUnit XML
            item.user_properties.append(("claim", state.claim.id))
        _adjust_marks(item)
    found = [claim for item in items if (claim := state_of(item).claim)]
    markers.refuse_two_meanings(found)
    _mark_known_failures(config, items)
    _forget_checks_of_others(config, items)
    if wanted := config.option.claim:
        _refuse_unknown(wanted, {claim.id: None for claim in found})
        _keep(config, items, lambda state: state.claim is not None and state.claim.id in wanted)
    drop_left_out(config, items)
    deciding = [state for item in items if (state := state_of(item)).claim is not None]
    for place, state in enumerate(deciding):
        state.place = place


def _mark_known_failures(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """Expect checks that are known to fail to do so, strictly."""
    known = session_of(config).known_failures
    own = {state.claim.id for item in items if (state := state_of(item)).claim}
    refuse_unmatched(known, {*catalogue(), *own})
    for item in items:
        state = state_of(item)
        for each in known:
            if state.claim and each.is_about(state.claim.id, name_of(item), state.targets):
                state.known_failure = each.reason
                item.add_marker(pytest.mark.xfail(reason=each.reason, strict=True), append=False)


def _forget_checks_of_others(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Forget checks of built-in claims that other ones decide on a target.

    Some claims have checks for servers and others for networks in this process: those of the other
    kind are no part of the claim, and are not counted as left out.
    """
    targets = session_of(config).targets
    folder = claims_folder()

    def may_be_of_others(item: pytest.Item) -> bool:
        return state_of(item).claim is not None and item.path.is_relative_to(folder)

    has_both = {
        state.claim.id
        for item in filter(may_be_of_others, items)
        if (state := state_of(item)).claim and SERVER in state.needs
    }

    def is_for(item: pytest.Item) -> bool:
        state = state_of(item)
        if state.claim is None or state.claim.id not in has_both or not may_be_of_others(item):
            return True
        of_servers = SERVER in state.needs
        return any(targets[target].is_served == of_servers for target in state.targets)

    items[:] = filter(is_for, items)


def drop_left_out(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Drop targets that are left out, and tests that have no other target."""
    left_out = session_of(config).left_out

    def has_target(state: TestState) -> bool:
        if state.claim is None and not state.targets:
            return True
        return bool(set(state.targets) - left_out.keys())

    _keep(config, items, has_target)
    for item in items:
        state = state_of(item)
        state.targets = tuple(target for target in state.targets if target not in left_out)


def count_deselected(items: Sequence[pytest.Item]) -> None:
    """Remember how many checks of a claim are left out."""
    for item in items:
        state = state_of(item)
        if state.claim is not None:
            keys = [(target, state.claim.id) for target in state.targets]
            session_of(item.config).deselected.update(keys)


def _read_markers(item: pytest.Item) -> TestState:
    target = target_parameter(item)
    marker = item.get_closest_marker("claim")
    if marker is None:
        measures = target is not None and item.get_closest_marker("throughput") is not None
        return TestState(targets=(target,) if target and measures else ())
    try:
        claim = markers.read_claim(marker.args, marker.kwargs)
        more = [markers.read_needs(m.args, m.kwargs) for m in item.iter_markers("needs")]
        claim, needs = _without_knowledge(item, claim, sum(more, claim.needs))
        if target is None and claim.id not in catalogue() and "model" in claim.needs:
            raise UserError(
                "it decides a claim but does not take the fixture 'model': add it to the "
                "arguments, or give the claim needs=() if it is about a library alone"
            )
    except (UserError, DeprecationWarning) as error:  # a warning that the user made an error
        raise UserError(f"{item.nodeid.partition('[')[0]}: {error}") from None
    targets = (target,) if target is not None else _all_targets(item.config)
    return TestState(targets=targets, claim=claim, needs=needs)


def _without_knowledge(
    item: pytest.Item, claim: Claim, needs: tuple[str, ...]
) -> tuple[Claim, tuple[str, ...]]:
    """Make a claim that names the need `knowledge` an observation without it, with a warning."""
    if KNOWLEDGE not in needs:
        return claim, needs
    item.warn(
        pytest.PytestDeprecationWarning(
            f"{claim.id}: the need {KNOWLEDGE!r} is deprecated: "
            f"write kind={Kind.OBSERVATION.value!r} in the marker instead"
        )
    )
    rest = tuple(need for need in claim.needs if need != KNOWLEDGE)
    claim = claim.model_copy(update={"kind": Kind.OBSERVATION, "needs": rest})
    return claim, tuple(need for need in needs if need != KNOWLEDGE)


def _all_targets(config: pytest.Config) -> tuple[str, ...]:
    """Return the targets of a run: under `-m gpu` those on a CUDA device."""
    targets = session_of(config).targets.items()
    gpu = options.selects_gpu(config)
    return tuple(name for name, target in targets if not gpu or asks_for_cuda(target))


def _adjust_marks(item: pytest.Item) -> None:
    state = state_of(item)
    if state.claim is None:
        return
    if target_parameter(item) is None and options.selects_gpu(item.config):
        item.add_marker(pytest.mark.gpu)
    # A library's new warning must not turn a shipped claim red.
    if item.path.is_relative_to(claims_folder()):
        item.add_marker(pytest.mark.filterwarnings("default"), append=False)


def _refuse_unknown(wanted: Sequence[str], known: dict[str, None]) -> None:
    for claim_id in wanted:
        if claim_id not in known:
            raise UserError(
                f"no claim {claim_id!r} among the collected tests{did_you_mean(claim_id, known)}"
            )


def _keep(
    config: pytest.Config, items: list[pytest.Item], wanted: Callable[[TestState], bool]
) -> None:
    dropped = [item for item in items if not wanted(state_of(item))]
    if dropped:
        items[:] = [item for item in items if wanted(state_of(item))]
        config.hook.pytest_deselected(items=dropped)
