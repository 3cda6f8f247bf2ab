"""The transformers engine."""

from typing import TYPE_CHECKING

from probes._util.lazy import import_on_use

if TYPE_CHECKING:
    from probes.engines.transformers import chat_dates as chat_dates
    from probes.engines.transformers import warpers as warpers
else:
    __getattr__ = import_on_use(__name__)
