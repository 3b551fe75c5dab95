"""Exim 4 as a neighbour."""

from __future__ import annotations

from typing import Self

from tests.peers.neighbours.neighbour import InChroot

_CONFIG = """\
primary_hostname = exim.peer.example
domainlist here = {domain}
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
pid_file_path = {folder}/exim.pid
keep_environment =
tls_advertise_hosts =
acl_smtp_rcpt = check
begin acl
check:
  accept domains = +here
         verify = recipient
  accept domains = ! +here
         hosts = 127.0.0.1
  deny message = unknown user
begin routers
here:
  driver = accept
  domains = +here
  local_parts = bob
  transport = box
out:
  driver = manualroute
  domains = ! +here
  transport = smtp
  route_list = * 127.0.0.1
  self = send
begin transports
smtp:
  driver = smtp
  port = {next_hop}
  allow_localhost
box:
  driver = appendfile
  directory = {folder}/mail
  maildir_format
  return_path_add
  user = Debian-exim
begin retry
* * F,1h,5s
"""


class EximServer(InChroot):
    """Exim's daemon."""

    name = "exim"
    packages = ("exim4-daemon-light",)

    def start(self) -> Self:
        self.write("exim.conf", _CONFIG.format(domain=self.domain, folder=self.inside, next_hop=self.next_hop))
        names = [f"{self.inside}/{name}" for name in ("spool", "log", "mail")]
        self.root.run(["mkdir", *names])
        self.root.run(["chown", "Debian-exim:Debian-exim", *names])
        self.run_server("exim4", "-C", f"{self.inside}/exim.conf", "-bdf", "-q5s", "-oX", f"127.0.0.1:{self.port}")
        return self

    def mailbox(self) -> list[bytes]:
        return self.files_in(f"{self.inside}/mail/new")

    def said(self) -> str:
        return super().said() + self.root.run(["cat", f"{self.inside}/log/mainlog"], check=False).stdout.decode()
