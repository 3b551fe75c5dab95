"""sendmail: its sendmail.mc, or the sendmail.cf where there is no other, and the tables beside it, as an Outline.

Taken are names, domains, the smart host, relaying, access, the tables, sizes and times, ports, TLS and milters. Rules
of rewriting are not: what they do is in the list of what was not taken.
Source: sendmail's cf/README and doc/op (configuration options), access, relay-domains and local-host-names files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final, Literal

from gateway.import_config.files import Files, FilesError
from gateway.import_config.macros import Call, calls
from gateway.import_config.outline import Access, Hop, Local, Milter, Outline, Table, WhenDown, network_of, seconds_of
from gateway.import_config.own_settings import (
    SENDMAIL_FEATURES,
    SENDMAIL_MACROS,
    SENDMAIL_MAPS,
    SENDMAIL_OPTIONS,
    SENDMAIL_OWN_VARIABLES,
    SENDMAIL_VARIABLES,
    SENDMAIL_WHY_NOT,
)
from mappings.formats.sendmail import rows_of
from mappings.tabular import Problems

_MAILER_HOST: Final = re.compile(r"(?:([a-z0-9_-]+):)?(\[?)([^\[\]]+?)\]?(?::(\d+))?")


def read(files: Files, folder: str, hostname: str) -> Outline:
    """Read /etc/mail, or the folder in its place. Raises: FilesError where there is no configuration in it."""
    reader = _Reader(files, folder, hostname)
    if files.exists(f"{folder}/sendmail.mc"):
        reader.read_mc(f"{folder}/sendmail.mc")
    elif files.exists(f"{folder}/sendmail.cf"):
        reader.read_cf(f"{folder}/sendmail.cf")
    else:
        raise FilesError(f"there is neither sendmail.mc nor sendmail.cf in {files.at(folder)}")
    reader.finish()
    return reader.outline


class _Reader:
    def __init__(self, files: Files, folder: str, hostname: str) -> None:
        self._files = files
        self._folder = folder
        self.outline = Outline("sendmail", name=hostname)
        self._tables: dict[str, str] = {}
        """Path by the name of the table's format, or `access`."""
        self._class_files: list[tuple[str, str]] = []
        """(place, path) of files of our domains, and of relay domains."""
        self._relay_files: list[tuple[str, str]] = []
        self._masquerade: tuple[str, str] | None = None
        self._ports: list[tuple[str, str]] = []
        self._virtual_domains: list[str] = []

    # sendmail.mc

    def read_mc(self, path: str) -> None:
        copied = ""
        for call in calls(self._files.text(path)):
            place = f"{path}:{call.line}"
            if call.name in ("LOCAL_CONFIG", "LOCAL_RULESETS") or call.name.startswith("LOCAL_RULE_"):
                copied = call.name
                continue
            if copied and not call.name:
                self._cf_line(place, call.arguments[0])
                continue
            self._call(place, call)

    def _call(self, place: str, call: Call) -> None:
        out = self.outline
        name, given = call.name, call.arguments
        first = given[0] if given else ""
        if name == "define":
            self._define(place, first, given[1] if len(given) > 1 else "")
        elif name == "FEATURE":
            self._feature(place, first, given[1:])
        elif name == "MASQUERADE_AS":
            self._masquerade = (place, first)
        elif name in ("LOCAL_DOMAIN", "VIRTUSER_DOMAIN", "RELAY_DOMAIN"):
            for word in first.split():
                self._domain(name, place, word)
        elif name in ("VIRTUSER_DOMAIN_FILE", "RELAY_DOMAIN_FILE"):
            self._domains_of_file(place, first.split()[-1], name)
        elif name == "DAEMON_OPTIONS":
            self._ports.append((place, first))
        elif name in ("INPUT_MAIL_FILTER", "MAIL_FILTER"):
            if name == "INPUT_MAIL_FILTER":
                self._milter(place, given[1] if len(given) > 1 else "")
        elif name == "TRUST_AUTH_MECH":
            return
        elif name == "DOMAIN":
            if first != "generic":
                out.leave(place, f"DOMAIN({first})", "the settings of that file are not read; add them by hand")
        elif name and name not in SENDMAIL_MACROS and not name.startswith(("GENERICS_DOMAIN", "MASQUERADE_")):
            out.leave(place, f"{name}({', '.join(given)})", "there is no counterpart here, or it does without")
        elif not name and first and not first.startswith(("divert", "include")):
            self._cf_line(place, first)

    def _define(self, place: str, name: str, value: str) -> None:
        out = self.outline
        if name in ("SMART_HOST", "MAIL_HUB", "LUSER_RELAY", "LOCAL_RELAY", "BITNET_RELAY", "UUCP_RELAY", "FAX_RELAY"):
            self._relay(place, name, value)
        elif name == "confDOMAIN_NAME":
            out.name = value.lstrip("$").strip() if "$" not in value else out.name
        elif name == "confCW_FILE":
            self._class_files.append((place, value.split()[-1]))
        elif name == "ALIAS_FILE":
            self._tables["aliases"] = value.partition(",")[0].removeprefix("hash:").strip()
        elif name.startswith("conf") or name in _OPTIONS:
            option = SENDMAIL_VARIABLES.get(name)
            if name in SENDMAIL_OWN_VARIABLES:
                out.irrelevant[name] = None
            elif option is None:
                out.leave(place, f"define({name}, {value})", "there is no counterpart here, or it does without")
            else:
                self._option(place, option, value)
        else:
            out.irrelevant[name] = None

    def _feature(self, place: str, name: str, given: tuple[str, ...]) -> None:
        out = self.outline
        path = given[0].split()[-1] if given and given[0].split() else ""
        path = path.removesuffix(".db")
        if name in ("access_db", "mailertable", "virtusertable", "genericstable"):
            key = "access" if name == "access_db" else name
            if given and given[0].lower().startswith("ldap"):
                out.leave(place, f"FEATURE({name}) in LDAP", "`gatepost map import` reads it live from the directory")
            else:
                self._tables[key] = path if path.startswith("/") else f"{self._folder}/{key}"
        elif name in ("dnsbl", "enhdnsbl", "rbl"):
            if given:
                out.dnsbl[given[0]] = None
        elif name == "greet_pause":
            digits = given[0] if given else ""
            out.greet_delay_s = int(digits) / 1000 if digits.isdigit() else None
        elif name == "nullclient":
            self._relay(place, "SMART_HOST", given[0] if given else "")
        elif name == "always_add_domain" and given and given[0]:
            out.origin = given[0]
        elif name in SENDMAIL_WHY_NOT:
            out.leave(place, f"FEATURE({name})", SENDMAIL_WHY_NOT[name])
        elif name not in SENDMAIL_FEATURES:
            out.leave(place, f"FEATURE({name})", "there is no counterpart here, or it does without")

    # sendmail.cf

    def read_cf(self, path: str) -> None:
        rules = 0
        text = re.sub(r"\n[ \t]+", " ", self._files.text(path))
        for number, line in enumerate(text.split("\n"), 1):
            if line[:1] in ("R", "S"):
                rules += 1
            elif line and line[0] != "#":
                self._cf_line(f"{path}:{number}", line.rstrip())
        if rules:
            why = "rules are taken for those that sendmail's own files make; what was written by hand is not read"
            self.outline.leave(path, f"{rules} lines of rewriting", why)

    def _cf_line(self, place: str, line: str) -> None:
        out = self.outline
        kind, rest = line[:1], line[1:]
        if line.startswith(("Dj", "DS", "DM", "DH", "DR", "DL")):
            value = line[2:].strip()
            if kind == "D" and rest[0] == "j" and value and "$" not in value:
                out.name = value
            elif rest[0] == "M" and value:
                self._masquerade = (place, value)
            elif value and rest[0] in "SHRL":
                names = {"S": "SMART_HOST", "H": "MAIL_HUB", "R": "LOCAL_RELAY", "L": "LUSER_RELAY"}
                self._relay(place, names[rest[0]], value)
        elif kind == "C" and rest[:1] == "w":
            for word in rest[1:].split():
                self._domain("LOCAL_DOMAIN", place, word)
        elif kind == "C" and rest[:1] == "R":
            for word in rest[1:].split():
                self._domain("RELAY_DOMAIN", place, word)
        elif line.startswith("C{VirtHost}"):
            for word in line.partition("}")[2].split():
                self._domain("VIRTUSER_DOMAIN", place, word)
        elif (kind == "F" and rest[:1] in ("w", "R")) or line.startswith("F{VirtHost}"):
            target = {"w": "w", "R": "RELAY_DOMAIN_FILE"}.get(rest[:1], "VIRTUSER_DOMAIN_FILE")
            path = line.partition("}")[2] if "{" in line else rest[1:]
            path = path.split()[-1] if path.split() else ""
            if target == "w":
                self._class_files.append((place, path))
            else:
                self._domains_of_file(place, path, target)
        elif kind == "K":
            words = rest.split()
            if len(words) > 2 and words[0] in ("access", "mailertable", "virtuser", "generics"):
                table = {"virtuser": "virtusertable", "generics": "genericstable"}.get(words[0], words[0])
                self._tables[table] = words[-1].removesuffix(".db")
            elif words and words[0] not in SENDMAIL_MAPS:
                out.leave(place, f"K{rest}", "there is no counterpart here")
        elif kind == "O":
            name, _, value = rest.strip().partition("=")
            self._option(place, name.strip(), value.strip())
        elif kind == "X":
            self._milter(place, rest.partition(",")[2])
        elif kind == "R" or kind == "S":
            out.leave(place, line, "rules of rewriting are not taken; a [[mapping.rule]] may do the same")

    # What both say

    def _domain(self, name: str, place: str, word: str) -> None:
        word = word.lower().strip()
        if not word or "$" in word or word.startswith("["):
            return
        if name == "RELAY_DOMAIN":
            self._relay_for(place, word)
        elif name == "VIRTUSER_DOMAIN":
            self._virtual_domains.append(word)
        else:
            self.outline.local_domains[word] = None

    def _domains_of_file(self, place: str, path: str, name: str) -> None:
        if name == "RELAY_DOMAIN_FILE":
            self._relay_files.append((place, path))
            return
        try:
            self._virtual_domains += [word.lower() for word in self._files.words(path)]
        except FilesError as e:
            self.outline.leave(place, name, str(e))

    def _relay_for(self, place: str, word: str) -> None:
        """Take a word of class R: a network from which, or a domain to which mail is relayed."""
        out = self.outline
        network = network_of(word)
        if network is not None:
            out.relay_networks[network] = None
        elif re.search(r"[a-z]", word):
            # sendmail takes the domain and all below it.
            out.relay_domains[word] = place
            if not word.startswith("."):
                out.relay_domains[f".{word}"] = place
                why = "hosts whose names are below it relayed by it, too; name their networks in relay_networks"
                out.leave(place, f"relay from {word}", why)

    def _relay(self, place: str, name: str, value: str) -> None:
        out = self.outline
        hop = _hop(value)
        if hop is None:
            if value:
                out.leave(place, f"{name} {value}", "only hosts to which mail goes by SMTP or LMTP are taken")
        elif name == "SMART_HOST":
            out.default = hop
        elif name in ("MAIL_HUB", "LOCAL_RELAY"):
            out.local = hop
        else:
            out.leave(place, f"{name} {value}", "make a connector of it, and a route to it")

    def _option(self, place: str, name: str, value: str) -> None:
        out = self.outline
        take = _OPTIONS.get(name)
        if name == "DaemonPortOptions":
            self._ports.append((place, value))
        elif name == "AliasFile":
            path = value.partition(",")[0].rpartition(":")[2].strip()
            self._tables["aliases"] = path or "/etc/mail/aliases"
        elif name == "PrivacyOptions" or name in SENDMAIL_OPTIONS:
            out.irrelevant[name] = None
        elif name in ("ServerCertFile", "ServerKeyFile", "CACertFile"):
            path = value.replace("`", "").replace("'", "")
            if "$" in path or "CERT_DIR" in path:
                out.leave(place, f"{name}={value}", "write the path out, as tls_cert, tls_key or ca_file")
            elif name == "ServerCertFile":
                out.tls_cert, out.tls_in = path, "offer"
            elif name == "ServerKeyFile":
                out.tls_key = path
            else:
                out.ca_file = path
        elif take is None:
            if name and not name.startswith(("Timeout.", "Milter.")):
                out.leave(place, f"{name}={value}", "there is no counterpart here, or it does without")
            else:
                out.irrelevant[name] = None
        elif not take(out, value):
            out.leave(place, f"{name}={value}", "it is no number or time")

    def _milter(self, place: str, text: str) -> None:
        """Read `S=unix:/path, F=T, T=R:2m`."""
        fields = {k.strip(): v.strip() for k, _, v in (part.partition("=") for part in text.split(","))}
        socket = fields.get("S", "")
        inet = re.fullmatch(r"inet6?:(\d+)@(.+)", socket)
        if inet is not None:
            socket = f"{inet[2]}:{inet[1]}"
        elif socket.startswith(("unix:", "local:", "/")):
            socket = f"unix:{socket[socket.find('/') :]}"
        else:
            self.outline.leave(place, f"milter {text}", "its socket is unix:/path or inet:port@host")
            return
        down: dict[str, WhenDown] = {"T": "tempfail", "4": "tempfail", "R": "reject"}
        self.outline.milters.append(Milter(socket, down.get(fields.get("F", ""), "accept")))

    # When all is read

    def finish(self) -> None:
        out, files = self.outline, self._files
        for path in (f"{self._folder}/local-host-names",):
            if files.exists(path) and all(each != path for _, each in self._class_files):
                self._class_files.append((path, path))
        if files.exists(f"{self._folder}/relay-domains"):
            self._relay_files.append((f"{self._folder}/relay-domains", f"{self._folder}/relay-domains"))
        out.local_domains = {out.name.lower(): None, "localhost": None, **out.local_domains}
        for place, path in self._class_files:
            for word in self._words(place, path):
                self._domain("LOCAL_DOMAIN", place, word)
        for place, path in dict.fromkeys(self._relay_files):
            for word in self._words(place, path):
                self._relay_for(place, word.lower())
        out.relay_networks = {"127.0.0.0/8": None, "::1/128": None, **out.relay_networks}
        out.origin = out.origin or out.name
        self._masked()
        if out.local is None:
            out.local = Local("mbox", "/var/mail/{user}")
        self._listen()
        self._read_tables()
        try:
            out.users += files.users()
        except FilesError as e:
            out.leave("/etc/passwd", "the users of the machine", f"{e}; none are known")

    def _words(self, place: str, path: str) -> list[str]:
        try:
            return self._files.words(path)
        except FilesError as e:
            self.outline.leave(place, path, str(e))
            return []

    def _masked(self) -> None:
        """Users are shown in the domain of MASQUERADE_AS: it is their origin where their mail there comes here."""
        out = self.outline
        if self._masquerade is None:
            return
        place, domain = self._masquerade
        domain = domain.lower()
        if domain in out.local_domains:
            out.origin = domain
        else:
            why = (
                "mail for that domain does not come here, so users keep the host's name; give each the address there "
                "as the primary one, and home where its mailbox is"
            )
            out.leave(place, f"MASQUERADE_AS({domain})", why)

    def _listen(self) -> None:
        out = self.outline
        for place, text in self._ports:
            fields = {k.strip().lower(): v.strip() for k, _, v in (part.partition("=") for part in text.split(","))}
            if fields.get("family", "inet") not in ("inet", "inet6"):
                out.leave(place, text, "only inet and inet6 are taken")
                continue
            port = {"smtp": "25", "": "25", "submission": "587", "smtps": "465"}.get(fields.get("port", ""), "")
            port = port or fields.get("port", "25")
            host = fields.get("addr", "*")
            at = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            modifiers = fields.get("m", fields.get("modifiers", ""))
            if "s" in modifiers:
                out.submission_tls.append(at)
            elif port == "587" or "a" in modifiers:
                out.submission.append(at)
            else:
                out.listen.append(at)
        if not self._ports:
            out.listen.append("*:25")

    def _read_tables(self) -> None:
        out = self.outline
        aliases = self._tables.setdefault("aliases", f"{self._folder}/aliases")
        if not self._files.exists(aliases) and self._files.exists("/etc/aliases"):
            self._tables["aliases"] = "/etc/aliases"
        for format in ("genericstable", "virtusertable", "mailertable", "aliases"):
            path = self._tables.get(format)
            if path is None or (format == "aliases" and not self._files.exists(path)):
                continue
            try:
                table = Table(format, path, self._files.octets(path))
            except FilesError as e:
                out.leave(path, f"the table {format}", str(e))
                continue
            out.tables.append(table)
            if format == "mailertable":
                self._hops_of(table)
        for domain in self._virtual_domains:
            if domain not in out.local_domains:
                out.alias_domains[domain] = None
        if "access" in self._tables:
            self._access(self._tables["access"])

    def _hops_of(self, table: Table) -> None:
        out = self.outline
        for line, _, value in _rows(table):
            mailer, _, host = (part.strip() for part in value.partition(":"))
            mailer = mailer.lower()
            if mailer in ("error", "discard") or (mailer == "local" and host):
                continue
            if mailer == "local":
                out.hops["local:"] = out.local if out.local is not None else Local()
                continue
            host = host.rpartition("@")[2]
            hop = _hop(f"{mailer}:{host}") if host else Hop()
            if hop is None:
                out.leave(f"{table.place}:{line}", value, f"mail by {mailer} is not taken; make a connector of it")
            elif hop.smart_host is None and hop.port is None:
                out.hops[f"{mailer}:"] = Hop()
            else:
                out.hops[f"{mailer}:{host}".lower()] = hop

    def _access(self, path: str) -> None:
        out = self.outline
        try:
            table = Table("access", path, self._files.octets(path))
        except FilesError as e:
            out.leave(path, "the access table", str(e))
            return
        for line, key, value in _rows(table):
            place = f"{path}:{line}"
            tag, _, rest = key.partition(":")
            tags = {"connect": "Connect", "from": "From", "to": "To", "spam": "To", "greetpause": "", "clientrate": ""}
            if tag.lower() in tags and network_of(key) is None:
                self._access_row(place, tags[tag.lower()], rest.strip().lower(), value, key)
            else:
                self._access_row(place, "any", key.lower(), value, key)

    def _access_row(self, place: str, tag: str, key: str, value: str, shown: str) -> None:
        out = self.outline
        verb = value.split(None, 1)[0].upper() if value else ""
        network = network_of(key)
        if verb != "RELAY" and tag in ("Connect", "any") and network is not None:
            out.excluded_networks[network] = None  # the row for less decides: it does not say RELAY
        if verb == "RELAY" and tag in ("Connect", "any") and network is not None:
            out.relay_networks[network] = None
        elif verb == "RELAY" and tag in ("To", "any") and key and "@" not in key:
            self._relay_for(place, key)
        elif verb in ("REJECT", "ERROR") or verb.startswith(("ERROR:", "5", "4")) or verb == "OK":
            text = re.sub(r'^(?:ERROR:)?(?:\d\.\d\.\d:)?"?(.*?)"?$', r"\1", value.partition(":")[2] or "", flags=re.I)
            deferred = verb[:1] == "4" or re.match(r"ERROR:4", verb) is not None
            action: Literal["accept", "reject", "defer"] = (
                "accept" if verb == "OK" else "defer" if deferred else "reject"
            )
            who: Literal["client", "sender", "recipient"]
            who = "client" if tag == "Connect" or network is not None else "recipient" if tag == "To" else "sender"
            if key:
                # Block lists are asked at the connection, before there is a sender.
                row = Access(place, who, network or key, action, text.strip(), past_lists=who == "client")
                out.access.append(row)
        else:
            out.leave(place, f"{shown} {value}", "only RELAY, OK, REJECT and ERROR are taken")


def _rows(table: Table) -> Iterator[tuple[int, str, str]]:
    return rows_of(table.octets, {}, Problems())


def _hop(value: str) -> Hop | None:
    """Read `mailer:[host]`, `mailer:host`, `host` or `[host]`; None for mailers that are none of SMTP or LMTP."""
    found = _MAILER_HOST.fullmatch(value.strip())
    if found is None:
        return None
    mailer = found[1] or "relay"
    carriage: Literal["smtp", "lmtp"] = "lmtp" if "lmtp" in mailer else "smtp"
    if mailer not in ("relay", "smtp", "esmtp", "smtp8", "dsmtp") and carriage == "smtp":
        return None
    port = int(found[4]) if found[4] else None
    return Hop(carriage, found[3].strip(), port, by_mx=not found[2] and carriage == "smtp")


# Options


def _number(name: str) -> Callable[[Outline, str], bool]:
    def take(out: Outline, value: str) -> bool:
        if not value.isdigit():
            return False
        setattr(out, name, int(value) or None)
        return True

    return take


def _time(name: str) -> Callable[[Outline, str], bool]:
    def take(out: Outline, value: str) -> bool:
        found = seconds_of(value, "d")
        if found is not None:
            setattr(out, name, found)
        return found is not None

    return take


_OPTIONS: Final[dict[str, Callable[[Outline, str], bool]]] = {
    "MaxMessageSize": _number("max_message_bytes"),
    "MaxRecipientsPerMessage": _number("max_recipients"),
    "MaxHopCount": _number("max_hops"),
    "Timeout.queuereturn": _time("expire_after_s"),
    "Timeout.queuewarn": _time("delay_warning_s"),
    "MinQueueAge": _time("retry_min_s"),
}
