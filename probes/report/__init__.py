"""Pages made from records: data in, one self-contained HTML file out.

``words`` says things, ``evidence`` decides how a value is shown, ``marking`` makes text safe and
visible, ``page`` puts it into the templates. No page runs a script or sends a request.
"""

from __future__ import annotations

from probes.report.page import render, render_index

__all__ = ["render", "render_index"]
