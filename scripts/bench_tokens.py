"""What scripts/bench measures of the authorization server: B9, tokens minted and API keys introspected over keep-alive mTLS."""

import json
import statistics
import sys

from servers import BIN, TRUST_DOMAIN, Ca, calibrate, run

# Connections, each with an identity of its own; the keys in the book, and how many of them are asked about.
CONNECTIONS, KEYS, ASKED = 100, 1_000_000, 2_000

# Rounds of so many requests; and a million tokens one after the other, whose traces are looked for.
ROUNDS, REQUESTS, MANY, PARTS = 3, 40_000, 1_000_000, 4

AIMS = {
    "B9 token minted, server CPU, V": 1.2,
    "B9 API key introspected at 1,000,000 keys, CPU µs": 50.0,
    "B9 book grown by the last 750,000 of 1,000,000 tokens, octets a token": 0.05,
    "B9 memory grown by them, MB": 4.0,
    "B9 requests refused": 0,
}

# Everybody may read, and everybody is the service: what is measured is the server.
POLICY = f"""version = 1
[service.ledger]
permissions = ["read", "write"]
identities = ["spiffe://{TRUST_DOMAIN}/bench/*"]
[[grant]]
id = "spiffe://{TRUST_DOMAIN}/bench/*"
permissions = ["ledger:read", "ledger:write"]
"""


def size(book):
    """Octets of the book's files."""
    return sum(file.stat().st_size for file in book.rglob("*") if file.is_file())


def make(scratch, started, keys):
    """A CA with so many API keys, and the secrets of some more that are real."""
    place = scratch / "tokens"
    place.mkdir()
    ca = Ca(place, True, 0)
    started.append(ca)
    ca.start()
    ca.prepare(CONNECTIONS)
    rules = place / "policy.toml"
    rules.write_text(POLICY)
    run(BIN / "countersign", "policy", "apply", "--config", ca.config, rules)
    holder = f"spiffe://{TRUST_DOMAIN}/bench/000000"
    secrets = place / "keys"
    secrets.write_text(run(BIN / "load", "keys", "--socket", ca.dir / "state" / "admin.sock", "--spiffe-id", holder,
                           "--service", "ledger", "--count", ASKED))
    secrets.chmod(0o600)
    if keys:
        ca.stop()
        print(f"making {keys:,} API keys", file=sys.stderr)
        run(BIN / "fleet", "keys", "--book", ca.dir / "state" / "book", "--spiffe-id", holder, "--service", "ledger",
            "--count", keys, timeout=3600)
        ca.start()
    return ca, secrets


def ask(ca, count, *what, seconds=60):
    return json.loads(run(
        BIN / "load", "tokens", "--server", f"127.0.0.1:{ca.port}", "--identities", ca.identities, "--service", "ledger",
        "--connections", CONNECTIONS, "--concurrency", "10", "--seconds", seconds, "--count", count, "--pid", ca.pid,
        "--ask", *what, timeout=seconds + 300))


def traces(ca, count, parts):
    """So many tokens, and what of them is left: sizes and memory before and after each part."""
    left = lambda: {"book": size(ca.dir / "state" / "book"), "rss_mb": ca.rss_mb()}
    rows = [left()]
    for _ in range(parts):
        figures = ask(ca, count // parts, "mint", seconds=3600)
        rows.append({**left(), **figures})
        print(f"{figures['operations']:,} tokens more: {figures['per_second']:.0f} a second, {figures['server_cpu_us']:.1f} µs "
              f"each; book {rows[-1]['book'] / 1e6:.3f} MB, memory {rows[-1]['rss_mb']:.1f} MB", file=sys.stderr)
    return rows


def measure(scratch, started):
    """Rounds of both, then many tokens; what each aim found."""
    ca, secrets = make(scratch, started, KEYS)
    rows = []
    # The first requests of an hour leave an event each, and the first uses of keys a note: not what is measured.
    ask(ca, 4 * CONNECTIONS, "mint")
    ask(ca, 2 * ASKED, "introspect", "--keys", secrets)
    for number in range(ROUNDS):
        before = calibrate(scratch, 100)
        minted = ask(ca, REQUESTS, "mint")
        introspected = ask(ca, REQUESTS, "introspect", "--keys", secrets)
        after = calibrate(scratch, 100)
        unit = statistics.mean([before["verify_us"], after["verify_us"]])
        rows.append({"v_us": unit, "minted": minted, "introspected": introspected})
        print(f"round {number + 1}/{ROUNDS}: V {unit:.1f} µs, minted {minted['server_cpu_us']:.1f} µs, "
              f"introspected {introspected['server_cpu_us']:.1f} µs", file=sys.stderr)
    left = traces(ca, MANY, PARTS)
    ca.stop()
    answers = [row[kind] for row in rows for kind in ("minted", "introspected")] + left[1:]
    found = {
        "B9 token minted, server CPU, V": statistics.median(
            row["minted"]["server_cpu_us"] / row["v_us"] for row in rows),
        "B9 API key introspected at 1,000,000 keys, CPU µs": statistics.median(
            row["introspected"]["server_cpu_us"] for row in rows),
        # Not the first quarter: the tables of the keys may still be merged meanwhile.
        "B9 book grown by the last 750,000 of 1,000,000 tokens, octets a token":
            (left[-1]["book"] - left[1]["book"]) / (MANY - MANY // PARTS),
        "B9 memory grown by them, MB": left[-1]["rss_mb"] - left[1]["rss_mb"],
        "B9 requests refused": sum(answer["refused"] + answer["twice"] for answer in answers),
    }
    return {"rounds": rows, "traces": left, "found": found}
