"""Postfix: its main.cf, master.cf and the tables that they name, as an Outline.

Taken are the parameters that `_Reader` asks for; of all others that are set, each is in the list of what was not taken.
Tables are read as the text that `postmap` was given, beside the database that it made.
Source: postconf(5), master(5), ADDRESS_CLASS_README, SMTPD_ACCESS_README, MILTER_README.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Final, Literal

from gateway.import_config.files import Files, FilesError
from gateway.import_config.main_cf import MainCf, Service, services, words
from gateway.import_config.outline import Hop, Local, Outline, Table, TlsOut, seconds_of
from gateway.import_config.own_settings import (
    POSTFIX_OWN,
    POSTFIX_SERVICES,
    POSTFIX_WHY_NOT,
)
from gateway.import_config.postfix_access import TABLE, may_relay_by_network, read_restrictions, rows

_TEXT_TYPES: Final = frozenset(("hash", "btree", "lmdb", "dbm", "cdb", "sdbm", "texthash"))
_PATTERN_TYPES: Final = frozenset(("regexp", "pcre"))
_HOST_PORT: Final = re.compile(r"(?:\[([^\]]+)\]|([^:\[\]]+))(?::([A-Za-z0-9]+))?")
_PORTS: Final = {"smtp": 25, "submission": 587, "submissions": 465, "smtps": 465, "lmtp": 24}

_TLS_OUT: Final[dict[str, TlsOut]] = {
    "none": "none",
    "may": "opportunistic",
    "encrypt": "require",
    "verify": "verify",
    "secure": "verify",
}


def read(files: Files, folder: str, hostname: str) -> Outline:
    """Read /etc/postfix, or the folder in its place. Raises: FilesError where there is no main.cf."""
    main = MainCf(files.text(f"{folder}/main.cf"), hostname)
    master = files.text(f"{folder}/master.cf") if files.exists(f"{folder}/master.cf") else ""
    reader = _Reader(files, folder, main, list(services(master)))
    reader.read()
    return reader.outline


class _Reader:
    def __init__(self, files: Files, folder: str, main: MainCf, master: list[Service]) -> None:
        self._files = files
        self._main = main
        self._master = master
        self._file = f"{folder}/main.cf"
        self._master_file = f"{folder}/master.cf"
        self.outline = Outline("Postfix")

    def read(self) -> None:
        main, out = self._main, self.outline
        for line, text in main.mistakes:
            out.leave(f"{self._file}:{line}", text[:200], "it is no line of main.cf: name = value")
        out.name = main["myhostname"]
        out.origin = self._origin()
        self._domains()
        self._networks()
        self._listen()
        self._login()
        self._limits()
        self._tls()
        self._carriage()
        self._tables()
        read_restrictions(main, out, self._table, self._leave)
        for name, setting in main.settings.items():
            if name in main.asked or not setting.line:
                continue
            if POSTFIX_OWN.fullmatch(name):
                out.irrelevant[name] = None
            elif name in POSTFIX_WHY_NOT:
                self._leave(name, POSTFIX_WHY_NOT[name])
            elif f"${name}" not in " ".join(s.value for s in main.settings.values()):
                self._leave(name, "there is no counterpart here, or it does without")

    def _leave(self, name: str, why: str, what: str | None = None) -> None:
        setting = self._main.settings.get(name)
        value = setting.value if setting is not None else ""
        line = self._main.line(name)
        self.outline.leave(f"{self._file}:{line}" if line else self._file, what or f"{name} = {value}", why)

    # Who we are and for whom we take mail

    def _origin(self) -> str:
        origin = self._main["myorigin"]
        if origin.startswith("/"):
            try:
                return (self._files.words(origin) or [self._main["myhostname"]])[0]
            except FilesError as e:
                self._leave("myorigin", f"{e}; the host's own name stands in its place")
                return self._main["myhostname"]
        return origin

    def _domains(self) -> None:
        main, out = self._main, self.outline
        out.local_domains.update(dict.fromkeys(self._listed("mydestination")))
        if main["virtual_alias_domains"] != main["virtual_alias_maps"]:
            out.alias_domains.update(dict.fromkeys(self._listed("virtual_alias_domains")))
        if main["virtual_mailbox_domains"] != main["virtual_mailbox_maps"]:
            out.mailbox_domains.update(dict.fromkeys(self._listed("virtual_mailbox_domains")))
        place = f"{self._file}:{main.line('relay_domains')}"
        # Without compatibility_level = 2 or more, what is below a domain counts as listed with it.
        below = main.settings.get("parent_domain_matches_subdomains")
        matches = "relay_domains" in below.value if below is not None else _level(main["compatibility_level"]) < 2
        for domain in self._listed("relay_domains"):
            if domain in out.local_domains:
                continue
            out.relay_domains[domain] = place
            if matches and not domain.startswith("."):
                out.relay_domains[f".{domain}"] = place

    def _listed(self, name: str) -> Iterator[str]:
        """Yield the domains of a list, with those of the files and tables in it."""
        for word in self._main.words(name):
            table = TABLE.fullmatch(word)
            if word.startswith("/"):
                try:
                    yield from (each.lower() for each in self._files.words(word))
                except FilesError as e:
                    self._leave(name, str(e), word)
            elif table is not None:
                read = self._table(name, word)
                if read is not None:
                    for _, key, _ in rows(read.octets):
                        if "@" not in key:
                            yield key.lower()
            elif word.startswith("!"):
                self._leave(name, "an exception from a list has no form here; leave the rest out instead", word)
            elif word.startswith("["):
                continue  # an address in place of a domain: mail for postmaster@[192.0.2.1] is taken anyway
            else:
                yield word.lower()

    def _networks(self) -> None:
        main, out = self._main, self.outline
        main.asked.add("mynetworks")
        if not may_relay_by_network(main):
            why = "no permit_mynetworks stands before what refuses relaying, so nobody relays there by their address"
            self._leave("mynetworks", why)
            return
        if "mynetworks" not in main.settings:
            style = main["mynetworks_style"]
            out.relay_networks.update(dict.fromkeys(("127.0.0.0/8", "::1/128")))
            if style != "host":
                why = "the networks of the machine's interfaces are not asked for; name them in relay_networks"
                self._leave("mynetworks_style", why, f"mynetworks_style = {style}")
            return
        for word in main.words("mynetworks"):
            bare = word.lstrip("!")
            found = [word]
            if bare.startswith("/"):
                try:
                    # A file has any number of words in a line, and what the list says of it holds for each of them.
                    lines = (line.partition("#")[0] for line in self._files.text(bare).split("\n"))
                    found = [word[: -len(bare)] + each for line in lines for each in words(line)]
                except FilesError as e:
                    self._unread_network(word, str(e))
                    continue
            for each in found:
                self._network(each)

    def _network(self, word: str) -> None:
        out = self.outline
        is_excluded = (len(word) - len(word.lstrip("!"))) % 2 == 1
        try:
            network = str(ip_network(word.lstrip("!").replace("[", "").replace("]", ""), strict=False))
        except ValueError:
            self._unread_network(word, "only addresses and networks are taken; write them out")
        else:
            (out.excluded_networks if is_excluded else out.relay_networks)[network] = None

    def _unread_network(self, word: str, why: str) -> None:
        if word.startswith("!"):
            # Who would be kept out is not known.
            self.outline.no_relaying()
            why += "; since it is an exception, nobody relays by their address: name relay_networks yourself"
        self._leave("mynetworks", why, word)

    def _listen(self) -> None:
        main, out = self._main, self.outline
        interfaces = main.words("inet_interfaces") or ["all"]
        hosts: list[str] = []
        for each in interfaces:
            hosts += {"all": ["*"], "loopback-only": ["127.0.0.1"], "localhost": ["127.0.0.1"]}.get(each, [each])
        for service in self._master:
            place = f"{self._master_file}:{service.line}"
            if service.kind != "inet" or service.command not in ("smtpd", "postscreen"):
                if service.command not in POSTFIX_SERVICES:
                    what = f"service {service.name} ({service.command})"
                    out.leave(place, what, "programs are not run as transports; make a connector of it")
                continue
            host, _, port = service.name.rpartition(":")
            at = [f"{_bracketed(each)}:{_PORTS.get(port, port)}" for each in ([host] if host else hosts)]
            if service.options.get("smtpd_tls_wrappermode") == "yes":
                out.submission_tls += at
            elif port in ("submission", "587") or service.options.get("smtpd_sasl_auth_enable") == "yes":
                out.submission += at
            else:
                out.listen += at
            for name, value in service.options.items():
                if name not in ("smtpd_tls_wrappermode", "smtpd_sasl_auth_enable", "smtpd_tls_security_level",
                                "syslog_name", "smtpd_tls_auth_only", "smtpd_reject_unlisted_recipient",
                                "smtpd_relay_restrictions", "smtpd_recipient_restrictions"):  # fmt: skip
                    out.leave(place, f"-o {name}={value}", "options of one service have no form here; look at them")
        if not self._master:
            out.listen += [f"{_bracketed(each)}:25" for each in hosts]

    def _login(self) -> None:
        main, out = self._main, self.outline
        path = main["smtpd_sasl_path"]
        if main["smtpd_sasl_type"] == "dovecot" and path:
            out.dovecot_auth = path if path.startswith("/") else f"{main['queue_directory']}/{path}"
        elif out.submission or out.submission_tls or main.is_yes("smtpd_sasl_auth_enable"):
            why = "accounts are in a password file, the mapping, LDAP or Dovecot: [connector.NAME.login]"
            self._leave("smtpd_sasl_type", why, f"smtpd_sasl_type = {main['smtpd_sasl_type'] or 'cyrus'}")
        if "smtpd_sender_login_maps" in main:
            out.senders = "own"
            why = "an account may send under the addresses of its identity, and under no others"
            self._leave("smtpd_sender_login_maps", why)

    # How much, how long

    def _limits(self) -> None:
        main, out = self._main, self.outline
        out.max_message_bytes = self._number("message_size_limit") or None
        out.max_recipients = self._number("smtpd_recipient_limit")
        out.max_hops = self._number("hopcount_limit")
        out.max_concurrency = self._number("default_destination_concurrency_limit")
        out.expire_after_s = self._seconds("maximal_queue_lifetime", "d")
        out.delay_warning_s = self._seconds("delay_warning_time", "h")
        out.retry_min_s = self._seconds("minimal_backoff_time", "s")
        out.retry_max_s = self._seconds("maximal_backoff_time", "s")
        bounce = self._seconds("bounce_queue_lifetime", "d")
        if bounce is not None and bounce != out.expire_after_s:
            self._leave("bounce_queue_lifetime", "reports are tried for as long as other mail")
        for name in ("empty_address_recipient", "2bounce_notice_recipient", "error_notice_recipient"):
            if name in main and main[name] not in ("postmaster", "MAILER-DAEMON"):
                self._leave(name, "reports that cannot be delivered go to the postmaster")

    def _number(self, name: str) -> int | None:
        if name not in self._main and name != "message_size_limit":
            return None
        value = self._main[name]
        if value.isdigit():
            return int(value)
        self._leave(name, "it is no number")
        return None

    def _seconds(self, name: str, unit: str) -> float | None:
        if name not in self._main:
            return None
        found = seconds_of(self._main[name], unit)
        if found is None:
            self._leave(name, "it is no time")
        return found

    # TLS and the log-in at the smart host

    def _tls(self) -> None:
        main, out = self._main, self.outline
        chain = main.words("smtpd_tls_chain_files")
        if chain:
            out.tls_cert = chain[0]
            for further in chain[1:]:
                self._leave("smtpd_tls_chain_files", "one certificate is used; this further one is not", further)
        elif "smtpd_tls_cert_file" in main:
            out.tls_cert = main["smtpd_tls_cert_file"]
            key = main["smtpd_tls_key_file"]
            out.tls_key = key if key and key != out.tls_cert else None
        level = main["smtpd_tls_security_level"] or ("may" if main.is_yes("smtpd_use_tls") else "")
        if out.tls_cert:
            out.tls_in = "require" if level == "encrypt" else "offer" if level == "may" else "off"
        out_level = main["smtp_tls_security_level"] or ("may" if main.is_yes("smtp_use_tls") else "")
        if out_level in ("dane", "dane-only"):
            out.tls_out = "opportunistic" if out_level == "dane" else "require"
            self._leave("smtp_tls_security_level", "DANE has options of its own: see the page on signing and TLS")
        elif out_level == "fingerprint":
            out.tls_out = "verify"
            self._leave("smtp_tls_security_level", "certificates are checked by their authorities; give ca_file")
        elif out_level:
            out.tls_out = _TLS_OUT.get(out_level, "verify")
        if main.is_yes("smtp_tls_wrappermode"):
            out.tls_out = "implicit"
        out.ca_file = main["smtp_tls_CAfile"] or None
        if main["smtp_tls_CApath"]:
            self._leave("smtp_tls_CApath", "the authorities of the system are used, or those of one file: ca_file")

    def _auth(self, hop: Hop) -> None:
        main, out = self._main, self.outline
        if not main.is_yes("smtp_sasl_auth_enable"):
            return
        wanted = (main["relayhost"], hop.host or "", f"[{hop.host}]", f"[{hop.host}]:{hop.port or 25}")
        for word in main.words("smtp_sasl_password_maps"):
            table = self._table("smtp_sasl_password_maps", word)
            for line, key, value in rows(table.octets) if table is not None else ():
                user, colon, password = value.partition(":")
                if key in wanted and colon and out.auth is None:
                    out.auth = (user, password)
                elif key not in wanted:
                    why = "it is not where all mail goes; give a connector of its own auth_user and auth_password"
                    out.leave(f"{table.place if table else ''}:{line}", f"the log-in at {key}", why)

    # How mail is carried

    def _carriage(self) -> None:
        main, out = self._main, self.outline
        for word in main.words("relayhost")[:1]:
            hop = self._hop("smtp", word)
            if hop is not None:
                out.default = hop
                self._auth(hop)
        default = self._transport("default_transport")
        if isinstance(default, Hop) and default != Hop():
            out.default = default
        relay = self._transport("relay_transport")
        if isinstance(relay, Hop) and relay != out.default and (relay.host is not None or main["relayhost"]):
            out.relay_hop = relay if relay.host is not None else out.default
        out.local = self._local()
        virtual = self._transport("virtual_transport")
        if isinstance(virtual, Hop):
            out.mailboxes = virtual
        for name in ("virtual_uid_maps", "virtual_gid_maps", "virtual_minimum_uid"):
            if name in main and virtual is None:
                self._leave(name, "all mailboxes belong to the user that the gateway runs as")

    def _local(self) -> Local | Hop:
        main = self._main
        for name in ("mailbox_transport", "local_transport"):
            found = self._transport(name)
            if isinstance(found, Hop):
                return found
        home = main["home_mailbox"]
        if home:
            return Local("maildir" if home.endswith("/") else "mbox", f"/home/{{user}}/{home.rstrip('/')}")
        spool = main["mail_spool_directory"]
        form: Literal["maildir", "mbox"] = "maildir" if spool.endswith("/") else "mbox"
        return Local(form, f"{spool.rstrip('/')}/{{user}}")

    def _transport(self, name: str) -> Hop | None:
        """Return the hop that a parameter names, None for Postfix's own delivery or where it is unset."""
        value = self._main[name]
        if not value:
            return None
        where, _, nexthop = value.partition(":")
        return self._named(name, where, nexthop)

    def _named(self, name: str, where: str, nexthop: str) -> Hop | None:
        if where in ("local", "virtual", ""):
            return None
        command = next((s.command for s in self._master if s.name == where and s.kind == "unix"), where)
        if command == "lmtp" or where == "lmtp":
            return self._hop("lmtp", nexthop)
        if command in ("smtp", "relay"):
            return self._hop("smtp", nexthop) if nexthop else Hop()
        if name in self._main:
            self._leave(name, "programs are not run as transports; make a connector of it, or deliver by LMTP")
        return None

    def _hop(self, carriage: Literal["smtp", "lmtp"], nexthop: str) -> Hop | None:
        """Read `[host]:port`, `host`, `unix:/path` or `inet:host:port`."""
        if nexthop.startswith("unix:"):
            path = nexthop.removeprefix("unix:")
            # Relative to the queue's folder, where Postfix looks for it in its jail.
            return Hop(carriage, path if path.startswith("/") else f"{self._main['queue_directory']}/{path}")
        found = _HOST_PORT.fullmatch(nexthop.removeprefix("inet:"))
        if found is None:
            return None
        port = _PORTS.get(found[3], int(found[3]) if found[3] and found[3].isdigit() else None) if found[3] else None
        if carriage == "lmtp" and port is None:
            port = int(self._main["lmtp_tcp_port"])
        # Without brackets the MX hosts of the name are meant, if it has any.
        return Hop(carriage, found[1] or found[2], port, by_mx=carriage == "smtp" and found[1] is None)

    # Tables

    def _table(self, name: str, word: str, format: str = "") -> Table | None:
        """Read the table that a word names; what cannot be read is noted."""
        found = TABLE.fullmatch(word)
        if found is None:
            self._leave(name, "it is no table: type:name", word)
            return None
        kind, path = found[1], found[2].strip()
        if kind == "inline":
            inner = words(path.strip().removeprefix("{").removesuffix("}"))
            rows = "\n".join(each.strip("{} ").replace("=", "\t", 1) for each in inner)
            return Table(format, f"{self._file}:{self._main.line(name)}", rows.encode())
        if kind in _PATTERN_TYPES:
            self._leave(name, "tables of patterns are not taken; a [[mapping.rule]] may say the same", word)
        elif kind not in _TEXT_TYPES:
            mend = "`gatepost map import` reads it live from the directory" if kind == "ldap" else (
                "export it, and take the rows with `gatepost map import`"
            )  # fmt: skip
            self._leave(name, f"only tables in text files are read; {mend}", word)
        else:
            try:
                return Table(format, path, self._files.octets(path))
            except FilesError as e:
                self._leave(name, str(e), word)
        return None

    def _tables(self) -> None:
        main, out = self._main, self.outline
        for name, format in (
            ("alias_maps", "aliases"),
            ("virtual_alias_maps", "postfix-virtual"),
            ("canonical_maps", "postfix-canonical"),
            ("recipient_canonical_maps", "postfix-virtual"),
            ("sender_canonical_maps", "postfix-generic"),
            ("smtp_generic_maps", "postfix-generic"),
            ("relocated_maps", "postfix-relocated"),
            ("transport_maps", "postfix-transport"),
            ("virtual_mailbox_maps", "mailboxes"),
        ):
            for word in main.words(name):
                if name == "alias_maps" and name not in main and not self._files.exists("/etc/aliases"):
                    continue
                table = self._table(name, word, format)
                if table is None:
                    continue
                out.tables.append(table)
                if name == "transport_maps":
                    self._hops_of(table)
                elif format == "postfix-virtual":
                    self._declared(table, out.alias_domains, name)
        if out.mailboxes is None and main["virtual_mailbox_maps"]:
            out.mailboxes = self._virtual_mailboxes()
        self._recipients()
        self._users()

    def _virtual_mailboxes(self) -> Local:
        """Return the pattern by which the mailboxes of tables lie below a folder: that of the first row."""
        base = self._main["virtual_mailbox_base"].rstrip("/")
        for table in self.outline.tables:
            for _, key, value in rows(table.octets) if table.format == "mailboxes" else ():
                user, at, domain = key.lower().rpartition("@")
                place = value.lower().strip("/")
                if not at or not user or not place:
                    continue
                form: Literal["maildir", "mbox"] = "maildir" if value.endswith("/") else "mbox"
                for shown in ("{user}", "{domain}/{user}", "{mailbox}", "{domain}/{user}/Maildir", "{user}/Maildir"):
                    filled = shown.replace("{user}", user).replace("{domain}", domain).replace("{mailbox}", key.lower())
                    if filled.lower() == place:
                        return Local(form, f"{base}/{shown}")
                return Local(form, f"{base}/{{domain}}/{{user}}")
        return Local("maildir", f"{base}/{{domain}}/{{user}}")

    def _declared(self, table: Table, among: dict[str, None], name: str) -> None:
        """Take the domains that a virtual table declares in old style, where no list does."""
        if name == "virtual_alias_maps" and "virtual_alias_domains" not in self._main:
            for _, key, _ in rows(table.octets):
                if "@" not in key and "." in key:
                    among[key.lower()] = None

    def _hops_of(self, table: Table) -> None:
        for _, _, value in rows(table.octets):
            where, _, nexthop = (part.strip() for part in value.partition(":"))
            where = where.lower()
            if where in ("error", "retry", "discard"):
                continue
            hop: Hop | Local | None = self._named("", where, nexthop) if where else self._hop_or_default(nexthop)
            if where in ("local", "virtual"):
                hop = self._local()
            if isinstance(hop, Hop) and hop.carriage == "smtp" and hop.smart_host is None and hop.port is None:
                # Whose MX hosts are asked is the next hop of the route, or each recipient's domain.
                self.outline.hops[f"{where}:"] = Hop()
            elif hop is not None:
                self.outline.hops[f"{where}:{nexthop}".lower()] = hop

    def _hop_or_default(self, nexthop: str) -> Hop:
        return (self._hop("smtp", nexthop) if nexthop else None) or Hop()

    def _recipients(self) -> None:
        main, out = self._main, self.outline
        if "relay_recipient_maps" not in main:
            return
        out.relay_recipients = []
        for word in main.words("relay_recipient_maps"):
            table = self._table("relay_recipient_maps", word, "users")
            if table is not None:
                out.relay_recipients.append(table)

    def _users(self) -> None:
        main, out = self._main, self.outline
        maps = main.words("local_recipient_maps")
        if "local_recipient_maps" in main.settings and not maps:
            why = "unknown users are refused here; share the domain with the system that knows them: [[mapping.shared]]"
            self._leave("local_recipient_maps", why)
        if any(word.endswith("unix:passwd.byname") for word in maps):
            try:
                out.users += self._files.users()
            except FilesError as e:
                self._leave("local_recipient_maps", f"{e}; no users of the machine are known")
        for word in maps:
            if not word.endswith("unix:passwd.byname") and word not in main.words("alias_maps"):
                table = self._table("local_recipient_maps", word, "")
                if table is not None:
                    out.users += [(key, "") for _, key, _ in rows(table.octets) if "@" not in key]


def _level(text: str) -> float:
    found = re.match(r"\d+(?:\.\d+)?", text)
    return float(found[0]) if found else 0.0


def _bracketed(host: str) -> str:
    return f"[{host.strip('[]')}]" if ":" in host else host
