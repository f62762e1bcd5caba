"""The CA: `init`, its start, and its book at work; part of scripts/faults."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import servers
from fault_agent import pair
from fault_walk import PATIENCE, Ended, Wrong, injected, strace
from servers import TRUST_DOMAIN


def init(house, walk):
    def command(place):
        return [house.program, "init", "--trust-domain", TRUST_DOMAIN, "--dir", place, "--listen",
                f"127.0.0.1:{servers.free_port()}", "--ops-listen", f"127.0.0.1:{servers.free_port()}",
                "--passphrase-file", house.secret]

    def one(fault):
        return made(house, command, fault)

    walk.over("init", one, plain=lambda: plainly(house, command))


def plainly(house, command):
    """A command that makes a directory, seen by strace and without a fault."""
    place = house.scratch / house.new("plain")
    Ended(command(place), log=house.log).done()
    shutil.rmtree(place)


def made(house, command, fault, look=None):
    """A directory that `command` makes: under its name stands a whole CA, whatever failed, or nothing; and a second try makes
    one. `look` looks at one whose making went on."""
    place = house.scratch / house.new("made")
    try:
        ended = Ended(command(place), fault=fault, log=house.log).well()
        if ended.code == 0 and not place.exists():
            raise Wrong("it says done, and there is nothing")
        if not ended.hit:
            return ended
        if not place.exists():
            Ended(command(place)).done()
        sound(house, place / "countersign.toml")
        if look and ended.code == 0:
            look(place)
        return ended
    finally:
        shutil.rmtree(place, ignore_errors=True)
        for aside in house.scratch.glob(f".{place.name}.*"):
            shutil.rmtree(aside, ignore_errors=True)


def sound(house, config):
    """Everything is right with a CA that does not run, but for that."""
    found = json.loads(Ended([house.program, "check", "--json", "--config", config]).well().out)
    failed = [one["text"] for one in found if one["state"] == "failed"]
    if len(failed) != 1 or "no CA is running" not in failed[0]:
        raise Wrong(f"what was made is not sound: {failed}")


def start(house, walk):
    house.ca.start()
    directory = house.enrolled("starter")
    serial = pair(directory)
    house.ca.stop()

    def served(fault):
        """The CA under strace until it is ready or has ended; what it said, and its end."""
        words = house.scratch / "start.log"
        with open(words, "wb") as said:
            traced = subprocess.Popen(
                [*strace(house.log, fault), *map(str, house.ca.command())],
                stdout=said, stderr=said, stdin=subprocess.DEVNULL, cwd="/", start_new_session=True)
        until = time.monotonic() + PATIENCE
        while traced.poll() is None and not house.ca.ready() and time.monotonic() < until:
            time.sleep(0.01)
        ready = traced.poll() is None
        if ready:
            end_group(traced)
            if time.monotonic() >= until:
                raise Wrong(f"neither ready nor ended after {PATIENCE} s")
        return 0 if ready else traced.returncode, words.read_text(errors="replace")

    def one(fault):
        ended = Ended(["true"])
        ended.code, ended.said = served(fault)
        ended.hit, ended.killed = injected(house.log), fault[1] == "KILL"
        ended.well()
        if ended.hit:
            house.ca.start()
            try:
                if house.issued(serial) is None:
                    raise Wrong("the book has forgotten a certificate")
            finally:
                house.ca.kill()
        return ended

    walk.over("start", one, plain=lambda: served(None))


def end_group(traced):
    """Ends strace and the CA under it, which outlives it by a moment."""
    os.killpg(traced.pid, signal.SIGKILL)
    traced.wait()
    for _ in range(1000):
        try:
            os.killpg(traced.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)


class Tracer:
    """strace at a CA that runs."""

    def __init__(self, house, fault, *how):
        self.log = house.log
        self.process = subprocess.Popen([*strace(house.log, fault, "-p", str(house.ca.pid), *how)], stdin=subprocess.DEVNULL)
        until = time.monotonic() + 20
        while not traced(house.ca.pid):
            if self.process.poll() is not None or time.monotonic() > until:
                raise Wrong("strace did not attach")
            time.sleep(0.01)

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            # It waits for a process that was killed under it.
            self.process.kill()
            self.process.wait()
        return injected(self.log)


def traced(pid):
    states = [(task / "status").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    return all(not re.search(r"TracerPid:\s+0\b", state) for state in states)


def work(house, walk):
    """The CA at work: an invitation, an enrollment, a renewal and a revocation while one of its calls fails."""
    house.ca.start()
    book = house.ca.dir / "state" / "book"
    house.enrolled("worker")

    def acts():
        """What was acknowledged, as questions to the book afterwards."""
        kept, name = [], house.new("work")
        victim = pair(house.enrolled(house.new("victim")))
        yield kept
        invited = house.run("invite", f"spiffe://{TRUST_DOMAIN}/{name}").well()
        if invited.code == 0:
            kept.append((f"the invitation to {name}", lambda: house.agent_run(
                "enroll", "--invitation", invited.out.strip(), "--dir", house.scratch / name).done()))
            if house.agent_run("enroll", "--invitation", invited.out.strip(), "--dir", house.scratch / name).well().code == 0:
                serial = pair(house.scratch / name)
                kept[-1] = (f"the enrollment of {name}", lambda: known(house, serial, "live"))
        if house.agent_run("renew", "--dir", house.scratch / "worker").well().code == 0:
            renewed = pair(house.scratch / "worker")
            kept.append(("a renewal", lambda: known(house, renewed, "live")))
        if house.run("revoke", "serial", victim, "--reason", "fault").well().code == 0:
            kept.append(("a revocation", lambda: known(house, victim, "revoked")))
        yield kept

    def judged(break_it, killed=False):
        steps = acts()
        next(steps)
        mend, ended = break_it(), Ended(["true"])
        try:
            kept = next(steps)
            healthy, ready = house.ca.answers("/healthz"), house.ca.answers("/readyz")
            if healthy != 200 and not killed:
                raise Wrong(f"the CA is gone or ill ({house.ca.process.poll()}, {healthy}): {said(house)}")
        finally:
            ended.hit, ended.code = mend(), 1
        ended.code = int(ready != 200)
        house.ca.kill()
        house.ca.start()
        for what, is_there in kept:
            try:
                is_there()
            except Wrong as wrong:
                raise Wrong(f"{what} was acknowledged and is lost: {wrong}") from wrong
        house.agent_run("renew", "--dir", house.scratch / "worker").done()
        if "panicked" in said(house):
            raise Wrong(f"the CA panicked: {said(house)}")
        return ended

    def one(fault):
        # Sockets and what wakes a thread are left out: only what stands in its directory.
        files = [part for file in [house.ca.dir, *house.ca.dir.rglob("*")] for part in ("-P", str(file))]
        try:
            return judged(lambda: Tracer(house, fault, *files).end, fault[1] == "KILL")
        except Wrong:
            house.ca.kill()
            house.ca.start()
            raise
        finally:
            house.ca.log.write_text("")

    walk.over("the CA at work", one)

    def short(more):
        def break_it():
            # The journal is made long beforehand; what was written ends in its last block.
            end = max(file.stat().st_blocks * 512 for file in book.rglob("*") if file.suffix == ".jnl")
            subprocess.run(["prlimit", "--pid", str(house.ca.pid), f"--fsize={end - 4096 + more}:unlimited"], check=True)
            # It is killed next in any case.
            return lambda: []

        return judged(break_it)

    walk.short("the CA at work", short, range(0, 6000, 90 * walk.every))
    house.ca.stop()


def said(house):
    return house.ca.log.read_text(errors="replace")[-1500:]


def known(house, serial, status):
    found = house.issued(serial)
    if found is None:
        raise Wrong(f"{serial} is not in the book")
    # Certificates are kept a moment after they were given: what is in the book is that this one was to be signed.
    if found["status"] not in (status, *["intended"] * (status == "live")):
        raise Wrong(f"{serial} is {found['status']}, expected {status}")
