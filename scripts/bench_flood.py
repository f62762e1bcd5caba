"""What scripts/bench measures of a flood: whether one source that asks without end is noticed by another."""

import json
import statistics
import subprocess
import time

from servers import BIN, Ca, get, run

# The flood comes from one loopback address, the machines from another.
FLOOD, HONEST = "127.0.0.1", "127.0.0.2"
MACHINES, ROUNDS, SECONDS = 300, 3, 12

# As `init` writes them, but for the machines' own: they all renew from one address, and more than once a minute.
LIMITS = {"limits": {"burst_per_source": 1000, "renewals_per_minute_per_machine": 10000}}

AIMS = {
    "flood of handshakes: p99 of others / without": 2.0,
    "flood of requests: p99 of others / without": 2.0,
    "flood: memory grown, MB": 64.0,
    "flood: health checks unanswered": 0,
}


class Limited(Ca):
    """A CA with the limits an operator has."""

    bench_config = LIMITS


def renewals(ca):
    """All machines renew, two at a time, as agents do."""
    figures = json.loads(run(BIN / "load", "fresh", "--from", HONEST, "--server", f"127.0.0.1:{ca.port}", "--identities",
                             ca.identities, "--connections", MACHINES, "--concurrency", "2", "--seconds", SECONDS - 2))
    # The source's allowance fills again.
    time.sleep(MACHINES / 200 + 0.5)
    return figures


def flooded(ca, kind):
    """The same while somebody floods, at the lowest priority: what it does to the CA counts, not what it does to the
    cores it shares with it. Checks the CA's health meanwhile."""
    flood = subprocess.Popen(
        ["nice", "-n", "19", BIN / "load", "flood", "--kind", kind, "--from", FLOOD, "--server", f"127.0.0.1:{ca.port}",
         "--root", ca.dir / "state" / "root.pem", "--seconds", str(SECONDS)], stdout=subprocess.PIPE, text=True)
    time.sleep(1)
    unanswered = int(not answers(ca))
    figures = renewals(ca)
    unanswered += int(not answers(ca))
    return {**figures, "flood": json.loads(flood.communicate()[0]), "unanswered": unanswered, "rss_mb": ca.rss_mb()}


def answers(ca):
    try:
        return all(get(ca.ops, path)[0] == 200 for path in ("/healthz", "/readyz"))
    except OSError:
        return False


def measure(scratch, started):
    """Rounds with and without, and what each aim found."""
    place = scratch / "flood"
    place.mkdir()
    ca = Limited(place, True, 0)
    started.append(ca)
    ca.start()
    ca.prepare(MACHINES)
    time.sleep(5)
    rows, before = [], ca.rss_mb()
    for _ in range(ROUNDS):
        rows.append({"quiet": renewals(ca), "handshakes": flooded(ca, "handshakes"), "requests": flooded(ca, "requests")})
    floods = [row[kind] for row in rows for kind in ("handshakes", "requests")]
    ratio = {kind: statistics.median(row[kind]["p99_us"] / row["quiet"]["p99_us"] for row in rows)
             for kind in ("handshakes", "requests")}
    ca.stop()
    found = {f"flood of {kind}: p99 of others / without": value for kind, value in ratio.items()}
    found["flood: memory grown, MB"] = max(flood["rss_mb"] for flood in floods) - before
    found["flood: health checks unanswered"] = sum(flood["unanswered"] for flood in floods)
    return {"rounds": rows, "found": found}
