"""The set-up of docs/sendmail.md, done as the page says, in a view of the machine of its own, and used by `mail`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

from tests.docs.sandbox import ROOT, blocks
from tests.peers.process import AS_ROOT

PAGE = ROOT / "docs/sendmail.md"
CONFIG = """
[gateway]
name = "gw.acme.example"
{connector}
[connector.out]
type = "filedrop"
format = "pickup"
outbox = "out"

[[route]]
match = "smtp:*"
to = "out"
"""

# What the page changes is laid over the machine's own folders, for this process and its children alone.
APART = """
set -e
mount -t tmpfs tmpfs {room}
for folder in usr etc var; do
  mkdir {room}/$folder {room}/$folder.work
  mount -t overlay overlay -o lowerdir=/$folder,upperdir={room}/$folder,workdir={room}/$folder.work /$folder
done
mkdir {room}/bin {room}/opt
ln -s {venv} {room}/opt/gatepost
mkdir -p /opt && mount --bind {room}/opt /opt
{commands}
"""

USE = """
mkdir {room}/home && cp {config} {room}/home/gatepost.toml && mkdir {room}/home/out
chown -R gatepost:gatepost {room}/home
cd {room}/home
setpriv --reuid=gatepost --regid=gatepost --clear-groups /opt/gatepost/bin/python -m gateway run 2>log &
daemon=$!
for _ in $(seq 300); do test -S /var/spool/gatepost-sendmail/socket && break; sleep 0.2; done
as_nobody="setpriv --reuid=nobody --regid=nogroup --clear-groups"
echo first | $as_nobody mail -s first zoe@far.example
mailq
kill $daemon; wait $daemon
echo second | $as_nobody mail -s second zoe@far.example
setpriv --reuid=gatepost --regid=gatepost --clear-groups /opt/gatepost/bin/python -m gateway run 2>>log &
daemon=$!
for _ in $(seq 300); do ls out/*.eml 2>/dev/null | wc -l | grep -q 2 && break; sleep 0.2; done
kill $daemon; wait $daemon
grep -h '^Subject\\|^From\\|^X-Sender' out/*.eml
ls -ld /usr/sbin/sendmail* /usr/sbin/sendmail.mta
"""


def test_the_set_up_works_for_users_without_privilege() -> None:
    shown = list(blocks(PAGE))
    commands = "\n".join(block.text for block in shown if block.language == "sh")
    connector = next(block.text for block in shown if block.language == "toml")
    with tempfile.TemporaryDirectory(prefix="gatepost-setup-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "room").mkdir()
        config = folder / "gatepost.toml"
        config.write_text(CONFIG.format(connector=connector))
        given = {"room": folder / "room", "venv": Path(sys.executable).parent.parent, "config": config}
        script = folder / "script"
        script.write_text(APART.format(**given, commands=commands) + textwrap.dedent(USE.format(**given)))
        done = subprocess.run(
            [*AS_ROOT, "unshare", "--mount", "bash", str(script)], capture_output=True, text=True, timeout=180
        )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "the queue is empty" in done.stdout, said
    for line in (
        "Subject: first",
        "Subject: second",
        "X-Sender: <nobody@acme.example>",
        "From: nobody <nobody@acme.example>",
    ):
        assert line in done.stdout, said
    assert "/usr/sbin/sendmail -> /opt/gatepost/bin/gatepost-sendmail" in done.stdout
    assert "/usr/sbin/sendmail.mta -> /etc/alternatives/mta" in done.stdout
    assert "cannot take it now" not in said, "whoever calls it need not know that the gateway was down"
