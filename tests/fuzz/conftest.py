"""How much is tried: few examples in `make test`, the same ones on every machine; many by hand.

    PGSAM_FUZZ_EXAMPLES=10000 python -m pytest tests/fuzz/test_fuzz_headers.py

PGSAM_FUZZ_COLLECT=1 goes on after a failure and ends with the list of them, unshrunk.
"""

from __future__ import annotations

from fuzz.tally import TALLIES
from hypothesis import HealthCheck, settings

settings.register_profile(
    "fuzz", derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
settings.load_profile("fuzz")


def pytest_terminal_summary(terminalreporter):
    for tally in TALLIES:
        terminalreporter.write_line(str(tally))
