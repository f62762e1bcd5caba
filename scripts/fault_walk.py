"""How scripts/faults lets one file-system call fail, and counts what came of it."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import servers
from servers import TRUST_DOMAIN, Ca

# What any call on a file may say of a disk: access, the device, its space. Some say one of them on no real disk.
ERRORS = ["EACCES", "EIO", "ENOSPC"]
# Calls that only look; whoever is killed at one was as well killed at the call before.
LOOKING = ["read", "pread64", "readlink", "statx", "newfstatat", "getdents64", "close"]
CHANGING = ["open", "openat", "mkdir", "mkdirat", "rename", "renameat", "renameat2", "symlink", "symlinkat", "link", "linkat", "unlink",
            "unlinkat", "rmdir", "fchmod", "chmod", "fchown", "chown", "utimensat", "ftruncate", "fallocate", "fsync",
            "fdatasync", "write", "writev", "pwrite64", "copy_file_range", "sendfile", "flock"]
FAULTS = {**{call: [*ERRORS, "KILL"] for call in CHANGING}, **{call: ERRORS for call in LOOKING}}
# The agent is killed at those too, and its descriptors are asked after.
AGENT_FAULTS = {call: [*ERRORS, "KILL"] for call in (
    "open", "openat", "mkdir", "rename", "symlink", "unlink", "fsync", "write", "read", "getdents64", "flock", "readlink", "statx",
    "newfstatat", "fcntl", "close")}
# A run has fewer calls of one kind.
MOST = 400
PATIENCE = 60
# On no disk: what wakes a thread, sockets, pipes, the kernel's own; and what the loader reads before the program begins.
FOREIGN = re.compile(r'<(anon_inode|socket|pipe|TCP|UNIX)|\.so\b|ld\.so|[<"]/(proc|sys|dev)/')
# A path: of a descriptor, or spelled out. The directory that relative paths begin at is none.
NAMED = re.compile(r'[<"]/')
SPOKEN = re.compile(r"\S+ \S+")
CALL = re.compile(r"(\d+) +(\w+)\(")


class Wrong(Exception):
    """Something that must never be."""


def of_a_file(line):
    """Whether a line of strace is a call on a file, and not on a socket, a pipe or one of the loader's libraries."""
    return bool(NAMED.search(re.sub(r"AT_FDCWD<[^>]*>", "", line))) and not FOREIGN.search(line)


def injected(log):
    """The calls that failed (strace counts them thread by thread), as it shows them: in two lines where another thread
    came between. Or the call at which the process was killed: the last."""
    begun, hits, last = {}, [], None
    for line in log.read_text(errors="replace").splitlines() if log.exists() else []:
        thread = line.split(maxsplit=1)[0]
        if "<unfinished ...>" in line:
            begun[thread] = line
        if "(INJECTED)" in line:
            hits.append(begun.get(thread, "") + line if "resumed>" in line else line)
        if "killed by SIGKILL" in line and last:
            hits.append(last)
        if "+++" not in line:
            last = line
    return hits


def numbers(log):
    """Of every kind of call the numbers, counted in each thread, at which one came upon a file in a run without a fault."""
    seen, found = {}, {}
    for line in log.read_text(errors="replace").splitlines():
        call = CALL.match(line)
        if call:
            thread, name = call.groups()
            seen[thread, name] = seen.get((thread, name), 0) + 1
            if of_a_file(line):
                found.setdefault(name, set()).add(seen[thread, name])
    return found


def strace(log, fault, *how):
    """strace around a command, or onto a process: it lets one call fail, or shows them all."""
    log.unlink(missing_ok=True)
    command = ["strace", "-f", "-qq", "-y", "-o", str(log), *how]
    if how[:1] != ("-p",) and (fault is None or fault[1] != "KILL"):
        # Quicker; but a signal is not sent under it.
        command.insert(1, "--seccomp-bpf")
    if fault is None:
        return [*command, "-e", "trace=" + ",".join(FAULTS | AGENT_FAULTS)]
    call, error, number = fault
    what = "signal=KILL" if error == "KILL" else f"error={error}"
    return [*command, "-e", f"trace={call}", "-e", f"inject={call}:{what}:when={number}"]


class Ended:
    """A command that ran, perhaps under strace."""

    def __init__(self, command, stdin=None, fault=None, log=None, fsize=None):
        command = [str(part) for part in command]
        if log:
            command = [*strace(log, fault), *command]
        if fsize is not None:
            # Ignored, so that the call fails with EFBIG instead of ending the process.
            command = ["sh", "-c", 'trap "" XFSZ; exec "$@"', "sh", "prlimit", f"--fsize={fsize}", *command]
        try:
            # No relative path leads into the scratch directory.
            done = subprocess.run(command, cwd="/", input=stdin, capture_output=True, text=True, timeout=PATIENCE)
        except subprocess.TimeoutExpired as hung:
            raise Wrong(f"hung for {PATIENCE} s: {' '.join(command)}") from hung
        self.code, self.out, self.said = done.returncode, done.stdout, done.stderr
        self.hit = injected(log) if fault else []
        self.killed = bool(fault) and fault[1] == "KILL" and self.code == -signal.SIGKILL

    def well(self):
        """Nobody panics, dies of a signal or fails without words."""
        if "panicked" in self.said:
            raise Wrong(f"panicked: {self.said}")
        if self.killed:
            return self
        if self.code not in (0, 1, 2, 3):
            raise Wrong(f"ended with {self.code}: {self.said}")
        if self.code and not SPOKEN.search(self.said):
            raise Wrong(f"ended with {self.code} and said nothing: {self.said!r}")
        return self

    def done(self):
        if self.well().code:
            raise Wrong(f"refused without a fault: {self.said.strip()} {self.out.strip()}")
        return self


class Unlimited(Ca):
    """A CA to which a file that may not grow is an error, and not a signal."""

    def command(self):
        return ["sh", "-c", 'trap "" XFSZ; exec "$@"', "sh", *super().command()]

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def answers(self, path):
        """The status of a path of the ops listener, None if nobody answers."""
        try:
            return servers.get(self.ops, path)[0]
        except OSError:
            return None


class House:
    """A CA that is made once, and scratch room."""

    def __init__(self, scratch):
        self.scratch, self.log, self.secret = scratch, scratch / "strace", scratch / "passphrase"
        self.ca = Unlimited(scratch, True, 0)
        self.program, self.agent = servers.BIN / "countersign", servers.BIN / "countersign-agent"
        self.numbers = iter(range(10**6))
        self.pristine = scratch / "pristine"

    def run(self, *command, **how):
        return Ended([self.program, *command, "--config", self.ca.config], **how)

    def agent_run(self, *command, **how):
        return Ended([self.agent, *command], **how)

    def new(self, kind):
        return f"{kind}{next(self.numbers)}"

    def invite(self, name):
        return self.run("invite", f"spiffe://{TRUST_DOMAIN}/{name}").done().out.strip()

    def enrolled(self, name):
        self.agent_run("enroll", "--invitation", self.invite(name), "--dir", self.scratch / name).done()
        return self.scratch / name

    def issued(self, serial):
        shown = self.run("issued", "show", serial, "--json")
        return json.loads(shown.out) if shown.well().code == 0 else None

    def keep(self):
        """Keeps the CA, which does not run, as it is now."""
        shutil.rmtree(self.pristine, ignore_errors=True)
        copied(self.ca.dir, self.pristine)

    def reset(self):
        """The CA as it was kept."""
        self.ca.kill()
        shutil.rmtree(self.ca.dir)
        copied(self.pristine, self.ca.dir)


def copied(source, target):
    # The journals are made long beforehand, and mostly holes.
    subprocess.run(["cp", "-a", "--sparse=always", str(source), str(target)], check=True)


class Walk:
    """Counts and shows what was tried."""

    def __init__(self, every, call, error, house):
        self.every, self.call, self.error, self.log = every, call, error, house.log
        self.tried, self.failed, self.bore, self.apart, self.wrong = 0, 0, 0, 0, []

    def over(self, what, one, faults=FAULTS, plain=None):
        """Calls `one` with every fault. `plain` lets strace see a run without one, for the numbers of the calls on files;
        without it every number until there is no such call left."""
        before, planned = (self.tried, len(self.wrong)), None
        if plain:
            planned = {}
            # Twice, since threads take turns as they like.
            for _ in range(2):
                plain()
                for call, found in numbers(self.log).items():
                    planned.setdefault(call, set()).update(found)
        for call, errors in faults.items():
            if self.call not in (None, call):
                continue
            tried = self.tried
            for error in [error for error in errors if self.error in (None, error)]:
                for number in (range(1, MOST) if planned is None else sorted(planned.get(call, ())))[::self.every]:
                    if not self.once(what, one, (call, error, number)) and planned is None:
                        break
            if self.tried > tried:
                print(f"{time.strftime('%H:%M:%S')} {what}, {call}: {self.tried - before[0]} faults so far, "
                      f"{len(self.wrong) - before[1]} wrong", flush=True)

    def once(self, what, one, fault):
        """Whether there was such a call."""
        self.log.unlink(missing_ok=True)
        try:
            ended, wrong = one(fault), None
        except Wrong as found:
            ended, wrong = None, found
        hits = injected(self.log)
        if not hits:
            if wrong:
                self.add(what, fault, wrong)
            return False
        files = [of_a_file(hit) for hit in hits]
        if wrong and not all(files):
            # Another thread failed with it, or it alone: whose fault it is nobody can tell.
            self.apart += any(files)
            return True
        if wrong:
            self.tried += 1
            self.add(what, fault, f"{wrong} [{hits[0]}]")
        elif any(files):
            self.tried += 1
            self.failed += ended.code != 0
            self.bore += ended.code == 0
        return True

    def add(self, what, fault, wrong):
        self.wrong.append(f"{what}, {fault}: {wrong}")
        print(f"WRONG {self.wrong[-1]}", flush=True)

    def short(self, what, one, sizes):
        """Calls `one` with limits on the size of files."""
        for size in sizes:
            self.tried += 1
            try:
                ended = one(size)
                self.failed += ended.code != 0
                self.bore += ended.code == 0
            except Wrong as wrong:
                self.add(what, f"files of at most {size} octets", wrong)
        print(f"{time.strftime('%H:%M:%S')} {what}, short writes: {self.tried} faults in all", flush=True)
