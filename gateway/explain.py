"""Plain words for enhanced status codes: why a message did not arrive, and what its sender can do.

Every code has an answer: its own, else its subject's, else its class's. Source: RFC 3463 §3, and the registry of
RFC 5248.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Explanation:
    """`why` completes "since …"; `mend` is a sentence for the sender, for failures that are final."""

    why: str
    mend: str


_SPELLING: Final = "Check the spelling of the address, or ask the person for the present one by another way."
_LATER: Final = "Try again later; if it goes on, tell the recipient by another way."
_THEIRS: Final = "Only the recipient's administrators can change this; reach the recipient by another way."
_OURS: Final = "This is for the administrators of this gateway; forward this report to them."

_WORDS: Final[dict[str, Explanation]] = {
    "1.0": Explanation("the address was not accepted", _SPELLING),
    "1.1": Explanation("there is no mailbox of this name", _SPELLING),
    "1.2": Explanation("there is no mail system for the part after the @", _SPELLING),
    "1.3": Explanation("the address is not written as addresses of that system are", _SPELLING),
    "1.4": Explanation("the address fits more than one person", "Ask the person for an address that is theirs alone."),
    "1.6": Explanation("the mailbox has moved and left no new address", "Ask the person for the present address."),
    "1.7": Explanation("your own address was not accepted as written", "Correct the sender's address in your program."),
    "1.8": Explanation("your own mail domain could not be found", "Correct the sender's address in your program."),
    "1.10": Explanation("the domain of the address states that it takes no mail", _SPELLING),
    "2.0": Explanation("the mailbox can't be delivered to", _LATER),
    "2.1": Explanation("the mailbox is switched off and takes no mail", "Ask the person for the present address."),
    "2.2": Explanation("the mailbox is full", "Try again later, when the recipient has had time to make room."),
    "2.3": Explanation(
        "the message is larger than this mailbox takes", "Send it in smaller pieces, or send a link to the large parts."
    ),
    "2.4": Explanation("the mailing list behind the address could not be read", _THEIRS),
    "3.0": Explanation("the recipient's mail system has trouble", _LATER),
    "3.1": Explanation("the recipient's mail system is full", _LATER),
    "3.2": Explanation("the recipient's mail system takes no messages at present", _LATER),
    "3.3": Explanation(
        "the recipient's mail system lacks a feature that this message needs",
        "Send it as plain text without attachments.",
    ),
    "3.4": Explanation(
        "the message is larger than the recipient's mail system takes",
        "Send it in smaller pieces, or send a link to the large parts.",
    ),
    "3.5": Explanation("a mail system on the way is not set up rightly", _OURS),
    "4.0": Explanation("the way to the recipient's mail system has trouble", _LATER),
    "4.1": Explanation("the recipient's mail system did not answer", _LATER),
    "4.2": Explanation("the connection to the recipient's mail system broke off", _LATER),
    "4.3": Explanation("the directory that names the recipient's mail system could not be asked", _LATER),
    "4.4": Explanation("no way to the recipient's mail system is known", _SPELLING),
    "4.5": Explanation("the recipient's mail system is overloaded", _LATER),
    "4.6": Explanation("the message went round in a circle between mail systems", _OURS),
    "4.7": Explanation("it could not be delivered in the time that was allowed for it", _LATER),
    "5.0": Explanation("the two mail systems did not understand each other", _OURS),
    "5.1": Explanation("the two mail systems did not understand each other", _OURS),
    "5.2": Explanation("the two mail systems did not understand each other", _OURS),
    "5.3": Explanation("the message has too many recipients", "Send it to fewer recipients at a time."),
    "5.4": Explanation("the two mail systems did not understand each other", _OURS),
    "6.0": Explanation("the content of the message can't be carried", "Send it as plain text without attachments."),
    "6.1": Explanation("the recipient's mail system does not take this kind of content", "Send it in another format."),
    "6.2": Explanation(
        "the content would have to be converted, and that is not allowed", "Send it as plain text without attachments."
    ),
    "6.3": Explanation(
        "the content would have to be converted, and can't be", "Send it as plain text without attachments."
    ),
    "6.5": Explanation("the content could not be converted", "Send it as plain text without attachments."),
    "6.7": Explanation(
        "the recipient's mail system does not take addresses with letters beyond a to z",
        "Use an address of plain letters, for yourself and for the recipient.",
    ),
    "7.0": Explanation("the recipient's mail system refused it by a rule of its own", _THEIRS),
    "7.1": Explanation("you are not allowed to send to this address", _THEIRS),
    "7.2": Explanation("you are not allowed to send to this list", "Ask the owner of the list to add you."),
    "7.3": Explanation("it could not be made secure in the way that is required", _THEIRS),
    "7.4": Explanation("it could not be made secure in the way that is required", _THEIRS),
    "7.8": Explanation("this gateway could not log on to the next mail system", _OURS),
    "7.20": Explanation("it has no valid signature of your mail domain", "Tell the administrators of your own domain."),
    "7.23": Explanation("your mail domain does not list this gateway as one of its senders", _OURS),
    "7.25": Explanation("the name of this gateway's network address was not accepted", _OURS),
    "7.26": Explanation("several checks of the sender failed", "Tell the administrators of your own domain."),
    "7.27": Explanation("your own mail domain states that it takes no mail", "Correct the sender's address."),
}

_SUBJECTS: Final[dict[str, Explanation]] = {
    "0": Explanation("the recipient's mail system refused it without saying more", _LATER),
    "1": Explanation("the address was not accepted", _SPELLING),
    "2": Explanation("the mailbox does not take it", _LATER),
    "3": Explanation("the recipient's mail system does not take it", _LATER),
    "4": Explanation("the way to the recipient's mail system has trouble", _LATER),
    "5": Explanation("the two mail systems did not understand each other", _OURS),
    "6": Explanation("the content of the message can't be carried", "Send it as plain text without attachments."),
    "7": Explanation("the recipient's mail system refused it by a rule of its own", _THEIRS),
}


def explain(code: str) -> Explanation:
    """Return the words for an enhanced status code of any class, `class.subject.detail`."""
    _, _, rest = code.partition(".")
    return _WORDS.get(rest) or _SUBJECTS.get(rest.partition(".")[0]) or _SUBJECTS["0"]
