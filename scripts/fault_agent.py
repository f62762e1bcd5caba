"""The agent, and every call on a file of an enrollment and a renewal; part of scripts/faults."""

import json
import shutil
import subprocess

from fault_walk import AGENT_FAULTS, PATIENCE, Wrong
from servers import TRUST_DOMAIN


def pair(directory):
    """Serial of the certificate in an agent's directory, which belongs to the key there; None if there is none."""
    certificate, key = directory / "svid.pem", directory / "svid.key"
    if not certificate.exists() and not key.exists():
        return None
    said = [subprocess.run(["openssl", *command], capture_output=True, text=True, timeout=PATIENCE).stdout for command in (
        ["x509", "-in", certificate, "-noout", "-pubkey"], ["pkey", "-in", key, "-pubout"],
        ["x509", "-in", certificate, "-noout", "-serial"])]
    if not said[0] or said[0] != said[1]:
        raise Wrong(f"certificate and key in {directory} do not belong together")
    return said[2].strip().removeprefix("serial=").lower()


def agent(house, walk):
    house.ca.start()

    def enroll(fault=None, fsize=None):
        name = house.new("enroll")
        directory, invitation = house.scratch / name, house.invite(name)
        command = ["enroll", "--invitation", invitation, "--dir", directory]
        ended = house.agent_run(*command, fault=fault, fsize=fsize, log=house.log if fault else None).well()
        if ended.hit or fsize is not None:
            pair(directory)
            house.agent_run(*(["renew", "--dir", directory] if ended.code == 0 else command)).done()
            pair(directory)
            held = json.loads(house.run("machines", "list", "--json").done().out)
            count = sum(machine["spiffe_id"] == f"spiffe://{TRUST_DOMAIN}/{name}" for machine in held)
            if count != 1:
                raise Wrong(f"{count} machines came of one invitation")
        shutil.rmtree(directory, ignore_errors=True)
        return ended

    def renew(fault=None, fsize=None):
        directory = house.scratch / "renewer"
        ended = house.agent_run("renew", "--dir", directory, fault=fault, fsize=fsize,
                                log=house.log if fault else None).well()
        if ended.hit or fsize is not None:
            before = pair(directory)
            if house.issued(before) is None:
                raise Wrong("the agent holds a certificate that the book does not know")
            house.agent_run("renew", "--dir", directory).done()
            if pair(directory) == before:
                raise Wrong("nothing was renewed")
        return ended

    house.enrolled("renewer")
    for what, one in (("agent enroll", enroll), ("agent renew", renew)):
        walk.over(what, one, AGENT_FAULTS)
        # Certificates and keys are of 200 to 2,000 octets: every file is cut somewhere.
        walk.short(what, lambda size, one=one: one(fsize=size), range(0, 2400, 40 * walk.every))
    house.ca.stop()
