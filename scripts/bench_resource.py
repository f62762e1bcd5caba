"""What scripts/bench measures of a service that takes tokens: B9 at the verifier, and whether the check of API keys tells anything
by its time."""

import json

from bench_verifier import example
from servers import run

# |t| below which two distributions of times are the same, after dudect.
SAME = 4.5

AIMS = {
    "B9 token verified, V": 1.2,
    "B9 token seen before on its connection, ns": 1000.0,
    "API keys: |t| of a near guess and a random one": SAME,
    "API keys: 4.5 / |t| of a check that tells": 1.0,
}


def measure():
    """Everything here, with what each aim found."""
    verified = json.loads(run(example("tokens")))
    timed = json.loads(run(example("constant-time")))
    found = {
        "B9 token verified, V": verified["first_v"],
        "B9 token seen before on its connection, ns": verified["seen_before_ns"],
        "API keys: |t| of a near guess and a random one": timed["t"],
        "API keys: 4.5 / |t| of a check that tells": SAME / max(timed["control_t"], 1e-9),
    }
    return {"verified": verified, "constant_time": timed, "found": found}
