"""What scripts/bench measures of the verifier: B6 and B7, and how soon a revocation reaches many services."""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from servers import BIN, ROOT, TRUST_DOMAIN, Ca, run

# Handshakes in the short and in the long run whose difference is counted.
HANDSHAKES = (10, 60)

# The services that follow the CA, what is revoked before, and how many rules its policy has.
VERIFIERS, REVOKED, RULES, TARGETS = 200, 100_000, 10_000, 20

AIMS = {
    "B6 server half / WebPKI": 1.02,
    "B6 the same with a path seen before": 0.85,
    "B6 the same with issuer anchoring": 0.85,
    "B6 100,000 revoked serials, MB": 8.0,
    "B7 identity against 10,000 rules, ns": 1000.0,
    "B7 request allowed, ns": 10.0,
    "B7 request refused, ns": 10.0,
    "B7 decision of 1,000,000 identities, ns": 1000.0,
    "B7 1,000,000 identities / 100,000": 2.3,
    "revoked → refused by 200, p99, s": 1.0,
}


def example(name):
    """Builds an example and says where it is."""
    # Beside the CA, as scripts/bench builds: alone it would want its dependencies with fewer features, and all anew.
    command = ["cargo", "build", "--release", "--locked", "--quiet", "-p", "countersign", "-p", "countersign-bench",
               "--example", name]
    if subprocess.run(command, cwd=ROOT).returncode:
        sys.exit("the build failed")
    return BIN / "examples" / name


def server_instructions(program, verifier, times):
    """Instructions of the server's thread: the second one."""
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "out"
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", "--separate-threads=yes", f"--callgrind-out-file={out}",
             str(program), verifier, "--times", str(times)], capture_output=True, text=True, timeout=600)
        if done.returncode:
            sys.exit(f"callgrind failed:\n{done.stderr}")
        return int(re.search(r"^totals: (\d+)", Path(f"{out}-02").read_text(), re.M)[1])


def handshakes():
    """B6, in instructions of one handshake."""
    program, (few, many) = example("handshake"), HANDSHAKES
    return {verifier: (server_instructions(program, verifier, many) - server_instructions(program, verifier, few))
            / (many - few) for verifier in ("webpki", "ours", "seen", "anchored")}


def decisions():
    """B7 and the room revoked serials take."""
    return json.loads(run(example("decisions")))


def policy(rules):
    """One rule for each team."""
    grants = (f'{{id="spiffe://b.x/{number % 100}/{number // 100}/*",permissions=["l:r"]}},\n' for number in range(rules))
    return f'version = 1\ngrant = [\n{"".join(grants)}]\n[service.l]\npermissions = ["r"]\n'


def revocations(scratch, started):
    """A CA with many live revocations and rules, and services that follow it."""
    place = scratch / "revocations"
    place.mkdir()
    ca = Ca(place, True, 0)
    started.append(ca)
    ca.start()
    ca.prepare(TARGETS + 1)
    fleet = place / "fleet.jsonl"
    fleet.write_text("".join(
        json.dumps({"spiffe_id": f"spiffe://{TRUST_DOMAIN}/fleet/{n:07}"}) + "\n" for n in range(REVOKED)))
    run(BIN / "countersign", "registrations", "import", "--config", ca.config, fleet)
    rules = place / "policy.toml"
    rules.write_text(policy(RULES))
    run(BIN / "countersign", "policy", "apply", "--config", ca.config, rules)
    ca.stop()
    run(BIN / "fleet", "seed", "--revoked", "--book", ca.dir / "state" / "book",
        "--issuer", ca.dir / "state" / "issuers" / "1" / "certificate.pem",
        "--profile", ca.dir / "profiles" / "workload.toml", "--below", f"spiffe://{TRUST_DOMAIN}/fleet/", timeout=1800)
    ca.start()
    figures = json.loads(run(
        BIN / "followers", "--ca", f"https://127.0.0.1:{ca.port}", "--socket", ca.dir / "state" / "admin.sock",
        "--trust-domain", TRUST_DOMAIN, "--identities", ca.identities, "--verifiers", VERIFIERS, "--revoked", REVOKED,
        timeout=900))
    ca.stop()
    return {**figures, "revoked": REVOKED, "rules": RULES}


def measure(scratch, started):
    """Everything here, with what each aim found."""
    counted, decided = handshakes(), decisions()
    reached = revocations(scratch, started)
    found = {
        "B6 server half / WebPKI": counted["ours"] / counted["webpki"],
        "B6 the same with a path seen before": counted["seen"] / counted["webpki"],
        "B6 the same with issuer anchoring": counted["anchored"] / counted["webpki"],
        "B6 100,000 revoked serials, MB": max(decided["revoked_heap_mb"], decided["revoked_resident_mb"]),
        "B7 identity against 10,000 rules, ns": decided["resolve_10000_rules_ns"],
        "B7 request allowed, ns": decided["request_allowed_ns"],
        "B7 request refused, ns": decided["request_refused_ns"],
        "B7 decision of 1,000,000 identities, ns": decided["decision_1000000_ids_ns"],
        "B7 1,000,000 identities / 100,000": decided["ids_ratio"],
        "revoked → refused by 200, p99, s": reached["refused_p99_us"] / 1e6,
    }
    return {"handshake_instructions": counted, "decisions": decided, "revocations": reached, "found": found}
