"""The servers that the measuring scripts start, all on loopback and free ports, and how they are asked."""

import contextlib
import http.client
import json
import os
import random
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
BIN = TARGET / "release"
TRUST_DOMAIN = "bench.example"
PASSPHRASE = "a scratch root of one benchmark"

# The bench drives thousands of identities from one address and renews each several times a minute, so the CA's
# limits on one source and one identity are raised out of the way. Everything else stays as `init` wrote it.
BENCH_CONFIG = {
    "limits": {
        "connections": 20000,
        "connections_per_source": 20000,
        "handshakes": 1024,
        "request_seconds": 60,
        "requests_per_second_per_source": 1000000,
        "burst_per_source": 1000000,
        "renewals_per_minute_per_machine": 10000,
        "tokens_per_second_per_identity": 1000000,
    },
}

# The CA's histograms of one group commit, as /metrics names them.
GROUP_SECONDS = "countersign_store_group_seconds"
GROUP_COMMANDS = "countersign_store_group_commands"


def free_port():
    """A free port below those that the system gives to outgoing connections: it must be free again after a restart."""
    while True:
        port = random.randrange(10000, 32000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def run(*command, timeout=300):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=timeout)
    if done.returncode:
        sys.exit(f"{Path(command[0]).name} {command[1] if len(command) > 1 else ''} failed: {done.stderr.strip()}")
    return done.stdout


def get(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


class Server:
    """A process that serves; ready when its second port answers."""

    def __init__(self, name, log):
        self.name, self.log = name, log
        self.port, self.ops = free_port(), free_port()
        self.process = None

    @property
    def pid(self):
        return self.process.pid

    def start(self):
        """Starts the process and returns how long it took until it was ready, in milliseconds."""
        begun = time.monotonic()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        while not self.ready():
            if self.process.poll() is not None:
                sys.exit(f"{self.name} did not start; its log says:\n{self.log.read_text()[-2000:]}")
            if time.monotonic() - begun > 30:
                sys.exit(f"{self.name} was not ready within 30 s; see {self.log}")
            time.sleep(0.0005)
        return (time.monotonic() - begun) * 1000

    def ready(self):
        try:
            return get(self.ops, self.ready_path)[0] == 200
        except OSError:
            return False

    def stop(self):
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def rss_mb(self):
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024


class Floor(Server):
    ready_path = "/stats"

    def __init__(self, scratch, durable, identities):
        self.dir = scratch / ("floor" if durable else "floor-unstored")
        super().__init__("floor", scratch / f"{self.dir.name}.log")
        self.durable = durable
        self.identities = self.dir / "identities.json"
        run(BIN / "floor", "init", self.dir, "--identities", identities)

    def command(self):
        listen = ["--listen", f"127.0.0.1:{self.port}", "--stats-listen", f"127.0.0.1:{self.ops}"]
        return [BIN / "floor", "serve", self.dir, *listen, *([] if self.durable else ["--no-store"])]

    def prepare(self, count):
        pass  # `floor init` has made the identities.

    def begin(self):
        get(self.ops, "/stats")

    def commits(self):
        """Group commits since `begin`."""
        stats = json.loads(get(self.ops, "/stats")[1])
        if not stats.get("groups"):
            return None
        per_sync = stats["records"] / stats["groups"]
        return {"per_sync": per_sync, "wait_p50_us": stats["wait_p50_us"]}


class Ca(Server):
    ready_path = "/readyz"
    bench_config = BENCH_CONFIG

    def __init__(self, scratch, durable, _identities):
        self.dir = scratch / ("ca" if durable else "ca-unstored")
        super().__init__("countersign", scratch / f"{self.dir.name}.log")
        self.identities = scratch / f"{self.dir.name}-identities.json"
        self.config = self.dir / "countersign.toml"
        passphrase = scratch / "passphrase"
        passphrase.write_text(PASSPHRASE + "\n")
        run(BIN / "countersign", "init", "--trust-domain", TRUST_DOMAIN, "--dir", self.dir,
            "--listen", f"127.0.0.1:{self.port}", "--ops-listen", f"127.0.0.1:{self.ops}",
            "--passphrase-file", passphrase)
        text = self.config.read_text()
        for table, values in {**self.bench_config, **({} if durable else {"store": {"engine": "memory"}})}.items():
            text = with_values(text, table, values)
        self.config.write_text(text)

    def command(self):
        return [BIN / "countersign", "serve", "--config", self.config]

    def prepare(self, count):
        """Enrolls `count` identities with invitations from the admin socket."""
        invitations, root = self.dir / "invitations", self.dir / "state" / "root.pem"
        socket_path = self.dir / "state" / "admin.sock"
        invitations.write_text(
            run(BIN / "load", "invite", "--socket", socket_path, "--trust-domain", TRUST_DOMAIN, "--count", count))
        run(BIN / "load", "enroll", "--invitations", invitations, "--server", f"127.0.0.1:{self.port}",
            "--root", root, "--out", self.identities)

    def begin(self):
        self.before = self.metrics()

    def metrics(self):
        text = get(self.ops, "/metrics")[1]
        pattern = re.compile(rf'^({GROUP_SECONDS}|{GROUP_COMMANDS})_(sum|count|bucket\{{le="[^"]+"\}}) (\S+)', re.M)
        return {f"{name}_{part}": float(value) for name, part, value in pattern.findall(text)}

    def commits(self):
        """Group commits since `begin`; the median lies inside a bucket, found by straight interpolation."""
        now = self.metrics()
        grown = {key: value - self.before.get(key, 0) for key, value in now.items()}
        groups = grown.get(f"{GROUP_SECONDS}_count", 0)
        if not groups:
            return None
        bounds = []
        for key, count in grown.items():
            bound = re.fullmatch(rf'{GROUP_SECONDS}_bucket\{{le="([^"]+)"\}}', key)
            if bound and bound[1] != "+Inf":
                bounds.append((float(bound[1]), count))
        low, below = 0.0, 0.0
        for high, count in sorted(bounds):
            if count >= groups / 2:
                median = low + (high - low) * (groups / 2 - below) / max(count - below, 1)
                break
            low, below = high, count
        else:
            median = low
        return {
            "per_sync": grown.get(f"{GROUP_COMMANDS}_sum", groups) / groups,
            "wait_p50_us": median * 1e6,
            "mean_us": grown[f"{GROUP_SECONDS}_sum"] / groups * 1e6,
        }


def with_values(text, table, values):
    """`text` with the values set in one of its TOML tables, each on a line of its own."""
    head, found, rest = text.partition(f"[{table}]\n")
    body, next_table, tail = rest.partition("\n[") if found else ("", "", "")
    for key, value in values.items():
        line = f"{key} = {json.dumps(value)}"
        body, changed = re.subn(rf"(?m)^{key}\s*=.*$", line, body)
        body = body if changed else f"{line}\n{body}"
    return f"{head.rstrip()}\n\n[{table}]\n{body}{next_table}{tail}"


def calibrate(scratch, each_ms):
    return json.loads(run(BIN / "calibrate", "--dir", scratch, "--each-ms", each_ms))
