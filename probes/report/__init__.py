"""Pages made from records: data in, one self-contained HTML file out.

``words`` and ``statements`` say things, in the languages that ``language`` finds in ``texts/``;
``evidence`` decides how a value is shown, ``history`` what is shown of many runs; ``marking`` makes
text safe and visible, ``page`` puts it into the templates. No page sends a request, or runs another
script than its own. ``markdown`` says the same
in short; ``comparing`` says what two runs differ in, ``console`` says that on a terminal.
"""

from __future__ import annotations

from probes.report.page import render, render_comparison, render_index

__all__ = ["render", "render_comparison", "render_index"]
