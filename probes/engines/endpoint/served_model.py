"""The model behind an address: which one is asked for, and whether it is still the same."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from probes._util.redaction import quote_redacted
from probes.engines.endpoint.client import MAY_LACK_VERSION, REFUSED
from probes.engines.endpoint.dialects import describe_served, find_context_length, list_served
from probes.errors import EndpointFailedError, UnusableTargetError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from probes.engines.endpoint.client import Client
    from probes.targets.target import Target

LIST_AGAIN = 20.0
"""Seconds after which a server's list of models is read again."""


class ServedModel:
    """The model that answers, as far as answers and the server's list of models tell."""

    def __init__(self, target: Target, client: Client, models: Mapping[str, Any]) -> None:
        """Choose the model that a target asks for, or raise UnusableTargetError."""
        self._target = target
        self._client = client
        self.name = _choose_model(target, models)
        self.context_length = find_context_length(list_served(models), self.name)
        self._answering = ""
        self._listed = describe_served(list_served(models), self.name)
        self._listed_at = time.monotonic()

    def refuse_change(self, found: Sequence[Mapping[str, Any]]) -> None:
        """Raise UnusableTargetError where answers come from another model than the first did.

        Most servers answer with the name that was asked for: their list of models is read again
        now and then.
        """
        if time.monotonic() - self._listed_at > LIST_AGAIN:
            self._listed_at = time.monotonic()
            listed = list_served(self._client.find("models"))
            now = describe_served(listed, self.name)
            if listed and self._listed and now != self._listed:
                raise UnusableTargetError(
                    f"the server of target '{self._target.name}' listed {self._listed} and now "
                    f"lists {now or 'it no more'}: what is behind the address has changed"
                )
        for each in found:
            if isinstance(name := each.get("model"), str):
                self._answering = self._answering or name
                if name != self._answering:
                    raise UnusableTargetError(
                        f"the model of target '{self._target.name}' was "
                        f"{quote_redacted(self._answering)} "
                        f"and is now {quote_redacted(name)}: what is behind the address has changed"
                    )


def list_models(client: Client) -> Mapping[str, Any]:
    """Return the server's list of models; empty where it gives none, as one does without the hub.

    A key that is missing or refused raises UnusableTargetError, as nothing else would be answered.
    """
    try:
        models = client.get("models")
    except EndpointFailedError as error:
        if error.status in REFUSED:
            raise UnusableTargetError(str(error)) from None
        return {}
    if models is None and client.lacks_version and list_served(client.find("/v1/models")):
        raise UnusableTargetError(
            f"{client.address} has no models, and {client.address}/v1 has: name the second"
        )
    return models or {}


def _choose_model(target: Target, models: Mapping[str, Any]) -> str:
    """Return the name of the model to ask for: the one that the target names, or the only one."""
    names = [str(each.get("id")) for each in list_served(models)]
    wanted = target.served_model
    if wanted is not None:
        if names and wanted not in names:
            raise UnusableTargetError(
                f"{target.address} serves {', '.join(map(quote_redacted, names))}, "
                f"not {quote_redacted(wanted)}: "
                "name one of them after a #"
            )
        return wanted
    if len(names) != 1:
        what = (
            f"serves {', '.join(map(quote_redacted, names))}"
            if names
            else "does not say what it serves"
        )
        hint = "" if names or str(target.address).endswith("/v1") else f"; {MAY_LACK_VERSION}"
        raise UnusableTargetError(f"{target.address} {what}: name a model after a #{hint}")
    return names[0]
