"""The CA with a large fleet in its book (B8, B11, B12), ten minutes of renewals, the size of a book that certificates pass
through, and what ten million tokens leave; part of scripts/bench.

Two CAs run side by side: one whose book holds nothing but the clients that renew, one with a fleet besides. The fleet is
registered through `countersign registrations import` and enrolled through the store's own commands.
"""

import datetime
import json
import statistics
import subprocess
import sys
import time

import bench_tokens
from servers import BIN, TRUST_DOMAIN, Ca, calibrate, get, run

# What the CA aims at: figure, at most.
AIMS = {
    "B8 CPU per renewal, large / small book": 1.2,
    "B11 memory per machine, octets": 250.0,
    "B12 start to first renewal, s": 2.0,
    "B12 the same after kill -9 under load, s": 2.0,
    "B12 acknowledged certificates lost": 0,
    "import, minutes": 10.0,
    "sweep of a fresh fleet: longest wait of others, s": 0.25,
    "herd: renewals refused": 0,
    "flat: book in the last tenth / in the second": 1.1,
    "flat: memory in the last tenth / in the second": 1.1,
    "flat: archive, octets an event": 300,
    "tokens: book grown, octets a token": 0.05,
    "tokens: memory grown after the first tenth, MB": 4.0,
    "tokens: refused or twice": 0,
}

# How long the herd renews.
HERD_SECONDS = 600

# Nothing may end while the rounds are made, whatever the machine is busy with.
LIFETIME = "24h"


def say(text):
    print(f"{datetime.datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)


class Fleet(Ca):
    """A CA whose certificates outlast the measuring, with clients that renew and one that comes first after a start."""

    def __init__(self, scratch, active):
        scratch.mkdir()
        super().__init__(scratch, True, active)
        self.active = active
        self.first = scratch / "first.json"
        profile = self.dir / "profiles" / "workload.toml"
        profile.write_text(profile.read_text().replace('lifetime = "1h"', f'lifetime = "{LIFETIME}"'))

    def prepare(self, count):
        super().prepare(count + 1)
        file = json.loads(self.identities.read_text())
        self.first.write_text(json.dumps({**file, "identities": file["identities"][:1]}))
        file["identities"] = file["identities"][1:]
        self.identities.write_text(json.dumps(file))
        for secret in (self.first, self.identities):
            secret.chmod(0o600)

    def load(self, *mode, identities=None, concurrency=10, seconds=60):
        text = run(BIN / "load", *mode, "--server", f"127.0.0.1:{self.port}",
                   "--identities", identities or self.identities, "--connections", self.active,
                   "--concurrency", concurrency, "--seconds", seconds, "--pid", self.pid)
        return json.loads(text)

    def start_and_renew(self):
        """Seconds from the start of the process until a machine has its next certificate, the loader's own start in it."""
        begun = time.monotonic()
        self.start()
        figures = self.load("fresh", identities=self.first, concurrency=1)
        taken = time.monotonic() - begun
        # The loader waits before and after its window for the server to settle.
        return taken - 0.4, figures["issued"]


def import_registrations(ca, machines, scratch):
    """Registers `spiffe://TD/fleet/N` for each N, through the command line; seconds taken."""
    file = scratch / "registrations.jsonl"
    with open(file, "w") as lines:
        for number in range(machines):
            lines.write(json.dumps({"spiffe_id": f"spiffe://{TRUST_DOMAIN}/fleet/{number:07}"}) + "\n")
    begun = shown = time.monotonic()
    command = [BIN / "countersign", "registrations", "import", "--config", ca.config, file]
    importing = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while importing.poll() is None:
        time.sleep(1)
        if time.monotonic() - begun > 3600:
            importing.kill()
            sys.exit("the import took more than an hour")
        if time.monotonic() > shown + 10:
            shown = time.monotonic()
            # On a terminal the command itself counts.
            say(f"importing for {shown - begun:.0f} s, the CA has {ca.rss_mb():.0f} MB")
    if importing.returncode:
        sys.exit("the import failed")
    file.unlink()
    return time.monotonic() - begun


def seed(ca):
    """Enrolls the fleet into the book of the CA, which does not run."""
    text = subprocess.run(
        [BIN / "fleet", "seed", "--book", ca.dir / "state" / "book",
         "--issuer", ca.dir / "state" / "issuers" / "1" / "certificate.pem",
         "--profile", ca.dir / "profiles" / "workload.toml", "--below", f"spiffe://{TRUST_DOMAIN}/fleet/"],
        stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(text)


def rounds(small, large, scratch, options):
    """Both CAs under the same load, who goes first alternating: CPU per renewal, latencies, memory."""
    rows = []
    for number in range(options.fleet_rounds):
        row = {}
        servers = [("small", small), ("large", large)]
        for name, ca in servers if number % 2 == 0 else servers[::-1]:
            row[name] = ca.load("keep-alive", "--per-connection", "1")
            row[name]["verify_us"] = calibrate(scratch, 100)["verify_us"]
            row[name]["rss_mb"] = ca.rss_mb()
        rows.append(row)
        say(f"round {number + 1}/{options.fleet_rounds}: " + ", ".join(
            f"{name} {row[name]['server_cpu_us']:.0f} µs, p99 {row[name]['p99_us'] / 1000:.1f} ms, "
            f"{row[name]['rss_mb']:.0f} MB, refused {row[name]['refused']}" for name in row))
    return rows


def killed_under_load(ca):
    """Kills the CA among renewals; then everybody renews with what they were given last."""
    loading = subprocess.Popen(
        [BIN / "load", "fresh", "--server", f"127.0.0.1:{ca.port}", "--identities", ca.identities,
         "--connections", str(ca.active), "--concurrency", "10", "--seconds", "60"],
        stdout=subprocess.PIPE, text=True)
    # Its keys are made first; then renewals run for a second or two.
    before, deadline = metric(ca, "countersign_store_group_commands_sum"), time.monotonic() + 60
    while metric(ca, "countersign_store_group_commands_sum") < before + ca.active / 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    ca.process.kill()
    ca.process.wait()
    acknowledged = json.loads(loading.communicate()[0])["issued"]
    seconds, _ = ca.start_and_renew()
    after = ca.load("fresh")
    return {"seconds": seconds, "acknowledged_before": acknowledged, "issued_after": after["issued"],
            "lost": ca.active - after["issued"]}


def metric(ca, name):
    text = get(ca.ops, "/metrics")[1]
    return next((float(line.split()[1]) for line in text.splitlines() if line.startswith(name + " ")), 0.0)


def fleet(scratch, options, started):
    small, large = Fleet(scratch / "small", options.active), Fleet(scratch / "large", options.active)
    started += [small, large]
    for ca in (small, large):
        ca.start()
        ca.prepare(options.active)
    say(f"importing {options.machines:,} registrations")
    imported = import_registrations(large, options.machines, scratch)
    say(f"imported in {imported:.0f} s; enrolling")
    large.stop()
    seeded = seed(large)
    say(f"enrolled {seeded['machines']:,} machines in {seeded['seconds']:.0f} s")
    first = []
    for _ in range(3):
        large.stop()
        seconds, _ = large.start_and_renew()
        say(f"first renewal {seconds:.2f} s after the start")
        first.append(seconds)
    small.stop()
    small.start()
    rows = rounds(small, large, scratch, options)
    killed = killed_under_load(large)
    say(f"killed under load: first renewal after {killed['seconds']:.2f} s, lost {killed['lost']}")
    large.stop()
    swept = json.loads(run(BIN / "fleet", "sweep", "--book", large.dir / "state" / "book"))
    say(f"a sweep: {swept['seconds']:.0f} s, {'done' if swept['finished'] else 'not done'}; others waited up to "
        f"{swept['longest_wait_ms']:.0f} ms")
    per_machine = (rows[-1]["large"]["rss_mb"] - rows[-1]["small"]["rss_mb"]) * 2**20 / options.machines
    book = sum(f.stat().st_size for f in (large.dir / "state" / "book").rglob("*") if f.is_file())
    return {
        "machines": options.machines, "active": options.active, "import_s": imported, "seed_s": seeded["seconds"],
        "book_mb": book / 1e6, "first_renewal_s": first, "rounds": rows, "killed": killed, "sweep": swept,
        "found": {
            "import, minutes": imported / 60,
            # The means, not the median of ratios: merging tables is a cost too, and falls into few of the rounds.
            "B8 CPU per renewal, large / small book": statistics.mean(row["large"]["server_cpu_us"] for row in rows)
            / statistics.mean(row["small"]["server_cpu_us"] for row in rows),
            "B11 memory per machine, octets": per_machine,
            "B12 start to first renewal, s": statistics.median(first),
            "B12 the same after kill -9 under load, s": killed["seconds"],
            "B12 acknowledged certificates lost": killed["lost"],
            "sweep of a fresh fleet: longest wait of others, s": swept["longest_wait_ms"] / 1000,
        },
    }


def herd(scratch, options, started):
    """As many machines as are active renew for ten minutes: in turns over a new connection each, 32 at a time, and over
    connections that are all open at once."""
    ca = Fleet(scratch / "herd", options.active)
    started.append(ca)
    ca.start()
    ca.prepare(options.active)
    begun, rows = time.monotonic(), []
    while time.monotonic() < begun + HERD_SECONDS:
        mode = ["fresh"] if len(rows) % 2 == 0 else ["keep-alive", "--per-connection", "1"]
        rows.append({"mode": mode[0], **ca.load(*mode, concurrency=32)})
        say(f"herd, {mode[0]}: {sum(row['issued'] for row in rows):,} renewals in {time.monotonic() - begun:.0f} s, "
            f"refused {sum(sum(row['refused'].values()) for row in rows)}, p99 {rows[-1]['p99_us'] / 1000:.0f} ms")
    ca.stop()
    refused = sum(sum(row["refused"].values()) for row in rows)
    return {"rounds": rows, "seconds": time.monotonic() - begun, "found": {"herd: renewals refused": refused}}


def flat(scratch, options, _started):
    """Certificates of five minutes pass through a book by an injected clock."""
    churning = subprocess.Popen(
        [BIN / "fleet", "churn", "--dir", scratch / "churn", "--issuances", str(options.issuances)],
        stdout=subprocess.PIPE, text=True)
    samples = []
    for line in churning.stdout:
        samples.append(json.loads(line))
        one = samples[-1]
        say(f"{one['issued']:>10,} issued, {one['held']:,} held, {one['events']:,} events: book {one['book_mb']:.0f} MB "
            f"(up to {one['book_most_mb']:.0f}), archive {one['archive_mb']:.0f} MB, {one['archive_octets_an_event'] or 0} octets "
            f"and {one['archive_us_an_event']:.1f} µs an event, memory {one['rss_mb']:.0f} MB, {one['per_second']:.0f} a second")
    if churning.wait():
        sys.exit("the churn failed")
    # The book swings as the hour fills and tables are merged: means over as many samples at both ends.
    part = max(1, len(samples) // 10)
    early, late = samples[part:2 * part], samples[-part:]

    def grown(name):
        return statistics.mean(one[name] for one in late) / statistics.mean(one[name] for one in early)

    return {"samples": samples, "found": {
        "flat: book in the last tenth / in the second": grown("book_mb"),
        "flat: memory in the last tenth / in the second": grown("rss_mb"),
        "flat: archive, octets an event": samples[-1]["archive_octets_an_event"],
    }}


def traces(scratch, options, started):
    """Tokens, one after the other, and what of them is left."""
    ca, _ = bench_tokens.make(scratch, started, 0)
    bench_tokens.ask(ca, 4 * bench_tokens.CONNECTIONS, "mint")
    rows = bench_tokens.traces(ca, options.tokens, 10)
    ca.stop()
    return {"tokens": rows, "found": {
        "tokens: book grown, octets a token": (rows[-1]["book"] - rows[0]["book"]) / options.tokens,
        "tokens: memory grown after the first tenth, MB": rows[-1]["rss_mb"] - rows[1]["rss_mb"],
        "tokens: refused or twice": sum(row["refused"] + row["twice"] for row in rows[1:]),
    }}


PARTS = {"fleet": fleet, "herd": herd, "flat": flat, "traces": traces}


def sizes(parser):
    """How large it all is, as arguments."""
    parser.add_argument("--machines", type=int, default=1_000_000, help="of the fleet; default 1,000,000")
    parser.add_argument("--active", type=int, default=2000, help="clients beside the fleet that renew; default 2,000")
    parser.add_argument("--issuances", type=int, default=10_000_000, help="that pass through one book; default 10,000,000")
    parser.add_argument("--tokens", type=int, default=10_000_000, help="that are bought and leave nothing; default 10,000,000")
