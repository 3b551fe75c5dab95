"""The configuration of a Dovecot that serves the mailboxes which local delivery puts mail into, by IMAP and POP3.

Pure. It stands alone: `dovecot -F -c FILE` needs no other. Mailboxes lie where the connector puts them, belong to the
owner of their folder, and are locked as the connector locks them; a quota is counted in the same file.
Source: Dovecot 2.3's manual (mail location, mbox locking, passwd-file, quota:maildir).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connectors.folders.local.config import LocalConfig
from connectors.folders.local.places import root_of

_PLACES: Final = (("{mailbox}", "%Lu"), ("{user}", "%Ln"), ("{domain}", "%Ld"))
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


class Unfit(Exception):
    """Mailboxes that Dovecot cannot serve, or a way to serve them that is not safe, in words."""


@dataclass(frozen=True, slots=True)
class Serving:
    """How Dovecot is to serve: a port of 0 leaves its protocol out; `passwords` is a passwd-file of Dovecot.s kind.

    `user` and `group` own the mailboxes, by name or number; `rootless` has all of Dovecot run as them.
    """

    passwords: Path
    run_dir: Path
    user: str
    group: str
    listen: Sequence[str] = ("127.0.0.1",)
    imap: int = 143
    pop: int = 110
    lmtp: int = 0
    certificate: Path | None = None
    key: Path | None = None
    rootless: bool = False


def configuration(name: str, config: LocalConfig, base: Path, serving: Serving) -> str:
    """Return the text of the file. Raises: Unfit."""
    if config.format == "mmdf":
        raise Unfit("Dovecot reads no MMDF mailboxes; use maildir or mbox")
    if config.info_mark != ":":
        raise Unfit("Dovecot reads Maildirs whose names have : before the flags, and no other info_mark")
    is_safe = serving.certificate is not None
    if not is_safe and not set(serving.listen) <= set(_LOOPBACK):
        raise Unfit("passwords would travel in the clear: give --certificate and --key, or listen on 127.0.0.1 alone")
    if serving.rootless and any(0 < port < 1024 for port in (serving.imap, serving.pop, serving.lmtp)):
        raise Unfit("only root may listen on ports below 1024: give others with --rootless")
    protocols = [kind for kind, port in (("imap", serving.imap), ("pop3", serving.pop), ("lmtp", serving.lmtp)) if port]
    if not protocols:
        raise Unfit("with no port for any protocol there is nothing to serve")
    lines = [
        f"# Dovecot for the mailboxes that Gatepost's connector {name} delivers to.",
        f"# Written by `gatepost local dovecot {name}`; started by `dovecot -F -c` and this file's path.",
        f"protocols = {' '.join(protocols)}",
        f"listen = {', '.join(serving.listen)}",
        f"base_dir = {serving.run_dir}",
        f"state_dir = {serving.run_dir}",
        "log_path = /dev/stderr",
        "auth_username_format = %Lu",
        "auth_mechanisms = plain login",
        f"mail_uid = {serving.user}",
        f"mail_gid = {serving.group}",
        "first_valid_uid = 1",
        "first_valid_gid = 1",
        *_locations(config, base),
        *_tls(serving),
        *_users(serving, config, base),
        *_services(serving),
        *_quota(config),
        *_inbox(),
    ]
    return "\n".join(lines) + "\n"


def _filled(template: str, base: Path) -> str:
    for place, theirs in _PLACES:
        template = template.replace(place, theirs)
    return str(base / template)


def _locations(config: LocalConfig, base: Path) -> list[str]:
    path = _filled(config.path, base)
    if config.format == "maildir":
        return [f"mail_location = maildir:{path}"]
    folders = _filled(config.folders, base) if config.folders else f"{path}.folders"
    write = " ".join(config.locks)
    return [
        f"mail_location = mbox:{folders}:INBOX={path}",
        f"mbox_read_locks = {' '.join(lock for lock in config.locks if lock != 'dotlock') or 'fcntl'}",
        f"mbox_write_locks = {write}",
        f"mbox_lock_timeout = {max(1, int(config.lock_wait_s)) + 30} secs",
    ]


def _tls(serving: Serving) -> list[str]:
    if serving.certificate is None:
        return ["ssl = no", "disable_plaintext_auth = no"]
    key = serving.key or serving.certificate
    return ["ssl = required", f"ssl_cert = <{serving.certificate}", f"ssl_key = <{key}", "ssl_min_protocol = TLSv1.2"]


def _users(serving: Serving, config: LocalConfig, base: Path) -> list[str]:
    # A home apart from the mailboxes: what Dovecot keeps there must not look like somebody's mail.
    root = root_of(config.path, base)
    home = f"{root.parent}/.{root.name}-homes/%Lu"
    return [
        "passdb {",
        "  driver = passwd-file",
        f"  args = scheme=CRYPT username_format=%Lu {serving.passwords}",
        "}",
        "userdb {",
        "  driver = static",
        f"  args = uid={serving.user} gid={serving.group} home={home}",
        "}",
    ]


def _services(serving: Serving) -> list[str]:
    lines = []
    if serving.rootless:
        lines += [f"default_internal_user = {serving.user}", f"default_login_user = {serving.user}"]
        lines += [f"default_internal_group = {serving.group}"]
        for service in ("anvil", "stats"):
            lines += [f"service {service} {{", "  chroot =", "}"]
    is_tls = serving.certificate is not None
    for service, plain, tls, port in (
        ("imap-login", "imap", "imaps", serving.imap),
        ("pop3-login", "pop3", "pop3s", serving.pop),
    ):
        if not port:
            continue
        lines += [f"service {service} {{"]
        lines += ["  chroot ="] if serving.rootless else []
        # With a certificate the port is one of TLS from the start where it is the one for that, else of STARTTLS.
        implicit = is_tls and port in (993, 995)
        for listener, its in ((plain, 0 if implicit else port), (tls, port if implicit else 0)):
            lines += [f"  inet_listener {listener} {{", f"    port = {its}"]
            lines += ["    ssl = yes"] if listener == tls else []
            lines += ["  }"]
        lines += ["}"]
    if serving.lmtp:
        lines += ["service lmtp {", "  inet_listener lmtp {", f"    port = {serving.lmtp}", "  }", "}"]
    return lines


def _quota(config: LocalConfig) -> list[str]:
    if config.quota_bytes is None or config.format != "maildir":
        return []
    return [
        "mail_plugins = quota",
        "protocol imap {",
        "  mail_plugins = quota imap_quota",
        "}",
        "plugin {",
        "  quota = maildir:User quota",
        f"  quota_rule = *:bytes={config.quota_bytes}",
        "}",
    ]


def _inbox() -> list[str]:
    lines = ["namespace inbox {", "  inbox = yes"]
    for folder, use in (("Sent", "Sent"), ("Drafts", "Drafts"), ("Trash", "Trash"), ("Junk", "Junk")):
        lines += [f"  mailbox {folder} {{", "    auto = no", f"    special_use = \\{use}", "  }"]
    return [*lines, "}"]
