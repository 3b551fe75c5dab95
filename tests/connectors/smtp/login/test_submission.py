"""Submission as mail programs do it: swaks, curl, msmtp, Python's smtplib, and Postfix with a smart host."""

from __future__ import annotations

import asyncio
import contextlib
import smtplib
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from connectors.smtp.login.account_file import set_account
from connectors.smtp.login.session import LoginSession
from gateway.contract import Person
from mappings.network import network
from tests.connectors.smtp.server_kit import MemoryIntake, Served, certificate, serving, settled
from tests.peers.swaks import swaks

MESSAGE = b"From: Ann <ann@acme.example>\r\nTo: zoe@far.example\r\nBcc: eve@far.example\r\nSubject: hello\r\n\r\nhi\r\n"


@contextlib.asynccontextmanager
async def submission(tmp: Path, *, login: dict[str, Any] | None = None, **config: Any) -> AsyncIterator[Served]:
    """Run a submission service with the accounts ann (SCRAM) and bob (scrypt), both with the password `secret`."""
    certificate(tmp)
    set_account(tmp / "accounts", "ann", "secret", ("ann@acme.example",), "scram")
    set_account(tmp / "accounts", "bob", "secret", ("bob@acme.example", "*@lists.example"), "scrypt")
    given = {
        "tls_cert": "cert.pem",
        "tls_key": "key.pem",
        "tls_listen": ("127.0.0.1:0",),
        "relay_networks": (),
        "login": {"file": "accounts", **(login or {})},
        **config,
    }
    async with serving(tmp, **given) as served:
        yield served


def trust(tmp: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(tmp / "cert.pem"))


def mail_by(port: int, tmp: Path, user: str, sender: str, content: bytes = MESSAGE, *to: str) -> None:
    """Send by smtplib. Raises: what it raises."""
    with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
        client._host = "gw.example"  # type: ignore[attr-defined]  # the certificate's name; there is no other way
        client.starttls(context=trust(tmp))
        client.login(user, "secret")
        client.sendmail(sender, to or ["zoe@far.example", "eve@far.example"], content)


async def test_smtplib_and_what_becomes_of_the_message(tmp_path: Path) -> None:
    async with submission(tmp_path, login={"hide_client": True}) as served:
        await asyncio.to_thread(mail_by, served.port, tmp_path, "ann", "ann@acme.example")
        message = served.intake.messages[0]
        origin = message.envelope.origin
        assert (origin.user, origin.protocol, origin.trusted) == ("ann", "ESMTPSA", True)
        assert (origin.peer, origin.helo) == ("", ""), "the client's address is hidden"
        content = message.content
        assert [f.name for f in content.fields] == [b"date", b"message-id", b"from", b"to", b"subject"]
        assert b"eve" not in content.octets()
        assert [r.address.value for r in message.envelope.recipients] == ["zoe@far.example", "eve@far.example"]


async def test_swaks(tmp_path: Path) -> None:
    async with submission(tmp_path) as served:
        options = ("--tls", "--auth", "LOGIN", "--auth-user", "bob", "--auth-password", "secret")
        said = await asyncio.to_thread(
            swaks, served.port, *options, sender="anyone@lists.example", to="zoe@far.example"
        )
        assert said.status == 0, said.dialog
        assert served.intake.paths == [("anyone@lists.example", ["zoe@far.example"])]
        assert served.intake.messages[0].envelope.origin.peer == "127.0.0.1"
        wrong = (*options[:-1], "wrong")
        said = await asyncio.to_thread(swaks, served.port, *wrong, sender="bob@acme.example")
        assert "535 5.7.8" in said.dialog
        said = await asyncio.to_thread(swaks, served.port, sender="bob@acme.example")
        assert "530 5.7.0" in said.dialog, "nobody without a log-in"
        assert len(served.intake.messages) == 1


def curl(port: int, tmp: Path, *options: str, scheme: str = "smtp") -> subprocess.CompletedProcess[str]:
    (tmp / "mail").write_bytes(MESSAGE)
    command = ["curl", "--silent", "--show-error", "--ssl-reqd", "--cacert", str(tmp / "cert.pem"), "--max-time", "60"]
    command += ["--connect-to", f"gw.example:{port}:127.0.0.1:{port}", f"{scheme}://gw.example:{port}/client.example"]
    command += ["--mail-from", "ann@acme.example", "--mail-rcpt", "zoe@far.example", "--upload-file", str(tmp / "mail")]
    return subprocess.run([*command, *options], capture_output=True, text=True, timeout=90)


async def test_curl_with_a_password_over_both_ports(tmp_path: Path) -> None:
    async with submission(tmp_path) as served:
        for port, scheme in zip(served.ports, ("smtp", "smtps"), strict=True):
            done = await asyncio.to_thread(curl, port, tmp_path, "--user", "ann:secret", scheme=scheme)
            assert done.returncode == 0, done.stderr
        done = await asyncio.to_thread(curl, served.port, tmp_path, "--user", "ann:wrong")
        assert done.returncode == 67, "CURLE_LOGIN_DENIED"
        assert [m.envelope.origin.protocol for m in served.intake.messages] == ["ESMTPSA", "ESMTPSA"]


async def test_msmtp_with_scram(tmp_path: Path) -> None:
    async with submission(tmp_path, login={"mechanisms": ("SCRAM-SHA-256",)}) as served:

        def send(user: str) -> subprocess.CompletedProcess[str]:
            command = [
                "msmtp",
                "--host=127.0.0.1",
                f"--port={served.port}",
                "--tls=on",
                "--tls-host-override=gw.example",
            ]
            command += [f"--tls-trust-file={tmp_path / 'cert.pem'}", "--auth=scram-sha-256", f"--user={user}"]
            command += ["--passwordeval=echo secret", "--from=ann@acme.example", "--timeout=60", "zoe@far.example"]
            return subprocess.run(command, input=MESSAGE.decode(), capture_output=True, text=True, timeout=90)

        done = await asyncio.to_thread(send, "ann")
        assert done.returncode == 0, done.stderr
        done = await asyncio.to_thread(send, "bob")
        assert done.returncode != 0, "what is stored of bob's password serves no SCRAM"
        assert len(served.intake.messages) == 1
        assert served.counts["logins"] == 1
        assert served.counts["login_failures"] == 1


async def test_scram_bound_to_the_channel(tmp_path: Path) -> None:
    """-PLUS by our own client's side, over TLS 1.3 and 1.2: Debian's programs bind to nothing that we have, too."""
    from hashlib import sha256

    from tests.connectors.smtp.login.test_scram import Client

    async with submission(tmp_path) as served:
        der = ssl.PEM_cert_to_DER_cert((tmp_path / "cert.pem").read_text())
        for version, kind in ((ssl.TLSVersion.TLSv1_3, "tls-server-end-point"), (ssl.TLSVersion.TLSv1_2, "tls-unique")):
            context = trust(tmp_path)
            context.maximum_version = version
            dial = await served.dial(tls=context, port=served.ports[1])
            await dial.greeted()
            binding = sha256(der).digest()
            if kind == "tls-unique":
                binding = dial.writer.get_extra_info("ssl_object").get_channel_binding("tls-unique")
            client = Client("secret", gs2=f"p={kind},,".encode(), binding=binding, name=b"ann")
            assert await by_scram(dial, client, "SCRAM-SHA-256-PLUS") == 235
            assert await dial.say("QUIT") == [221]
        dial = await served.dial(tls=trust(tmp_path), port=served.ports[1])
        await dial.greeted()
        client = Client("secret", gs2=b"p=tls-server-end-point,,", binding=b"another server's", name=b"ann")
        assert await by_scram(dial, client, "SCRAM-SHA-256-PLUS") == 535
        assert await dial.say("QUIT") == [221]


async def by_scram(dial: Any, client: Any, mechanism: str) -> int:
    from base64 import b64decode, b64encode

    async def ask(line: bytes) -> list[str]:
        await dial.send(line + b"\r\n")
        return list(await dial.reply())

    reply = await ask(b"AUTH " + mechanism.encode() + b" " + b64encode(client.first()))
    reply = await ask(b64encode(client.final(b64decode(reply[0][4:]))))
    if reply[0].startswith("334"):
        reply = await ask(b"")
    return int(reply[0][:3])


WHOSE: list[tuple[str, str, bytes, int]] = [
    ("own", "ann@acme.example", b"From: ann@acme.example\r\n\r\n", 0),
    ("own", "bob@acme.example", b"From: ann@acme.example\r\n\r\n", 550),
    ("own", "ann@acme.example", b"From: bob@acme.example\r\n\r\n", 554),
    ("own", "ann@acme.example", b"From: ann@acme.example\r\nFrom: bob@acme.example\r\n\r\n", 554),
    ("own", "ann@acme.example", b"From: Ann <bob@acme.example>, ann@acme.example\r\n\r\n", 554),
    ("own", "ann@acme.example", b"From: boss\r\n\r\n", 554),
    ("own", "ann@acme.example", b'From: "boss@acme.example" <>\r\n\r\n', 554),
    ("own", "", b"From: ann@acme.example\r\n\r\n", 0),
    ("own", "lee@acme.example", b"Subject: by the mapping, it is ann's\r\n\r\n", 0),
    ("envelope", "ann@acme.example", b"From: bob@acme.example\r\n\r\n", 0),
    ("envelope", "bob@acme.example", b"From: bob@acme.example\r\n\r\n", 550),
    ("any", "bob@acme.example", b"From: bob@acme.example\r\n\r\n", 0),
]


async def test_who_sends_as_whom(tmp_path: Path) -> None:
    parse = network("smtp").parse
    ann = Person("Ann", (parse("ann@acme.example"), parse("lee@acme.example")))
    for senders in ("own", "envelope", "any"):
        async with submission(tmp_path, login={"senders": senders, "in_clear": True, "complete": False}) as served:
            assert served.source._context.person(parse("ann@acme.example")) is None
            object.__setattr__(
                served.source._context, "person", lambda address: ann if address in ann.addresses else None
            )
            for mode, sender, content, expected in WHOSE:
                if mode != senders:
                    continue
                dial = await (await served.dial()).greeted()
                assert await dial.say("AUTH PLAIN AGFubgBzZWNyZXQ=") == [235]
                codes = await dial.say(f"MAIL FROM:<{sender}>", "RCPT TO:<zoe@far.example>", "DATA")
                if codes[0] == 250:
                    await dial.send(content + b"x\r\n.\r\n")
                    codes = [await dial.code()]
                assert codes[0] == (expected or 250), (mode, sender, content)
                await dial.close()


async def test_what_an_account_may_send_in_an_hour(tmp_path: Path) -> None:
    login = {"in_clear": True, "messages_per_hour": 2, "recipients_per_hour": 4}
    async with submission(tmp_path, login=login) as served:
        dial = await (await served.dial()).greeted()
        assert await dial.say("AUTH PLAIN AGFubgBzZWNyZXQ=") == [235]
        to = "RCPT TO:<zoe@far.example>"
        assert await dial.say("MAIL FROM:<ann@acme.example>", to, to, to, to, to) == [250, 250, 250, 250, 250, 450]
        assert await dial.say("RSET", "MAIL FROM:<ann@acme.example>", to, "DATA") == [250, 250, 250, 354]
        await dial.send(b"x\r\n.\r\n")
        assert await dial.code() == 250
        assert await dial.say("MAIL FROM:<ann@acme.example>", to, to, to, to, "DATA") == [250] * 4 + [450, 354]
        await dial.send(b"x\r\n.\r\n")
        assert await dial.code() == 250
        assert await dial.say("MAIL FROM:<ann@acme.example>") == [450]
        await dial.close()
        assert served.source.reconfigure(served.source._config.model_copy(update={"max_errors": 5}))
        again = await (await served.dial()).greeted()
        assert await again.say("AUTH PLAIN AGFubgBzZWNyZXQ=", "MAIL FROM:<ann@acme.example>") == [235, 450], "a reload"
        await again.close()


async def test_guesses_take_longer_and_longer_and_one_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from connectors.smtp.login import throttle

    monkeypatch.setattr(throttle, "FIRST_S", 0.1)
    async with submission(tmp_path, login={"in_clear": True}) as served:
        dial = await (await served.dial()).greeted()
        loop = asyncio.get_running_loop()
        took = []
        for _ in range(6):
            began = loop.time()
            assert await dial.say("AUTH PLAIN AGJvYgB3cm9uZw==") == [535]
            took.append(loop.time() - began)
        assert took[5] >= 0.4 > 0.1 <= took[3]
        other = await (await served.dial()).greeted()
        waiting = asyncio.create_task(dial.say("AUTH PLAIN AGJvYgB3cm9uZw=="))
        await asyncio.sleep(0.2)
        assert await other.say("AUTH PLAIN AGFubgBzZWNyZXQ=") == [454], "no second try beside it"
        assert await waiting == [535]
        assert served.counts["login_failures"] == 7
        assert served.counts["login_refusals"] == 1
        # A client that waits holds no stop up.
        waiting = asyncio.create_task(dial.say("AUTH PLAIN AGJvYgB3cm9uZw=="))
        await settled(lambda: any(isinstance(s, LoginSession) and s._is_asked for s in served.source._sessions))
        began = loop.time()
        await served.stopped()
        assert loop.time() - began < 3
        assert await waiting == [421]


async def test_nothing_secret_is_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: Any) -> None:
    async with submission(tmp_path, login={"in_clear": True}) as served:
        dial = await (await served.dial()).greeted()
        assert await dial.say("AUTH PLAIN AGFubgBodW50ZXIyMg==") == [535]
        assert await dial.say("AUTH PLAIN AGFubgBzZWNyZXQ=") == [235]
        await dial.close()
    out = capfd.readouterr()
    text = caplog.text + out.out + out.err
    assert "logged_in" in text
    assert "login_failed" in text
    for secret in ("hunter22", "secret", "AGFubgB", "SCRAM-SHA-256}"):
        assert secret not in text


async def test_relay_is_for_those_alone_who_have_logged_in(tmp_path: Path) -> None:
    intake = MemoryIntake()
    async with submission(tmp_path, intake=intake, login={"in_clear": True, "required": False}) as served:
        dial = await (await served.dial()).greeted()
        to = "RCPT TO:<zoe@far.example>"
        assert await dial.say("MAIL FROM:<ann@acme.example>", to, "RSET") == [250, 550, 250]
        assert await dial.say("AUTH PLAIN AGFubgBzZWNyZXQ=") == [235]
        assert await dial.say("MAIL FROM:<ann@acme.example>", to) == [250, 250]
        await dial.close()


async def test_postfix_submits_all_its_mail(tmp_path: Path) -> None:
    from tests.peers.postfix import Postfix

    async with submission(tmp_path, login={"senders": "any", "in_clear": True}) as served:
        settings = {"smtp_sasl_auth_enable": "yes", "smtp_sasl_password_maps": "static:ann:secret",
                    "smtp_sasl_security_options": "noanonymous"}  # fmt: skip
        postfix = Postfix(next_hop=served.port, settings=settings)
        await asyncio.to_thread(postfix.start)
        try:
            said = await asyncio.to_thread(swaks, postfix.port, sender="x@acme.example", to="zoe@far.example")
            assert said.status == 0, said.dialog
            for _ in range(600):
                if served.intake.messages:
                    break
                await asyncio.sleep(0.1)
            assert served.intake.paths == [("x@acme.example", ["zoe@far.example"])], postfix.said()
            assert served.intake.messages[0].envelope.origin.user == "ann"
        finally:
            await asyncio.to_thread(postfix.stop)


async def test_a_reload_keeps_the_accounts_and_takes_new_certificates(tmp_path: Path) -> None:
    async with submission(tmp_path) as served:
        source, config = served.source, served.source._config
        before = ssl.PEM_cert_to_DER_cert((tmp_path / "cert.pem").read_text())
        certificate(tmp_path)
        assert ssl.PEM_cert_to_DER_cert((tmp_path / "cert.pem").read_text()) != before
        assert source.reconfigure(config.model_copy(update={"max_errors": 5}))
        await asyncio.to_thread(mail_by, served.port, tmp_path, "ann", "ann@acme.example")
        assert len(served.intake.messages) == 1
        assert config.login is not None
        other = config.login.model_copy(update={"senders": "any"})
        assert not source.reconfigure(config.model_copy(update={"login": other})), "it is started anew"
