"""ARC by the published suite of ValiMail (arc_test_suite): its cases by name, each made with our own message and keys.

What a case does to a message is carried over, with the result that the suite expects: whether it is done before a field
is signed, so that the signature is right and only its form is wrong, or after. The suite is of a draft; where RFC 8617
or what it builds on has it otherwise, `ours` says so, and `why` the place.
"""

from __future__ import annotations

import base64
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA1

from connectors.smtp.authentication import arc, dkim, results
from connectors.smtp.authentication.arc import ArcResult, Validator
from connectors.smtp.authentication.canonical import HASHES, Bodies, BodyHash, Fields, Form
from connectors.smtp.authentication.keys import KeyCache, public_record, sign_digest
from tests.connectors.smtp.authentication.dns_double import Zone

Result = Literal["none", "pass", "fail", "no result"]
Part = Literal["seal", "ams", "aar"]
Changes = Mapping[str, tuple[str, str]]
"""By seal, ams, aar, head and body: a text that is there, and what stands there instead."""

NOW: Final = 1_700_000_000.0
HEAD: Final = (
    "Received: from a.example (a.example [192.0.2.1])\r\n\tby lists.example.org; Tue, 14 Nov 2023 22:00:00 +0000\r\n"
    "MIME-Version: 1.0\r\n"
    "Message-ID: <1@a.example>\r\n"
    "Date: Tue, 14 Nov 2023 21:59:00 +0000\r\n"
    "From: Ann An Author <ann@a.example>\r\n"
    "To: list@example.org\r\n"
    "Subject: A word\r\n"
)
BODY: Final = "Dear all,\r\nthis is a word.\r\nAnn\r\n"
SEAL: Final = "ARC-Seal: a=rsa-sha256;\r\n\tb={b}; cv={cv}; d=example.org; i={i}; s=own;\r\n\tt=12345\r\n"
AMS: Final = (
    "ARC-Message-Signature: a=rsa-sha256;\r\n\tb={b};\r\n\tbh={bh}; c=relaxed/relaxed;\r\n\td=example.org; "
    "h=from:to:date:subject:mime-version:arc-authentication-results;\r\n\ti={i}; s=own; t=12345\r\n"
)
AAR: Final = "ARC-Authentication-Results: i={i}; lists.example.org;\r\n\tspf=pass smtp.mailfrom=ann@a.example\r\n"
PARTS: Final[tuple[Part, ...]] = ("seal", "ams", "aar")

_SEQUENCE: Final = b"\x30\x5c"
_DIGEST_INFO: Final = bytes.fromhex("3031300d060960864801650304020105000420")  # of SHA-256, RFC 8017 §9.2


class ShortKey:
    """An RSA key of 512 bits, which no library makes any more."""

    def __init__(self) -> None:
        chance = random.Random(8)
        found: list[int] = []
        while len(found) < 2:
            number = chance.getrandbits(256) | 3 << 254 | 1
            if all(pow(base, number - 1, number) == 1 for base in (2, 3, 5)) and number % 65537 != 1:
                found.append(number)
        one, two = found
        self.modulus = one * two
        self._private = pow(65537, -1, (one - 1) * (two - 1))

    def record(self) -> str:
        modulus = b"\x02\x41\0" + self.modulus.to_bytes(64)
        numbers = b"\x30\x48" + modulus + b"\x02\x03\x01\0\x01"
        info = b"\x30\x0d" + bytes.fromhex("06092a864886f70d0101010500") + b"\x03\x4b\0" + numbers
        return f"v=DKIM1; k=rsa; p={base64.b64encode(_SEQUENCE + info).decode()}"

    def sign(self, digest: bytes) -> bytes:
        info = _DIGEST_INFO + digest
        padded = b"\0\x01" + b"\xff" * (61 - len(info)) + b"\0" + info
        return pow(int.from_bytes(padded), self._private, self.modulus).to_bytes(64)


KEYS: Final = {
    "own": rsa.generate_private_key(65537, 1024),
    "second": rsa.generate_private_key(65537, 1024),
    "long": rsa.generate_private_key(65537, 2048),
}
SHORT: Final = ShortKey()
OWN: Final = public_record(KEYS["own"]).encode()
ZONE: Final = Zone(
    {
        ("own._domainkey.example.org", "TXT"): [OWN],
        ("same._domainkey.example.org", "TXT"): [OWN],
        ("second._domainkey.example.net", "TXT"): [public_record(KEYS["second"]).encode()],
        ("long._domainkey.example.org", "TXT"): [public_record(KEYS["long"]).encode()],
        ("short._domainkey.example.org", "TXT"): [SHORT.record().encode()],
        ("broken._domainkey.example.org", "TXT"): [b"v=DKIM1; k=rsa; whatisthis"],
    }
)


@dataclass(frozen=True, slots=True)
class Case:
    """One case of the suite. `before` and `after` are done to the set `at`, the newest one where it says nothing."""

    name: str
    suite: Result
    before: Changes = field(default_factory=dict)
    after: Changes = field(default_factory=dict)
    sets: int = 1
    at: int = 0
    between: tuple[str, str] | None = None
    """What is done to the header after the first set."""
    signs: str = ""
    """The fields signed, where that is not what h= says."""
    without: str = ""
    twice: str = ""
    """A part of the set that stands above it once more, or `seal below`."""
    stale: bool = False
    """The seal is over the message signature as it was without `before`."""
    ours: Result | None = None
    why: str = ""


def changed(text: str, change: tuple[str, str] | None) -> str:
    if change is None:
        return text
    assert change[0] in text
    return text.replace(*change, 1)


def completed(text: str, signature: bytes) -> str:
    """Put a signature in: as it is, in lines, with blanks in it, or a false one."""
    plain = base64.b64encode(signature).decode()
    other = ("A" if plain[0] != "A" else "B") + plain[1:]
    forms = {
        "{b}": plain[:60] + "\r\n\t" + plain[60:],
        "{b in one line}": plain[:60] + " " + plain[60:],
        "{b with blanks}": plain[:5] + " " + plain[5:60] + "\r\n\t" + plain[60:70] + "  " + plain[70:],
        "{b with blanks at the end of a line}": plain[:60] + "    \r\n\t" + plain[60:],
        "{b changed}": other,
    }
    for place, value in forms.items():
        text = text.replace(place, value)
    return text


def signature_over(octets: bytes, text: str) -> bytes:
    """Sign with the key that the selector of a field names, by the hash of its algorithm."""
    selector = re.search(r"\bs=(\w*)", text)
    name = selector[1] if selector is not None and selector[1] in (*KEYS, "short") else "own"
    if name == "short":
        return SHORT.sign(HASHES["sha256"](octets).digest())
    if "a=rsa-sha1;" in text:
        return KEYS[name].sign(HASHES["sha1"](octets).digest(), padding.PKCS1v15(), Prehashed(SHA1()))
    return sign_digest(KEYS[name], HASHES["sha256"](octets).digest())


def made(case: Case) -> tuple[str, str]:
    """Make the message of a case: its header and its body."""
    head, body = changed(HEAD, case.before.get("head")), changed(BODY, case.before.get("body"))
    sets: list[dict[Part, str]] = []
    for number in range(1, case.sets + 1):
        here = number == (case.at or case.sets)
        before: Changes = case.before if here else {}
        own: dict[Part, str] = {"aar": changed(AAR.replace("{i}", str(number)), before.get("aar"))}
        usual = AMS.replace("{i}", str(number))
        ams = usual if case.stale else changed(usual, before.get("ams"))
        own["ams"] = signed(ams, own["aar"] + header(sets, head), body, case.signs if here else "")
        seal = SEAL.replace("{i}", str(number)).replace("{cv}", "none" if number == 1 else "pass")
        seal = changed(seal, before.get("seal"))
        earlier = [each[part] for each in sets for part in ("aar", "ams", "seal") if part in each]
        sealed = [text.encode() for text in (*earlier, own["aar"], own["ams"])]
        octets = dkim.signing_input(sealed, "relaxed", seal.encode())
        own["seal"] = completed(seal, signature_over(octets, seal))
        if case.stale and here:
            own["ams"] = signed(changed(usual, before.get("ams")), own["aar"] + header(sets, head), body, "")
        for part in PARTS:
            if here and part == case.without:
                del own[part]
        sets.append(own)
        if number == 1:
            head = changed(head, case.between)
    changes = sets[(case.at or case.sets) - 1] if sets else {}
    for part in PARTS:
        if part in case.after:
            changes[part] = changed(changes[part], case.after[part])
    above = "".join(changes[part] for part in PARTS if case.twice in (part, "set") and part in changes)
    below = changes["seal"] if case.twice == "seal below" else ""
    head = below + changed(head, case.after.get("head"))
    return above + header(sets, head), changed(body, case.after.get("body"))


def header(sets: list[dict[Part, str]], head: str) -> str:
    return "".join(each[part] for each in reversed(sets) for part in PARTS if part in each) + head


def signed(ams: str, head: str, body: str, signs: str) -> str:
    """Sign a message by a field, in the form that it names, or relaxed where it names none."""
    form = re.search(r"\bc\s*=\s*(simple|relaxed)/(simple|relaxed)", ams)
    forms: tuple[Form, Form] = ("relaxed", "relaxed")
    if form is not None:
        forms = ("simple" if form[1] == "simple" else "relaxed", "simple" if form[2] == "simple" else "relaxed")
    hashed = BodyHash(forms[1], "sha1" if "a=rsa-sha1;" in ams else "sha256")
    hashed.update(body.encode())
    bh = base64.b64encode(hashed.digest()).decode()
    ams = ams.replace("{bh}", bh).replace("{bh with a blank}", bh[:1] + " " + bh[1:])
    listed = re.search(r"\bh=([^;]*)", ams)
    names = signs or (listed[1] if listed is not None else "from:to")
    chosen = Fields(head.encode()).chosen([name.strip().lower().encode() for name in names.split(":")])
    return completed(ams, signature_over(dkim.signing_input(chosen, forms[0], ams.encode()), ams))


async def judge(head: str, body: str) -> ArcResult:
    bodies = Bodies()
    validator = Validator(Fields(head.encode()), bodies)
    bodies.update(body.encode())
    return await validator.validate(ZONE, KeyCache(), NOW)


SHA1_IS_DEAD: Final = "RFC 8301 §3.1: rsa-sha1 must not be verified with success"
STOPS: Final = "RFC 8617 §5.2: a seal with cv=fail ends it as fail; a later edition of the suite has no result for it"

CHAINS: Final = [
    *(Case(f"cv_pass_i{sets}_1", "pass", sets=sets) for sets in range(1, 6)),
    Case(
        "cv_pass_i1_2",
        "pass",
        {"body": ("this is a word", "--1\r\nContent-Type: text/plain\r\n\r\nA word\r\n\r\n--1--")},
    ),
    Case(
        "cv_pass_i2_2",
        "pass",
        {"body": ("this is a word", "--1\r\nContent-Type: text/plain\r\n\r\nA word\r\n\r\n--1--")},
        sets=2,
    ),
    Case("cv_pass_i2_1_ams1_invalid", "pass", sets=2, between=("Ann An Author", "Bob")),
    Case("cv_fail_i1_ams_na", "fail", without="ams"),
    Case("cv_fail_i1_ams_invalid", "fail", after={"body": ("is a word", "is another word")}),
    Case("cv_fail_i1_as_na", "fail", without="seal"),
    Case("cv_fail_i1_as_pass", "fail", {"seal": ("cv=none", "cv=pass")}),
    Case("cv_fail_i1_as_cv_fail", "no result", {"seal": ("cv=none", "cv=fail")}, ours="fail", why=STOPS),
    Case("cv_fail_i1_as_invalid", "fail", {"seal": ("{b}", "{b changed}")}),
    Case("cv_fail_i2_ams_na", "fail", sets=2, without="ams"),
    Case("cv_fail_i2_ams_invalid", "fail", {"ams": ("{bh}", "invalid")}, sets=2),
    Case("cv_fail_i2_as2_na", "fail", sets=2, without="seal"),
    Case("cv_fail_i2_as2_invalid", "fail", {"seal": ("{b}", "{b changed}")}, sets=2),
    Case("cv_fail_i2_as2_none", "fail", {"seal": ("cv=pass", "cv=none")}, sets=2),
    Case("cv_fail_i2_as2_fail", "no result", {"seal": ("cv=pass", "cv=fail")}, sets=2, ours="fail", why=STOPS),
    Case("cv_fail_i2_as1_na", "fail", sets=2, at=1, without="seal"),
    Case("cv_fail_i2_as1_invalid", "fail", {"seal": ("{b}", "{b changed}")}, sets=2, at=1),
    Case("cv_fail_i2_as1_pass", "fail", {"seal": ("cv=none", "cv=pass")}, sets=2, at=1),
    Case("cv_fail_i2_as1_fail", "no result", {"seal": ("cv=none", "cv=fail")}, sets=2, at=1, ours="fail", why=STOPS),
    Case("ams_as_diff_s_d", "pass", {"seal": ("example.org; i=1; s=own", "example.net; i=1; s=second")}),
    Case("public_key_na", "fail", {"seal": ("s=own", "s=na")}),
    Case("public_key_invalid", "fail", {"seal": ("s=own", "s=broken")}),
    Case(
        "arc_set_duplicate",  # of an earlier edition
        "pass",
        twice="set",
        ours="fail",
        why="RFC 8617 §5.2: of each instance there is exactly one set; as ams_struct_dup and its like have it",
    ),
]
RESULTS: Final = [
    Case("aar_missing", "fail", without="aar"),
    Case("aar_i_missing", "fail", after={"aar": (" i=1;", "")}),
    Case("aar_i_wrong", "fail", after={"aar": ("i=1", "i=2")}),
    Case("aar_i_not_prefixed", "fail", after={"aar": ("i=1; lists.example.org;", "lists.example.org; i=1;")}),
    Case("aar_i_no_semi", "fail", after={"aar": ("i=1; ", "i=1 ")}),
    Case("aar2_missing", "fail", sets=2, without="aar"),
    Case("aar_struct_i_na", "fail", {"aar": (" i=1;", "")}),
    Case("aar_struct_i_empty", "fail", {"aar": ("i=1", "i=")}),
    Case("aar_struct_i_zero", "fail", {"aar": ("i=1", "i=0")}),
    Case("aar_struct_invalid", "fail", {"aar": ("i=1", "i=what")}),
    Case("aar_struct_dup", "fail", twice="aar"),
    Case("aar_struct_missing", "fail", without="aar"),
]
SIGNATURES: Final = [
    Case("ams_struct_i_na", "fail", {"ams": ("i=1; ", "")}),
    Case("ams_struct_i_empty", "fail", {"ams": ("i=1", "i=")}),
    Case("ams_struct_i_zero", "fail", {"ams": ("i=1", "i=0")}),
    Case("ams_struct_i_invalid", "fail", {"ams": ("i=1", "i=a")}),
    Case("ams_struct_dup", "fail", twice="ams"),
    Case("ams_struct_missing", "fail", without="ams"),
    Case("ams_format_sc_wsp", "pass", {"ams": ("{bh};", "{bh} ;")}),
    Case("ams_format_eq_wsp", "pass", {"ams": ("c=", "c = ")}),
    Case("ams_format_tags_trail_sc", "pass", {"ams": ("t=12345", "t=12345;")}),
    Case("ams_format_tags_unknown", "pass", {"ams": ("t=12345", "t=12345; w=what")}),
    Case("ams_format_inv_tag_key", "fail", after={"ams": ("t=12345", "==; t=12345")}),
    Case("ams_format_tags_dup", "fail", after={"ams": ("s=own;", "s=own; s=own;")}),
    Case("ams_format_tags_key_case", "fail", after={"ams": (" h=", " H=")}),
    Case("ams_format_tags_val_case", "fail", after={"ams": ("h=from", "h=From")}),
    Case("ams_format_tags_wsp", "fail", after={"ams": ("t=12345", "t=1 2345")}),
    Case("ams_format_tags_sc", "fail", after={"ams": ("s=own;", "s=own;;")}),
    Case("ams_fields_i_dup1", "fail", after={"head": ("Received:", "ARC-Message-Signature: i=1; b=aGk=\r\nReceived:")}),
    Case("ams_fields_i_dup2", "fail", after={"ams": ("ARC-Mess", "ARC-Message-Signature: i=1; b=aGk=\r\nARC-Mess")}),
    Case("ams_fields_a_sha1", "pass", {"ams": ("rsa-sha256", "rsa-sha1")}, ours="fail", why=SHA1_IS_DEAD),
    Case("ams_fields_a_na", "fail", {"ams": (" a=rsa-sha256;", "")}),
    Case("ams_fields_a_empty", "fail", {"ams": ("a=rsa-sha256", "a=")}),
    Case("ams_fields_a_unknown", "fail", {"ams": ("rsa-sha256", "rsa-toast")}),
    Case("ams_fields_b_ignores_wsp", "pass", {"ams": ("{b}", "{b with blanks}")}),
    Case("ams_fields_b_head_case", "pass", after={"head": ("From:", "FROM:")}),
    Case("ams_fields_b_head_unfold", "pass", after={"head": (" <ann@", "\r\n  <ann@")}),
    Case("ams_fields_b_eol_wsp", "pass", after={"head": ("<ann@a.example>\r", "<ann@a.example>    \r")}),
    Case("ams_fields_b_inl_wsp", "pass", after={"head": ("Ann An Author ", "Ann   An    Author     ")}),
    Case("ams_fields_b_col_wsp", "pass", after={"head": ("To: ", "To:   ")}),
    Case("ams_fields_b_na", "fail", {"ams": ("b={b};\r\n\t", "")}),
    Case("ams_fields_b_empty", "fail", {"ams": ("b={b}", "b=")}),
    Case("ams_fields_b_base64", "fail", {"ams": ("{b}", "no_base_64")}),
    Case("ams_fields_b_mod_sig", "fail", {"ams": ("{b}", "{b changed}")}),
    Case("ams_fields_b_mod_headers1", "fail", after={"head": ("Ann An", "An")}),
    Case("ams_fields_b_mod_headers2", "fail", after={"head": ("A word", "A word (changed)")}),
    Case("ams_fields_bh_ignores_wsp", "pass", {"ams": ("{bh}", "{bh with a blank}")}),
    Case("ams_fields_bh_sim_base", "pass", {"ams": ("relaxed/relaxed", "relaxed/simple")}),
    Case(
        "ams_fields_bh_sim_end_lines",
        "pass",
        {"ams": ("relaxed/relaxed", "relaxed/simple")},
        {"body": ("Ann\r\n", "Ann\r\n\r\n\r\n")},
    ),
    Case(
        "ams_fields_bh_sim_inl_wsp",
        "fail",
        {"ams": ("relaxed/relaxed", "relaxed/simple")},
        {"body": ("is a word", "is a   word")},
    ),
    Case("ams_fields_bh_rel_eol_wsp", "pass", after={"body": ("word.\r\nAnn\r\n", "word.  \r\nAnn  \r\n")}),
    Case("ams_fields_bh_rel_inl_wsp", "pass", after={"body": ("is a word", "is       a word")}),
    Case("ams_fields_bh_rel_end_lines", "pass", after={"body": ("Ann\r\n", "Ann\r\n\r\n\r\n")}),
    Case("ams_fields_bh_rel_trail_crlf", "pass", after={"body": ("Ann\r\n", "Ann")}),
    Case("ams_fields_bh_na", "fail", {"ams": ("bh={bh}; ", "")}),
    Case("ams_fields_bh_empty", "fail", {"ams": ("{bh}", "")}),
    Case("ams_fields_bh_base64", "fail", {"ams": ("{bh}", "no_base_64")}),
    Case("ams_fields_bh_mod_sig", "fail", {"ams": ("{bh}", "Z29ibGlucw==")}),
    Case("ams_fields_bh_mod_body", "fail", after={"body": ("a word", "a changed word")}),
    Case("ams_fields_c_na", "fail", {"ams": (" c=relaxed/relaxed;", "")}),
    Case("ams_fields_c_empty", "fail", {"ams": ("relaxed/relaxed", "")}),
    Case("ams_fields_c_rr", "pass", after={"body": ("all,", "all,  ")}),
    Case("ams_fields_c_rs", "pass", {"ams": ("relaxed/relaxed", "relaxed/simple")}),
    Case("ams_fields_c_sr", "pass", {"ams": ("relaxed/relaxed", "simple/relaxed")}),
    Case("ams_fields_c_ss", "pass", {"ams": ("relaxed/relaxed", "simple/simple"), "body": ("all,", "all,  ")}),
    Case("ams_fields_c_invalid", "fail", {"ams": ("relaxed/relaxed", "toast/butter")}),
    Case("ams_fields_d_na", "fail", {"ams": ("d=example.org; ", "")}),
    Case("ams_fields_d_empty", "fail", {"ams": ("d=example.org", "d=")}),
    Case("ams_fields_d_invalid", "fail", {"ams": ("d=example.org", "d=example...")}),
    Case(
        "ams_fields_h_empty",
        "pass",
        {"ams": ("from:to:date:subject:mime-version:arc-authentication-results", "")},
        ours="fail",
        why="RFC 6376 §3.5: h= names at least one field",
    ),
    Case("ams_fields_h_cws1", "pass", {"ams": ("from:to:date:subject:", "from : to : date : subject : ")}),
    Case(
        "ams_fields_h_cws2",
        "pass",
        {"ams": ("to:date:subject:mime-version:", "to : date :\r\n\t subject:mime-version:\r\n\t")},
    ),
    Case(
        "ams_fields_h_case",
        "pass",
        {"ams": ("from:to:date:subject:mime-version:arc", "From:To:Date:Subject:Mime-version:Arc")},
    ),
    Case("ams_fields_h_dup1", "pass", {"head": ("To:", "To: other@example.org\r\nTo:"), "ams": (":to:", ":to:to:")}),
    Case("ams_fields_h_non_existant", "pass", {"head": ("MIME-Version: 1.0\r\n", "")}),
    Case("ams_fields_h_mis_hdr", "pass", {"ams": (":to:", ":to::")}),
    Case(
        "ams_fields_h_non_existant_dup",
        "pass",
        {"head": ("MIME-Version: 1.0\r\n", ""), "ams": ("-results;", "-results:mime-version;")},
    ),
    Case("ams_fields_h_includes_ams", "pass", {"ams": (":to:", ":to:arc-message-signature:")}, sets=2),
    Case("ams_fields_h_na", "fail", {"ams": ("h=from:to:date:subject:mime-version:arc-authentication-results;", "")}),
    Case(
        "ams_fields_h_dup2",
        "fail",
        {"head": ("To:", "To: other@example.org\r\nTo:"), "ams": (":to:", ":to:to:")},
        {"head": ("To: other@example.org\r\nTo: list@example.org", "To: list@example.org\r\nTo: other@example.org")},
    ),
    Case("ams_fields_h_order", "fail", signs="to:from:date:subject:mime-version:arc-authentication-results"),
    Case(
        "ams_fields_h_empty_added",
        "fail",
        {"head": ("MIME-Version: 1.0\r\n", "")},
        {"head": ("To:", "MIME-Version: 1.0\r\nTo:")},
    ),
    Case("ams_fields_h_includes_as", "fail", {"ams": (":to:", ":to:arc-seal:")}, sets=2),
    Case("ams_fields_s_na", "fail", {"ams": ("s=own; ", "")}),
    Case("ams_fields_s_empty", "fail", {"ams": ("s=own", "s=")}),
    Case("ams_fields_t_na", "pass", {"ams": ("; t=12345", "")}),
    Case("ams_fields_t_empty", "fail", {"ams": ("t=12345", "t=")}),
    Case("ams_fields_t_invalid", "fail", {"ams": ("t=12345", "t=soon")}),
]
SEALS: Final = [
    Case("as_struct_i_na", "fail", {"seal": ("i=1; ", "")}),
    Case("as_struct_i_empty", "fail", {"seal": ("i=1", "i=")}),
    Case("as_struct_i_zero", "fail", {"seal": ("i=1", "i=0")}),
    Case("as_struct_i_invalid", "fail", {"seal": ("i=1", "i=what")}),
    Case("as_struct_dup", "fail", twice="seal"),
    Case("as_struct_missing", "fail", without="seal"),
    Case("as_format_sc_wsp", "pass", {"seal": ("i=1;", "i=1 ;")}),
    Case("as_format_eq_wsp", "pass", {"seal": ("i=1", "i = 1")}),
    Case("as_format_tags_trail_sc", "pass", {"seal": ("t=12345", "t=12345;")}),
    Case("as_format_tags_unknown", "pass", {"seal": ("t=12345", "t=12345; w=what")}),
    Case("as_format_inv_tag_key", "fail", {"seal": ("s=own;", "s=own; _=;")}),
    Case("as_format_tags_dup", "fail", {"seal": ("s=own;", "s=own; s=own;")}),
    Case("as_format_tags_key_case", "fail", {"seal": (" s=own", " S=own")}),
    Case("as_format_tags_val_case", "fail", after={"seal": ("d=example.org", "d=Example.org")}),
    Case("as_format_tags_wsp", "fail", {"seal": ("t=12345", "t=12 345")}),
    Case("as_format_tags_sc", "fail", {"seal": ("s=own;", "s=own;;")}),
    Case("as_fields_i_dup", "fail", twice="seal below"),
    Case("as_fields_i_dup2", "fail", sets=2, twice="seal"),
    Case("as_fields_i_missing", "fail", {"seal": ("i=1; ", "")}),
    Case("as_fields_i_malformed1", "fail", dict.fromkeys(PARTS, ("i=1", "i=0"))),  # of an earlier edition
    Case("as_fields_i_malformed2", "fail", dict.fromkeys(PARTS, ("i=1", "i=a"))),  # of an earlier edition
    Case("as_fields_a_sha1", "pass", {"seal": ("rsa-sha256", "rsa-sha1")}, ours="fail", why=SHA1_IS_DEAD),
    Case("as_fields_a_na", "fail", {"seal": (" a=rsa-sha256;", "")}),
    Case("as_fields_a_empty", "fail", {"seal": ("a=rsa-sha256", "a=")}),
    Case("as_fields_a_unknown", "fail", {"seal": ("rsa-sha256", "rsa-sha42")}),
    Case("as_fields_b_ignores_wsp", "pass", {"seal": ("{b}", "{b with blanks}")}),
    Case("as_fields_b_head_case", "pass", after={"seal": ("ARC-Seal:", "ARC-SEAL:")}),
    Case("as_fields_b_head_unfold", "pass", {"seal": ("{b}", "{b in one line}")}),
    Case("as_fields_b_eol_wsp", "pass", {"seal": ("{b}", "{b with blanks at the end of a line}")}),
    Case("as_fields_b_inl_wsp", "pass", after={"seal": ("; cv=", ";    cv=")}),
    Case("as_fields_b_col_wsp", "pass", after={"seal": ("ARC-Seal: a", "ARC-Seal:   a")}),
    Case("as_fields_b_512", "fail", dict.fromkeys(("seal", "ams"), ("s=own", "s=short"))),
    Case("as_fields_b_1024", "pass"),
    Case("as_fields_b_2048", "pass", dict.fromkeys(("seal", "ams"), ("s=own", "s=long"))),
    Case("as_fields_b_na", "fail", {"seal": ("b={b}; ", "")}),
    Case("as_fields_b_empty", "fail", {"seal": ("{b}", "")}),
    Case("as_fields_b_base64", "fail", {"seal": ("{b}", "no-base")}),
    Case("as_fields_b_mod_sig", "fail", {"seal": ("{b}", "{b changed}")}),
    Case("as_fields_b_aar1", "fail", after={"aar": ("i=1", "i=what")}),
    Case("as_fields_b_ams1", "fail", {"ams": ("from:to:date", "from:date")}, stale=True),
    Case("as_fields_b_asb1", "fail", after={"seal": ("s=own", "s=same")}),
    Case("as_fields_cv_na", "fail", {"seal": (" cv=none;", "")}),
    Case("as_fields_cv_empty", "fail", {"seal": ("cv=none", "cv=")}),
    Case("as_fields_cv_invalid", "fail", {"seal": ("cv=none", "cv=:)")}),
    Case("as_fields_d_na", "fail", {"seal": (" d=example.org;", "")}),
    Case("as_fields_d_empty", "fail", {"seal": ("d=example.org", "d=")}),
    Case("as_fields_d_invalid", "fail", {"seal": ("d=example.org", "d=***")}),
    Case("as_fields_s_na", "fail", {"seal": (" s=own;", "")}),
    Case("as_fields_s_empty", "fail", {"seal": ("s=own", "s=")}),
    Case(
        "as_fields_t_na",
        "fail",
        {"seal": (";\r\n\tt=12345", "")},
        ours="pass",
        why="RFC 8617 §4.1.3 has t= as in RFC 6376 §3.5, where it is recommended and may be absent",
    ),
    Case("as_fields_t_empty", "fail", {"seal": ("t=12345", "t=")}),
    Case("as_fields_t_invalid", "fail", {"seal": ("t=12345", "t=-123.4")}),
]
CASES: Final = [*CHAINS, *RESULTS, *SIGNATURES, *SEALS]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_validation(case: Case) -> None:
    assert (case.ours is None) == (case.why == "")
    result = await judge(*made(case))
    assert result.status == (case.ours or case.suite), result.reason


@pytest.mark.parametrize(
    ("head", "body"),
    [
        pytest.param("", "", id="cv_empty"),
        pytest.param("", BODY, id="cv_no_headers"),
        pytest.param(HEAD, "", id="cv_no_body"),
        pytest.param(HEAD, BODY, id="cv_base1"),
        pytest.param(HEAD, "--1\r\nContent-Type: text/plain\r\n\r\nA word\r\n\r\n--1--\r\n", id="cv_base2"),
    ],
)
async def test_without_a_chain(head: str, body: str) -> None:
    assert (await judge(head, body)).status == "none"


def test_each_name_stands_once() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


# What is sealed

ID: Final = "lists.example.org; arc={cv};\r\n\tspf=pass smtp.mailfrom=ann@a.example"
NAMES: Final = (b"mime-version", b"date", b"from", b"to", b"subject")


async def sealed(head: str, body: str, names: tuple[bytes, ...] = NAMES) -> str:
    """Return the set that our code makes for a message."""
    hashed = BodyHash("relaxed")
    hashed.update(body.encode())
    arrived = await judge(head, body)
    made = arc.seal(
        Fields(head.encode()),
        hashed.digest(),
        arrived,
        ID.replace("{cv}", arrived.status).encode(),
        key=KEYS["own"],
        domain="example.org",
        selector="own",
        names=names,
        timestamp=12345,
    )
    return made.decode()


def parts_of(octets: str) -> tuple[dict[str, str], dict[str, str], bytes]:
    """Return the tags of seal and message signature, without blanks, and the whole field of results."""
    fields = Fields(octets.encode())
    assert [name for name, _, _ in (line.partition(":") for line in octets.split("\r\n")) if name[:4] == "ARC-"] == [
        "ARC-Seal",
        "ARC-Message-Signature",
        "ARC-Authentication-Results",
    ]
    seal, message = (
        dict(tag.split("=", 1) for tag in "".join(fields.all(name)[0].decode().partition(":")[2].split()).split(";"))
        for name in (arc.SEAL, arc.MESSAGE)
    )
    return seal, message, fields.all(arc.RESULTS)[0]


def seals_itself_only(octets: str) -> bool:
    """Tell whether a seal is over its own set and nothing else."""
    fields = Fields(octets.encode())
    (seal,), (message,), (found,) = (fields.all(name) for name in (arc.SEAL, arc.MESSAGE, arc.RESULTS))
    own = dkim.signing_input([found, message], "relaxed", seal)
    signature = base64.b64decode(parts_of(octets)[0]["b"])
    return signature == sign_digest(KEYS["own"], HASHES["sha256"](own).digest())


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"body": ("all,", "all,  ")}, id="message_body_eol_wsp"),
        pytest.param({"body": ("is a word", "is a   word")}, id="message_body_inl_wsp"),
        pytest.param({"body": ("Ann\r\n", "Ann\r\n\r\n\r\n")}, id="message_body_end_lines"),
        pytest.param({"body": ("Ann\r\n", "Ann")}, id="message_body_trail_crlf"),
        pytest.param({"head": ("From:", "FROM:")}, id="headers_field_name_case"),
        pytest.param({"head": (" <ann@", "\r\n  <ann@")}, id="headers_field_unfold"),
        pytest.param({"head": ("Version: 1.0\r", "Version: 1.0   \r")}, id="headers_eol_wsp"),
        pytest.param({"head": ("14 Nov 2023 21", "14 Nov   2023   21")}, id="headers_inl_wsp"),
        pytest.param({"head": ("From: ", "From:   ")}, id="headers_col_wsp"),
    ],
)
async def test_what_makes_no_difference_is_sealed_alike(change: Changes) -> None:
    head, body = changed(HEAD, change.get("head")), changed(BODY, change.get("body"))
    assert (head, body) != (HEAD, BODY)
    assert await sealed(head, body) == await sealed(HEAD, BODY)


@pytest.mark.parametrize(
    ("case", "instance", "cv"),
    [
        pytest.param(Case("", "none", sets=0), 1, "none", id="i0_base"),
        pytest.param(Case("", "pass"), 2, "pass", id="i1_base"),
        pytest.param(Case("", "pass", sets=2), 3, "pass", id="i2_base"),
        pytest.param(Case("", "fail", {"seal": ("{b}", "{b changed}")}), 2, "fail", id="i1_base_fail"),
        pytest.param(Case("", "fail", {"seal": ("{b}", "{b changed}")}, sets=2, at=1), 3, "fail", id="i2_base_fail"),
        # Of an earlier edition, which orders what stands twice and seals it; RFC 8617 §5.1.2 seals nothing of it.
        pytest.param(Case("", "fail", twice="set"), 2, "fail", id="duplicate_set"),
        pytest.param(Case("", "fail", twice="seal"), 2, "fail", id="duplicate_as"),
        pytest.param(Case("", "fail", without="seal"), 2, "fail", id="missing_as"),
        pytest.param(Case("", "fail", without="ams"), 2, "fail", id="missing_ams"),
        pytest.param(Case("", "fail", without="aar"), 2, "fail", id="missing_aar"),
        *(
            pytest.param(
                Case("", "fail", after={"seal": ("ARC-", f"ARC-Seal: {i}cv=none; b=aGk=\r\nARC-")}), 2, "fail", id=name
            )
            for i, name in (
                ("", "invalid_i_na"),
                ("i=; ", "invalid_i_missing"),
                ("i=0; ", "invalid_i_range"),
                ("i=a; ", "invalid_i_non_numeric"),
                ("i=1; t=20000; ", "duplicate_as_i1"),
                ("i=1; t=12345; ", "duplicate_as_i_t1"),
            )
        ),
        *(
            pytest.param(
                Case("", "fail", after={"head": ("Received:", f"ARC-Seal: i=1; t={t}; cv=none; b=aGk=\r\nReceived:")}),
                *(2, "fail"),
                id=name,
            )
            for t, name in ((20000, "duplicate_as_i2"), (12345, "duplicate_as_i_t2"))
        ),
    ],
)
async def test_the_seal_says_what_the_chain_was_worth(case: Case, instance: int, cv: str) -> None:
    head, body = made(case)
    assert (await judge(head, body)).status == case.suite
    got = await sealed(head, body)
    seal, message, found = parts_of(got)
    assert (seal["a"], seal["cv"], seal["d"], seal["i"], seal["s"], seal["t"]) == (
        *("rsa-sha256", cv, "example.org"),
        *(str(instance), "own", "12345"),
    )
    assert (message["i"], message["c"], message["h"]) == (str(instance), "relaxed/relaxed", b":".join(NAMES).decode())
    assert found == f"ARC-Authentication-Results: i={instance}; {ID}\r\n".replace("{cv}", cv).encode()
    assert seals_itself_only(got) is (cv != "pass")
    assert (await judge(got + head, body)).status == ("fail" if cv == "fail" else "pass")


async def test_no_additional_sig() -> None:
    head, body = made(Case("", "fail", {"seal": ("cv=pass", "cv=fail")}, sets=2))
    assert await sealed(head, body) == ""


@pytest.mark.parametrize(
    ("names", "added"),
    [  # of an earlier edition
        pytest.param("to:from:date:subject", "", id="header_order"),
        pytest.param("from:to:date:subject", "To: other@example.org\r\n", id="header_dup_ord1"),
        pytest.param("from:to:to:date:subject", "", id="sig_header_dup_once"),
        pytest.param("from:to:to:date:subject", "To: other@example.org\r\n", id="sig_header_dup_twice"),
        pytest.param("from:to:&&&:date:subject", "", id="header_non"),
    ],
)
async def test_the_fields_signed(names: str, added: str) -> None:
    got = await sealed(added + HEAD, BODY, tuple(names.encode().split(b":")))
    assert parts_of(got)[1]["h"] == names
    assert (await judge(got + added + HEAD, BODY)).status == "pass"
    # Of what stands twice and is named once the lower one is signed, so that the upper one may be another.
    other = added.replace("other", "another")
    once = names.split(":").count("to") == 1
    assert (await judge(got + other + HEAD, BODY)).status == ("pass" if once or not added else "fail")


async def test_header_dup_ord2() -> None:
    to = "To: list@example.org\r\n"
    one, two = HEAD.replace(to, to + "To: b@example.org\r\n"), HEAD.replace(to, "To: b@example.org\r\n" + to)
    assert parts_of(await sealed(one, BODY))[1]["b"] != parts_of(await sealed(two, BODY))[1]["b"]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(
            ["arc=none", "spf=pass smtp.mailfrom=a.example", "dkim=pass (1 key) header.i=@a.example"], id="ar_merged1"
        ),
        pytest.param(
            ["arc=none;\r\n\tspf=pass smtp.mailfrom=a.example", "dkim=pass (1 key) header.i=@a.example"],
            id="ar_merged2",
        ),
    ],
)
def test_what_several_fields_found_is_sealed_as_one(values: list[str]) -> None:
    ours = [f"lists.example.org; {value}" for value in (*values, "dmarc=pass", "dmarc=pass")]
    fields = [value.encode() for value in (*ours, "nobody.example; dmarc=fail")]
    found = results.merged(fields, frozenset(["lists.example.org"]))
    assert found is not None
    assert results.write(found.server, found.results).split(b";\r\n\t") == [
        b"lists.example.org",
        b"arc=none",
        b"spf=pass smtp.mailfrom=a.example",
        b"dkim=pass header.i=@a.example",  # a comment says nothing, and is not sealed
        b"dmarc=pass",
    ]
    assert results.merged(fields[-1:], frozenset(["lists.example.org"])) is None
