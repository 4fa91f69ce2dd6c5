"""How long the fuzzers search: some seconds here, and for hours with ``KANBAN_FUZZ=20000 pytest tests/fuzz``.

``KANBAN_FUZZ`` is the number of examples of each fuzzer. What hypothesis finds it prints so that it can be replayed.
"""

from __future__ import annotations

import os
from datetime import timedelta

from hypothesis import HealthCheck, settings

EXAMPLES = int(os.environ.get("KANBAN_FUZZ", "0"))

settings.register_profile(
    "fuzz",
    max_examples=EXAMPLES or 60,
    derandomize=not EXAMPLES,
    deadline=timedelta(seconds=20),
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
