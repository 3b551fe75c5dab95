"""What is left of an answer without what it quotes; and that nothing of somebody's own is taken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.mqtt.outgoing import Unpublishable, publications
from connectors.mqtt.outgoing.own_words import own_words
from connectors.mqtt.rules import PublishRule, Reply
from tests.connectors.mqtt.payload_kit import parcel, publish

OWN = "valve close"
ANSWERS = {
    "nothing quoted": OWN,
    "above": f"{OWN}\n\nboiler@plant7.bolt.example wrote:\n> 92 degrees\n> since noon\n",
    "above, CRLF": f"{OWN}\r\n\r\nOn 29.11.26 18:40, boiler wrote:\r\n\r\n> 92 degrees\r\n",
    "below": f"On Sun, 29 Nov 2026 at 18:40, boiler <boiler@plant7.example> wrote:\n> 92 degrees\n\n{OWN}\n",
    "between": f"> 92 degrees\n{OWN}\n> since noon\n",
    "quoted twice": f"{OWN}\n>> older\n> 92 degrees",
    "an attribution of two lines": (
        f"{OWN}\n\nOn Sun, 29 Nov 2026 at 18:40, The boiler of plant seven\n<boiler@plant7.example> wrote:\n> 92\n"
    ),
    "German": f"{OWN}\n\nAm 29.11.2026 um 18:40 schrieb Kessel <kessel@werk7.example>:\n> 92 Grad\n",
    "French": f"{OWN}\n\nLe 29 novembre 2026 \u00e0 18:40, Une Usine <c@usine.example> a \u00e9crit :\n> 92\n",
    "Outlook, a line": f"{OWN}\n\n-----Original Message-----\nFrom: boiler\nSubject: Alert\n\n92 degrees\n",
    "Outlook, German": f"{OWN}\n\n-----Urspr\u00fcngliche Nachricht-----\nVon: Kessel\n\n92 Grad\n",
    "Outlook, header": (
        f"{OWN}\n\nFrom: boiler <b@x.example>\nSent: Sunday, November 29\nTo: Bob\nSubject: Alert\n\n92 degrees\n"
    ),
    "Outlook, a rule and header": (
        f"{OWN}\n________________________________\nFrom: boiler\nSent: Sunday\nTo: Bob\nSubject: Alert\n\n92\n"
    ),
    "a signature": f"{OWN}\n-- \nBob Ray\nBolt\n",
    "a signature, and quoted": f"{OWN}\n\n-- \nBob\n\nboiler@x.example wrote:\n> 92\n",
}
KEPT = [
    "set:\n5",
    "a > b",
    "To: the boiler\nFrom: me",
    "----- urgent -----\nvalve close",
    "________________\nvalve close",
    "--\nvalve close",
    "line one\n\n\nline two",
]


@pytest.mark.parametrize("text", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_is_cut_to_its_own_words(text: str) -> None:
    assert own_words(text) == OWN


@pytest.mark.parametrize("text", KEPT)
def test_what_is_no_quotation_stays(text: str) -> None:
    assert own_words(text) == text


def test_own_words_that_end_with_a_colon_are_no_attribution() -> None:
    assert own_words("To your question:\n> 92 degrees\nyes") == "To your question:\nyes"


def test_only_the_lines_of_the_attribution_go() -> None:
    text = "valve close\npump off\nboiler@x.example wrote:\n> 92\n"
    assert own_words(text) == "valve close\npump off"


@pytest.mark.parametrize("text", ["> 92 degrees\n", "boiler@x.example wrote:\n> 92", "-----Original Message-----\nx"])
def test_nothing_may_be_left(text: str) -> None:
    assert own_words(text) == ""


@given(st.text(alphabet=st.sampled_from("ab:@>-_ \n\r9"), max_size=200))
def test_what_is_left_is_lines_of_the_text_in_their_order(text: str) -> None:
    lines = iter(text.replace("\r\n", "\n").split("\n"))
    assert all(line in lines for line in own_words(text).split("\n") if line)


def octets(text: str) -> bytes:
    return b"From: bob@merged.example\r\nSubject: Re: Alert\r\n\r\n" + text.replace("\n", "\r\n").encode()


def rule(quote: str, payload: str = "text", template: str = "") -> PublishRule:
    if template:
        return publish(payload, quote=quote, template={"payload": template})
    return publish(payload, quote=quote)


def answering(**options: str) -> Reply:
    return Reply.model_validate({"topic": "a", **options})


def payloads(rule: PublishRule, text: str) -> tuple[str, list[str]]:
    (out,), notes = publications(*parcel(octets(text)), rule, "gw.example")
    return out.payload.decode(), [note.what for note in notes]


def test_it_is_off_unless_asked_for() -> None:
    assert publish().quote == answering().quote == "keep"
    text, notes = payloads(rule("keep"), ANSWERS["above"])
    assert "> 92 degrees" in text
    assert "what the text quotes, and its signature" not in notes


def test_a_text_and_a_template_are_cut_and_the_trace_says_so() -> None:
    text, notes = payloads(rule("cut"), ANSWERS["above"])
    assert text == OWN
    assert "what the text quotes, and its signature" in notes
    assert payloads(rule("cut", "template", "cmd={{ text }}"), ANSWERS["below"])[0] == f"cmd={OWN}"
    assert "what the text quotes, and its signature" not in payloads(rule("cut"), f"{OWN}\n")[1]


def test_an_answer_that_is_all_quotation_is_no_empty_command() -> None:
    for one in (rule("cut"), rule("cut", "template", "{{ text }}")):
        with pytest.raises(Unpublishable, match=r"5\.6\.3"):
            payloads(one, "> 92 degrees\n")
    assert payloads(rule("cut", "template", "{{ subject }}"), "> 92 degrees\n")[0] == "Re: Alert"
    assert payloads(rule("cut"), "")[0].strip() == ""


def test_what_carries_the_whole_mail_is_not_cut() -> None:
    with pytest.raises(ValueError, match="carries the whole mail"):
        publish("json", quote="cut")
    with pytest.raises(ValueError, match="carries the whole mail"):
        answering(payload="rfc822", quote="cut")


def test_an_answer_s_rule_has_it() -> None:
    assert answering(quote="cut").as_rule().quote == "cut"
