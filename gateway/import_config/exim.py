"""Exim: its configuration, or Debian's update-exim4.conf.conf where that makes it, as an Outline.

Taken are the main options that say who we are and how much we take, the named lists of domains and hosts, and the
routers whose sense is plain: `dnslookup`, `manualroute` with a list or a table, `redirect` by a table of aliases, and
`accept` by a transport into mailboxes or by LMTP. ACLs, filters and expansions of any other sense are not.
Source: Exim's specification; Debian's update-exim4.conf(8) and exim4-config_files(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Final

from gateway.import_config.exim_text import Block, Parsed, items, lookups, parse
from gateway.import_config.files import Files, FilesError
from gateway.import_config.outline import Hop, Local, Outline, Table
from gateway.import_config.own_settings import EXIM_OWN
from gateway.quantity import parse_duration
from mappings.formats.lines import alias_and_value, key_and_value, logical_lines
from mappings.tabular import Problems

_SIZE: Final = re.compile(r"(\d+)([KMG]?)", re.IGNORECASE)
_TIMES: Final = re.compile(r"(\d+)([smhdw])")
_SETTING: Final = re.compile(r"\s*([a-z_]+)\s*=\s*(.*?)\s*")


def read(files: Files, folder: str, hostname: str) -> Outline:
    """Read /etc/exim4, or the folder in its place, or /etc/exim. Raises: FilesError where there is no configuration."""
    reader = _Reader(files, folder, hostname)
    for path in (f"{folder}/exim4.conf", f"{folder}/exim.conf", f"{folder}/configure"):
        if files.exists(path):
            reader.read_conf(path)
            return reader.outline
    debian = f"{folder}/update-exim4.conf.conf"
    if not files.exists(debian):
        raise FilesError(
            f"there is no exim4.conf, exim.conf, configure or update-exim4.conf.conf in {files.at(folder)}"
        )
    reader.read_debian(debian)
    return reader.outline


class _Reader:
    def __init__(self, files: Files, folder: str, hostname: str) -> None:
        self._files = files
        self._folder = folder
        self._path = ""
        self._parsed = Parsed()
        self.outline = Outline("Exim", name=hostname, origin=hostname)

    # Debian's few questions

    def read_debian(self, path: str) -> None:
        self._path = path
        files, out = self._files, self.outline
        given: dict[str, str] = {}
        for line in files.text(path).split("\n"):
            found = _SETTING.fullmatch(line)
            if found is not None and not line.lstrip().startswith("#"):
                given[found[1]] = found[2].strip("'\"")
        kind = given.get("dc_eximconfig_configtype", "local")
        if files.exists("/etc/mailname"):
            out.origin = (files.words("/etc/mailname") or [out.name])[0].lower()
            out.name = out.name if "." in out.name else out.origin
        out.local_domains = dict.fromkeys(("localhost", out.origin or out.name, out.name))
        for word in items(given.get("dc_other_hostnames", "").replace(";", ":")):
            out.local_domains[word.lower()] = None
        out.relay_networks = dict.fromkeys(("127.0.0.0/8", "::1/128"))
        for word in _words(given.get("dc_relay_nets", "")):
            self._network("dc_relay_nets", word)
        for word in _words(given.get("dc_relay_domains", "")):
            out.relay_domains[word.lower()] = path
        self._debian_listen(given.get("dc_local_interfaces", ""))
        if kind in ("smarthost", "satellite"):
            hosts = _words(given.get("dc_smarthost", "").replace("::", "\0"))
            for host in hosts[:1]:
                name, _, port = host.partition("\0")
                out.default = Hop("smtp", name.strip("[]"), int(port) if port.isdigit() else None)
            for further in hosts[1:]:
                out.leave(path, f"dc_smarthost {further}", "one smart host is used; its MX hosts may be several")
        elif kind == "local":
            out.leave(path, "dc_eximconfig_configtype='local'", "no mail leaves that machine; take the last route out")
        self._debian_mailboxes(kind, given)
        self._debian_tables()
        if given.get("dc_hide_mailname") == "true" and given.get("dc_readhost"):
            why = "give the users their addresses there as the primary ones: `gatepost map set`"
            out.leave(path, f"dc_readhost='{given['dc_readhost']}'", why)
        self._passwords()
        self._users()

    def _debian_listen(self, text: str) -> None:
        out = self.outline
        for word in _words(text.replace("::1", "\0")) or ["*"]:
            host, _, port = word.replace("\0", "::1").rpartition(".") if word.count(".") == 4 else (word, "", "")
            host = host.replace("\0", "::1")
            out.listen.append(f"[{host}]:{port or 25}" if ":" in host else f"{host}:{port or 25}")

    def _debian_mailboxes(self, kind: str, given: dict[str, str]) -> None:
        out = self.outline
        if kind == "satellite":
            out.local_domains = {"localhost": None}
            out.local = out.default
        elif given.get("dc_localdelivery", "mail_spool") == "maildir_home":
            out.local = Local("maildir", "/home/{user}/Maildir")
        else:
            out.local = Local("mbox", "/var/mail/{user}")

    def _debian_tables(self) -> None:
        for path, format in (("/etc/email-addresses", "postfix-generic"), ("/etc/aliases", "aliases")):
            if self._files.exists(path):
                octets = self._files.octets(path)
                self.outline.tables.append(Table(format, path, _as_rows(octets) if format != "aliases" else octets))
        hubbed = f"{self._folder}/hubbed_hosts"
        if self._files.exists(hubbed):
            self._hosts_table(hubbed)

    def _passwords(self) -> None:
        """Take the log-in at the smart host: `host:user:password`, where the host may be `*`."""
        out = self.outline
        path = f"{self._folder}/passwd.client"
        if out.default.host is None or not self._files.exists(path):
            return
        for number, line in enumerate(self._files.text(path).split("\n"), 1):
            fields = line.split(":", 2)
            if line.startswith("#") or len(fields) < 3:
                continue
            if fields[0] in ("*", out.default.host) and out.auth is None:
                out.auth = (fields[1], fields[2])
            else:
                why = "it is not where all mail goes; give a connector of its own auth_user and auth_password"
                out.leave(f"{path}:{number}", f"the log-in at {fields[0]}", why)

    # A whole configuration

    def read_conf(self, path: str) -> None:
        self._path = path
        self._parsed = parsed = parse(self._files.text(path))
        out = self.outline
        taken = {
            "primary_hostname": self._name, "qualify_domain": self._origin, "message_size_limit": self._size,
            "recipients_max": self._recipients, "received_headers_max": self._hops, "smtp_accept_max": _quiet,
            "tls_certificate": self._cert, "tls_privatekey": self._key, "daemon_smtp_ports": _quiet,
            "local_interfaces": _quiet, "tls_on_connect_ports": _quiet, "delay_warning": self._warning,
            "qualify_recipient": _quiet,
        }  # fmt: skip
        for name, option in parsed.options.items():
            place = f"{path}:{option.line}"
            if name in taken:
                if not taken[name](option.value):
                    out.leave(place, f"{name} = {option.value}", "it is made at run time; write the value out")
            elif name in EXIM_OWN:
                out.irrelevant[name] = None
            else:
                out.leave(place, f"{name} = {option.value}", "there is no counterpart here, or it does without")
        out.origin = out.origin if "qualify_domain" in parsed.options else out.name
        self._listen()
        self._lists()
        for router in parsed.routers:
            self._router(router)
        for section, count in parsed.others.items():
            if section in ("acl", "retry", "rewrite", "authenticators", "local_scan"):
                why = {
                    "acl": "who may relay is taken from the lists; other checks are set by options of the connector",
                    "retry": "waits grow from retry_min to retry_max, until expire_after",
                    "rewrite": "make a [[mapping.rule]], or a primary address for each person",
                    "authenticators": "submission and log-ins have options of their own",
                }.get(section, "there is no counterpart here")
                out.leave(path, f"section {section} ({count} lines)", why)
        if out.local is None and out.local_domains:
            out.local = Local()
        self._users()

    def _name(self, value: str) -> bool:
        if "$" not in value:
            self.outline.name = value
        return "$" not in value

    def _origin(self, value: str) -> bool:
        if value.startswith("/"):
            try:
                value = (self._files.words(value) or [self.outline.name])[0]
            except FilesError:
                return False
        if "$" not in value:
            self.outline.origin = value.lower()
        return "$" not in value

    def _size(self, value: str) -> bool:
        found = _SIZE.fullmatch(value.strip())
        if found is not None:
            factor = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}[found[2].lower()]
            self.outline.max_message_bytes = int(found[1]) * factor or None
        return found is not None

    def _recipients(self, value: str) -> bool:
        self.outline.max_recipients = int(value) or None if value.isdigit() else None
        return value.isdigit()

    def _hops(self, value: str) -> bool:
        self.outline.max_hops = int(value) if value.isdigit() else None
        return value.isdigit()

    def _cert(self, value: str) -> bool:
        if "$" not in value:
            self.outline.tls_cert, self.outline.tls_in = value, "offer"
        return "$" not in value

    def _key(self, value: str) -> bool:
        self.outline.tls_key = value if "$" not in value else None
        return "$" not in value

    def _warning(self, value: str) -> bool:
        first = (items(value) or [""])[0]
        found = _TIMES.findall(first)
        if found:
            self.outline.delay_warning_s = parse_duration("".join(count + unit for count, unit in found))
        return bool(found)

    def _listen(self) -> None:
        options, out = self._parsed.options, self.outline
        hosts = items(options["local_interfaces"].value) if "local_interfaces" in options else ["*"]
        ports = items(options["daemon_smtp_ports"].value) if "daemon_smtp_ports" in options else ["25"]
        tls = items(options["tls_on_connect_ports"].value) if "tls_on_connect_ports" in options else []
        for host in hosts:
            own = re.fullmatch(r"(?:\[(.+)\]|(\d+\.\d+\.\d+\.\d+))[:.](\d+)", host)
            for port in [own[3]] if own is not None else ports:
                number = {"smtp": "25", "submission": "587", "smtps": "465", "submissions": "465"}.get(port, port)
                name = (own[1] or own[2]) if own is not None else host
                at = f"[{name}]:{number}" if ":" in name else f"{'*' if name == '0.0.0.0' else name}:{number}"
                kind = out.submission_tls if port in tls or number in tls else (
                    out.submission if number == "587" else out.listen
                )  # fmt: skip
                kind.append(at)

    def _lists(self) -> None:
        out = self.outline
        for domain in self._domains("domainlist local_domains", set()):
            out.local_domains[domain] = None
        place = self._parsed.lists.get("domainlist relay_to_domains")
        for domain in self._domains("domainlist relay_to_domains", set()):
            if domain not in out.local_domains:
                out.relay_domains[domain] = f"{self._path}:{place.line if place is not None else 0}"
        out.relay_networks = {}
        if "hostlist relay_from_hosts" in self._parsed.lists:
            option = self._parsed.lists["hostlist relay_from_hosts"]
            for word in items(option.value):
                if word in ("localhost", "@", "@[]", ""):
                    out.relay_networks |= {"127.0.0.0/8": None, "::1/128": None}
                else:
                    self._network("relay_from_hosts", word)
        known = ("local_domains", "relay_to_domains", "relay_from_hosts")
        for name, option in self._parsed.lists.items():
            if name.split()[1] not in known and f"+{name.split()[1]}" not in str(self._parsed.routers):
                out.leave(
                    f"{self._path}:{option.line}", f"{name} = {option.value}", "no router that is taken asks for it"
                )

    def _domains(self, name: str, seen: set[str]) -> Iterator[str]:
        """Yield the domains of a named list."""
        option = self._parsed.lists.get(name)
        if option is None or name in seen:
            return
        yield from self._domains_in(option.value, f"{self._path}:{option.line}", seen | {name})

    def _domains_in(self, text: str, place: str, seen: set[str]) -> Iterator[str]:
        out = self.outline
        for item in items(text):
            kind, semicolon, path = item.partition(";")
            if item == "@":
                yield out.name.lower()
            elif item.startswith("+"):
                yield from self._domains(f"domainlist {item[1:]}", seen)
            elif item.startswith("@") or item in ("!@[]", "@[]"):
                continue
            elif item.startswith("/") or (semicolon and kind in ("lsearch", "partial-lsearch", "wildlsearch")):
                try:
                    for word in self._files.words(path.strip() if semicolon else item):
                        yield word.rstrip(":").lower()
                except FilesError as e:
                    out.leave(place, item, str(e))
            elif semicolon and kind == "dsearch":
                folder = self._files.at(path.strip())
                yield from (each.name.lower() for each in sorted(folder.iterdir()) if folder.is_dir())
            elif item.startswith("*."):
                yield item[1:].lower()
            elif re.fullmatch(r"[A-Za-z0-9.-]+", item):
                yield item.lower()
            else:
                out.leave(place, item, "only domains, and files and folders of them, are taken")

    def _network(self, what: str, word: str) -> None:
        out = self.outline
        bare = word.lstrip("! ")
        kind, semicolon, path = bare.partition(";")
        if (semicolon and kind in ("net-lsearch", "iplsearch", "lsearch")) or bare.startswith("/"):
            try:
                for each in self._files.words(path.strip() if semicolon else bare):
                    self._network(what, word[: -len(bare)] + each.rstrip(":"))
            except FilesError as e:
                self._unread_network(what, word, str(e))
            return
        among = out.excluded_networks if word.count("!", 0, len(word) - len(bare)) % 2 else out.relay_networks
        try:
            among[str(ip_network(bare.strip("[]"), strict=False))] = None
        except ValueError:
            self._unread_network(what, word, "only addresses and networks are taken; write them out")

    def _unread_network(self, what: str, word: str, why: str) -> None:
        if word.startswith("!"):
            # Who would be kept out is not known.
            self.outline.no_relaying()
            why += "; since it is an exception, nobody relays by their address: name relay_networks yourself"
        self.outline.leave(self._path, f"{what} {word}", why)

    # Routers

    def _router(self, router: Block) -> None:
        driver = router["driver"]
        if driver == "dnslookup":
            return
        if driver == "manualroute":
            self._manualroute(router)
        elif driver == "redirect":
            self._redirect(router)
        elif driver == "accept":
            self._accept(router)
        else:
            self._not_taken(router, "there is no counterpart here; a connector and a route may do the same")

    def _not_taken(self, router: Block, why: str) -> None:
        self.outline.leave(f"{self._path}:{router.line}", f"router {router.name} ({router['driver']})", why)

    def _manualroute(self, router: Block) -> None:
        out = self.outline
        found = lookups(router["route_data"])
        if found and found[0].kind.startswith(("lsearch", "partial-lsearch")) and found[0].key.strip() == "$domain":
            self._hosts_table(found[0].file)
            return
        text = router["route_list"] or (f"* {router['route_data']}" if router["route_data"] else "")
        if "$" in text or not text:
            self._not_taken(router, "its hosts are made at run time; make a connector and a route of it")
            return
        rows: list[str] = []
        for rule in items(text) if text.startswith("<") else [part.strip() for part in text.split(";")]:
            words = rule.split()
            if len(words) < 2:
                continue
            domains, host = words[0], words[1].replace("::", ":")
            hop = _host(host, self._transport_of(router))
            only = router["domains"]
            if domains in ("*", "!+local_domains") and ("local_domains" in only or not only):
                out.default = hop
                continue
            named = only if domains == "*" else domains
            for domain in self._domains_in(named, f"{self._path}:{router.line}", set()):
                rows.append(f"{domain}\t{_key(hop)}\n")
                out.hops[_key(hop)] = hop
        if rows:
            out.tables.append(Table("postfix-transport", f"{self._path}:{router.line}", "".join(rows).encode()))

    def _transport_of(self, router: Block) -> Block | None:
        return next((each for each in self._parsed.transports if each.name == router["transport"]), None)

    def _hosts_table(self, path: str) -> None:
        """Take a table `domain: host options`."""
        out = self.outline
        rows: list[str] = []
        try:
            octets = self._files.octets(path)
        except FilesError as e:
            out.leave(path, "the table of hosts", str(e))
            return
        for line, key, value in _rows(octets):
            words = value.split()
            if not words or "$" in value:
                out.leave(f"{path}:{line}", f"{key} {value}", "its host is made at run time; write it out")
                continue
            hop = _host(
                items(words[0].replace("::", ":"))[0] if words[0].startswith("<") else words[0].split(":")[0], None
            )
            out.hops[_key(hop)] = hop
            rows.append(f"{'.' + key[2:] if key.startswith('*.') else key}\t{_key(hop)}\n")
        out.tables.append(Table("postfix-transport", path, "".join(rows).encode()))

    def _redirect(self, router: Block) -> None:
        out = self.outline
        data = router["data"]
        for found in lookups(data):
            if not found.kind.startswith(("lsearch", "wildlsearch", "partial-lsearch")) or "$" in found.file:
                self._not_taken(router, f"only tables in text files are read, and this is {found.kind} {found.file}")
                continue
            try:
                octets = self._files.octets(found.file)
            except FilesError as e:
                self._not_taken(router, str(e))
                continue
            key = re.sub(r"\s|[{}]", "", found.key)
            if key in ("$local_part", "$local_part_data"):
                out.tables.append(Table("aliases", found.file, octets))
            elif key in ("$local_part@$domain", "$local_part_data@$domain_data"):
                out.tables.append(Table("postfix-virtual", found.file, _as_rows(octets)))
                for _, address, _ in _rows(octets):
                    domain = address.rpartition("@")[2].lower()
                    if domain not in out.local_domains and "*" not in domain:
                        out.alias_domains[domain] = None
            else:
                self._not_taken(router, f"it looks up {found.key}, and only addresses and local parts are known here")
        if not lookups(data):
            self._not_taken(
                router,
                "users' own .forward files are not read; their rules belong to their identities"
                if router["file"]
                else "its addresses are made at run time; make a rule or an identity of it",
            )

    def _accept(self, router: Block) -> None:
        out = self.outline
        transport = self._transport_of(router)
        if transport is None:
            self._not_taken(router, "its transport is not in this file")
        elif transport["driver"] == "appendfile":
            path = transport["directory"] or transport["file"]
            form = "maildir" if transport["maildir_format"] == "true" or transport["directory"] else "mbox"
            shown = re.sub(r"\$\{?local_part(_data)?\}?", "{user}", path)
            shown = re.sub(r"\$\{?home\}?", "/home/{user}", shown)
            if "$" in shown or not shown:
                self._not_taken(router, f"the place of its mailboxes, {path!r}, is made at run time; write it out")
                return
            out.local = Local("maildir" if form == "maildir" else "mbox", shown)
        elif transport["driver"] == "lmtp" and transport["socket"]:
            out.local = Hop("lmtp", transport["socket"])
        elif transport["driver"] == "smtp" and transport["protocol"] == "lmtp" and transport["hosts"]:
            port = transport["port"]
            out.local = Hop("lmtp", items(transport["hosts"])[0], int(port) if port.isdigit() else 24)
        else:
            why = f"mail by {transport['driver']} is not taken; deliver to mailboxes or by LMTP"
            self._not_taken(router, why)

    def _users(self) -> None:
        try:
            self.outline.users += self._files.users()
        except FilesError as e:
            self.outline.leave("/etc/passwd", "the users of the machine", f"{e}; none are known")


def _quiet(value: str) -> bool:
    return True


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\s;:]+", text) if word]


def _host(text: str, transport: Block | None) -> Hop:
    """Read `host`, `host::port` or `[address]`; a transport may say the port and that it speaks LMTP."""
    host, _, port = text.strip("[]").partition(":") if text.count(":") == 1 else (text.strip("[]"), "", "")
    given = port or (transport["port"] if transport is not None else "")
    number = {"smtp": 25, "submission": 587}.get(given, int(given) if given.isdigit() else None)
    if transport is not None and transport["protocol"] == "lmtp":
        return Hop("lmtp", host, number or 24)
    return Hop("smtp", host.partition("/")[0], number, by_mx=text.endswith("/MX"))


def _key(hop: Hop) -> str:
    return f"{hop.carriage}:[{hop.host}]:{hop.port}" if hop.port else f"{hop.carriage}:[{hop.host}]"


def _rows(octets: bytes) -> Iterator[tuple[int, str, str]]:
    """Yield (line, key, value) of a linearly searched file: `key: value` or `key value`."""
    for line, text in logical_lines(octets.decode("utf-8", "replace"), Problems()):
        found = alias_and_value(text) if ":" in text.split(None, 1)[0] else None
        yield line, *(found if found is not None else key_and_value(text))


def _as_rows(octets: bytes) -> bytes:
    """Return a linearly searched file as rows of a key, a tab, and a value; `*@domain` becomes `@domain`."""
    return "".join(f"{key.removeprefix('*') if key.startswith('*@') else key}\t{value}\n"
                   for _, key, value in _rows(octets)).encode()  # fmt: skip
