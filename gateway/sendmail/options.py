"""The command line of sendmail, as forty years of callers write it. Pure, and without imports, for a fast start.

Options stand alone or in clusters (`-ti`, `-toi`, `-f ann`, `-fann`), values attached or as the next argument; `--`
ends them. What only concerned the workings of sendmail is read and ignored.
Source: the manual pages of sendmail 8.17 and of Postfix's sendmail(1).
"""

from __future__ import annotations

USAGE = 64
"""EX_USAGE of sysexits.h."""

_VALUED = "ABbCdeFfhLMNOopRrVXx"
_FLAGS = "cGIimnQqsTtUv"
_KEYWORDS = {"success", "failure", "delay"}

MAIL, SMTP, QUEUE, VERIFY, ALIASES = "mail", "smtp", "queue", "verify", "aliases"
_MODES = {"m": MAIL, "s": SMTP, "p": QUEUE, "v": VERIFY, "i": ALIASES}

_NOT_HERE = {
    "a": "the ARPANET protocol",
    "d": "a daemon; that is `gatepost run`",
    "D": "a daemon; that is `gatepost run`",
    "h": "host status; see `gatepost queue lanes`",
    "H": "host status; see `gatepost queue requeue`",
    "l": "a daemon; that is `gatepost run`",
    "t": "address test mode; see `gatepost map explain`, or -bv",
}


class Refused(Exception):
    """The command line cannot be followed; the text says why, `status` is the exit status."""

    def __init__(self, text: str, status: int = USAGE) -> None:
        super().__init__(text)
        self.status = status


class Call:
    """What is asked for. `sender` is None where it was not said, empty for the null one."""

    __slots__ = (
        "ends_at_dot", "envid", "mode", "name", "notify", "reads_header", "recipients", "ret", "sender", "verbose",
    )  # fmt: skip

    def __init__(self) -> None:
        self.mode = MAIL
        self.sender: str | None = None
        self.name = ""
        self.recipients: list[str] = []
        self.reads_header = False
        self.ends_at_dot = True
        self.notify = ""
        self.ret = ""
        self.envid = ""
        self.verbose = False


def parse(arguments: list[str], program: str = "sendmail") -> Call:
    """Read the arguments (without the program's name; `program` is what it was called by). Raises: Refused."""
    call = Call()
    if program.startswith("mailq"):
        call.mode = QUEUE
    elif program.startswith("newaliases"):
        call.mode = ALIASES
    left = list(arguments)
    while left:
        word = left.pop(0)
        if word == "--":
            break
        if len(word) < 2 or word[0] != "-":
            left.insert(0, word)
            break
        if word == "-o":  # sendmail's own callers write `-o i`
            _take(call, "o", left.pop(0) if left else "")
        else:
            _cluster(call, word, left)
    call.recipients = left
    _check(call)
    return call


def _cluster(call: Call, word: str, left: list[str]) -> None:
    at = 1
    while at < len(word):
        letter = word[at]
        at += 1
        if letter == "q":
            raise Refused("the queue is run by the daemon; see `gatepost queue`, or `gatepost queue requeue --all`")
        if letter in _VALUED:
            if at < len(word):
                value = word[at:]
            elif letter in "dx":  # their value is attached or not there
                value = ""
            elif left:
                value = left.pop(0)
            else:
                raise Refused(f"option -{letter} needs a value")
            _take(call, letter, value)
            return
        if letter not in _FLAGS:
            raise Refused(f"there is no option -{letter}")
        if letter == "t":
            call.reads_header = True
        elif letter == "i":
            call.ends_at_dot = False
        elif letter == "I":
            call.mode = ALIASES
        elif letter == "v":
            call.verbose = True


def _take(call: Call, letter: str, value: str) -> None:
    """Take an option with its value. Raises: Refused."""
    if letter == "b":
        call.mode = _MODES.get(value[:1], "")
        if not call.mode:
            raise Refused(f"-b{value} would be {_NOT_HERE.get(value[:1], 'a mode that is not known here')}")
    elif letter in "fr":
        if "\n" in value:
            raise Refused("an address holds no line end")
        call.sender = "" if value.strip() in ("", "<>") else _bare(value)
    elif letter == "F":
        call.name = " ".join(value.split())
    elif letter == "o":
        if value[:1] == "i":
            call.ends_at_dot = False
    elif letter == "O":
        name, _, wanted = value.partition("=")
        if name.strip().lower() == "ignoredots":
            call.ends_at_dot = wanted.strip().lower()[:1] in ("f", "n")
    elif letter == "N":
        call.notify = _notify(value)
    elif letter == "R":
        call.ret = value.lower()
        if call.ret not in ("full", "hdrs"):
            raise Refused("-R takes full or hdrs")
    elif letter == "V":
        if not value or len(value) > 100 or not all("!" <= c <= "~" for c in value):
            raise Refused("-V takes up to 100 printable characters without a blank")
        call.envid = value
    elif letter == "M":
        raise Refused("messages of the queue are chosen by `gatepost queue`")


def _notify(value: str) -> str:
    words = value.lower().split(",")
    if words != ["never"] and not _KEYWORDS.issuperset(words):
        raise Refused("-N takes never, or some of success,failure,delay")
    return ",".join(words)


def _bare(address: str) -> str:
    """Return an address without what stands around it: `Ann <ann@acme.example>` is ann@acme.example."""
    address = address.strip()
    if address.endswith(">") and "<" in address:
        return address[address.rindex("<") + 1 : -1].strip()
    return address


def _check(call: Call) -> None:
    for value in (*call.recipients, call.name, call.sender or ""):
        if "\n" in value or "\r" in value or "\0" in value:
            raise Refused("an address holds no line end")
    if call.mode == MAIL and not call.recipients and not call.reads_header:
        raise Refused("name the recipients, or give -t to have them read of the header")
    if call.mode == VERIFY and not call.recipients:
        raise Refused("-bv takes the addresses to explain")
    if call.mode == ALIASES:
        raise Refused("there is no file of aliases to be built; the mapping is in force: see `gatepost map`", 0)
