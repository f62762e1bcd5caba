"""Commands with files of their own, by their own calls and by those of the CA that they ask; part of scripts/faults."""

import json
import shutil
import tarfile

from fault_agent import pair
from fault_ca import Tracer, made, plainly, said, sound
from fault_walk import Ended, Wrong, copied
from servers import TRUST_DOMAIN


def prepare(house):
    """A CA with a machine and another registration, a backup and a snapshot of it, kept; the machine's serial."""
    house.ca.start()
    serial = pair(house.enrolled("commander"))
    house.run("registrations", "set", f"spiffe://{TRUST_DOMAIN}/other", "--owner", "somebody").done()
    for command in commands(house):
        if command.makes:
            house.run(*command.words(house.scratch / f"good.{command.makes}")).done()
    house.ca.stop()
    house.keep()
    return serial


def restore(house, walk):
    """A restore, from a backup and a newer snapshot."""
    serial = prepare(house)

    def command(place):
        return [house.program, "restore", house.scratch / "good.backup", "--dir", place, "--trust",
                house.scratch / "good.trust", "--passphrase-file", house.secret]

    def look(place):
        shutil.rmtree(house.ca.dir)
        copied(place, house.ca.dir)
        house.ca.start()
        try:
            if house.issued(serial) is None:
                raise Wrong("it says done, and the book has forgotten a certificate")
        finally:
            house.ca.kill()

    walk.over("restore", lambda fault: made(house, command, fault, look), plain=lambda: plainly(house, command))
    house.reset()


class Command:
    """A command to a CA that runs. `makes` is the kind of file it leaves, `whole` looks whether one is."""

    def __init__(self, *words, makes=None, whole=None):
        self.plain, self.makes, self.whole = words, makes, whole
        self.name = " ".join(words[:2] if words[0] in ("issuer", "bundle", "policy", "registrations") else words[:1])

    def words(self, file):
        return [*self.plain, *([file] if self.makes else [])]


def commands(house):
    return [
        Command("backup", makes="backup", whole=lambda file: archive(house, file)),
        Command("bundle", "export", makes="trust", whole=lambda file: json.loads(file.read_text())),
        Command("registrations", "export", makes="jsonl",
                whole=lambda file: len([json.loads(line) for line in file.read_text().splitlines()]) == 2),
        Command("registrations", "import", house.scratch / "good.jsonl"),
        Command("policy", "apply", house.ca.dir / "policy.toml"),
        Command("reload"),
        Command("issuer", "rotate", "--passphrase-file", house.secret),
    ]


def archive(house, file):
    """Whether a backup holds all that the good one does."""
    names = [sorted(tarfile.open(one).getnames()) for one in (file, house.scratch / "good.backup")]
    return names[0] == names[1]


def command(house, walk):
    """Every call of the commands themselves, while a CA runs; `issuer rotate` also while none does."""
    serial = prepare(house)
    for each in commands(house):
        walk.over(f"{each.name}, its own calls", lambda fault, each=each: asked(house, each, serial, fault, None),
                  plain=lambda each=each: asked(house, each, serial, None, None))
    rotate = commands(house)[-1]
    walk.over(f"{rotate.name}, no CA running", lambda fault: alone(house, rotate, serial, fault),
              plain=lambda: alone(house, rotate, serial, None))
    house.reset()


def server(house, walk):
    """Every call of the CA while a command asks it for what it reads or writes files for."""
    serial = prepare(house)
    for each in commands(house):
        walk.over(f"{each.name}, the CA's calls", lambda fault, each=each: asked(house, each, serial, None, (fault,)),
                  plain=lambda each=each: asked(house, each, serial, None, (None,)))
    house.reset()


def asked(house, each, serial, own, theirs):
    """One command to a CA as it was kept, with a fault of its `own` calls or of `theirs`, the CA's; afterwards the same
    command is done, after a restart where the book is latched or the CA was killed."""
    house.reset()
    house.ca.log.write_text("")
    house.ca.start()
    file = house.scratch / house.new("file")
    words = each.words(file)
    try:
        if theirs is None:
            ended = house.run(*words, fault=own, log=house.log)
        else:
            tracer = Tracer(house, theirs[0])
            try:
                ended = house.run(*words)
            finally:
                hit = tracer.end()
            ended.hit = hit
        ended.well()
        left(each, file, ended)
        if ended.hit:
            whole(house, theirs is not None and theirs[0] is not None and theirs[0][1] == "KILL")
            if not file.exists():
                house.run(*words).done()
                left(each, file, None)
            known(house, serial)
        return ended
    finally:
        house.ca.kill()
        for one in house.scratch.glob(f"*{file.name}*"):
            one.unlink()


def left(each, file, ended):
    """What a command left under the name it was given is whole, and is there if it said so."""
    if not each.makes:
        return
    if not file.exists():
        if ended is None or ended.code == 0:
            raise Wrong("it says done, and there is no file")
        return
    try:
        good = each.whole(file)
    except (ValueError, KeyError, tarfile.TarError) as error:
        raise Wrong(f"the file is not whole: {error}") from error
    if not good:
        raise Wrong("the file lacks something")


def whole(house, killed):
    """The CA goes on, or was killed, or has latched its book; then it starts again."""
    healthy, ready = house.ca.answers("/healthz"), house.ca.answers("/readyz")
    if healthy != 200 and not killed:
        raise Wrong(f"the CA is gone or ill ({house.ca.process.poll()}, {healthy}): {said(house)}")
    if "panicked" in said(house):
        raise Wrong(f"the CA panicked: {said(house)}")
    if ready != 200:
        house.ca.kill()
        house.ca.start()


def known(house, serial):
    if house.issued(serial) is None:
        raise Wrong("the book has forgotten a certificate")
    house.agent_run("status", "--dir", house.scratch / "commander").well()


def alone(house, rotate, serial, fault):
    """A rotation without a CA, which starts with whatever came of it; then another."""
    house.reset()
    ended = house.run(*rotate.words(None), fault=fault, log=house.log).well()
    if ended.hit:
        house.ca.start()
        known(house, serial)
        house.run(*rotate.words(None)).done()
        house.ca.kill()
        (house.ca.dir / "state" / "admin.sock").unlink(missing_ok=True)
        sound(house, house.ca.config)
    return ended
