"""OpenDMARC over messages in files, with a name server of the test's own.

It asks the name server of the system alone, so it is run where that is ours: in a network and a mount namespace of its
own, in which nothing else listens.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.peers.process import AS_ROOT
from tests.peers.zone_dns import ZoneDns

PROGRAM = shutil.which("opendmarc", path="/usr/sbin:/usr/bin")
SUFFIXES = Path("/usr/share/publicsuffix/public_suffix_list.dat")
ROOT = Path(__file__).parents[2]
AUTHSERV_ID = "gw.example"
_ENTER = 'ip link set lo up && mount --bind resolv.conf /etc/resolv.conf && exec "$@"'


def judge(folder: Path, messages: Sequence[bytes], records: Mapping[str, str]) -> list[str]:
    """Return what it says of each message, the value of a field; `records` are TXT ones, all others are absent.

    It believes the fields of results that the messages have under AUTHSERV_ID.
    """
    assert PROGRAM is not None, "opendmarc is missing: see tests/bootstrap.sh"
    for number, octets in enumerate(messages):
        (folder / f"m{number}").write_bytes(octets)
    (folder / "records.json").write_text(json.dumps({"records": dict(records), "count": len(messages)}))
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    (folder / "opendmarc.conf").write_text(
        f"AuthservID {AUTHSERV_ID}\nTrustedAuthservIDs {AUTHSERV_ID}\nPublicSuffixList {SUFFIXES}\nSyslog false\n"
    )
    inside = [sys.executable, "-m", "tests.peers.opendmarc", str(folder)]
    command = [*AS_ROOT, "unshare", "--net", "--mount", "sh", "-c", f"cd {folder} && {_ENTER}", "sh"]
    said = subprocess.run(
        [*command, "env", f"PYTHONPATH={ROOT}", *inside], capture_output=True, text=True, timeout=300, check=True
    )
    found: list[str] = json.loads(said.stdout)
    return found


def _inside(folder: Path) -> None:
    told = json.loads((folder / "records.json").read_text())
    records = {(name, "TXT"): [text] for name, text in told["records"].items()}
    with ZoneDns(records, address=("127.0.0.1", 53)):
        found = []
        for number in range(told["count"]):
            command = [str(PROGRAM), "-c", "opendmarc.conf", "-t", f"m{number}", "-v", "-v"]
            said = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=True)
            found.append(said.stdout.partition("hvalue='")[2].partition("'")[0])
    print(json.dumps(found))


if __name__ == "__main__":
    _inside(Path(sys.argv[1]))
