"""Attachments of a format that has none: in a folder, named at the end of the text, told as mapped."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any, ClassVar

import pytest

from connectors.filedrop import FileDrop
from connectors.filedrop.config import FileDropConfig
from connectors.filedrop.formats import Encoded
from connectors.filedrop.names import is_safe
from gateway.contract import Capabilities, Context, Delivered, Fate, memo
from gateway.testing import KitLog, ListBatch, parcel
from mappings.network import parse
from tests.connectors.filedrop.slips import Slips

ANN = parse("mhs:ann@sales")


@dataclass(frozen=True, slots=True)
class Notes(Slips):
    """A format of text alone."""

    many_a_file: ClassVar[bool] = False
    extension: ClassVar[str] = ".txt"
    capabilities: ClassVar[Capabilities] = Capabilities(header_networks=("mhs",), mime=False, attachments=False)

    def encode(self, parcel: Any, items: Any, stem: str) -> Encoded:
        taken = memo(parcel.content)
        return Encoded(lambda: (f"{taken.subject}\n\n{taken.text}".encode(),))


def message(*names: str) -> bytes:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "ann@acme.example", "bob@acme.example", "Offer"
    made.set_content("See below.\n")
    for name in names:
        made.add_attachment(name.encode() * 100, maintype="application", subtype="octet-stream", filename=name)
    return made.as_bytes().replace(b"\n", b"\r\n")


def drop(tmp: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> FileDrop:
    monkeypatch.setattr("connectors.filedrop.connector.codec_class", lambda name: Notes)
    given = {"network": "mhs", "outbox": "out", "create_folders": True, **options}
    return FileDrop("x", FileDropConfig.model_validate(given), Context("gw", tmp, tmp, KitLog(), time.time))


async def delivered(made: FileDrop, octets: bytes) -> Delivered:
    await made.start()
    batch = ListBatch([parcel(1, [ANN], octets)], "x")
    await made.deliver(batch)
    await made.stop()
    outcome = batch.outcomes[1, 0]
    assert isinstance(outcome, Delivered)
    return outcome


async def test_they_are_put_first_and_named_as_readers_know_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = drop(tmp_path, monkeypatch, outbox_attachments="att", outbox_attachments_shown="F:\\MAIL\\ATT")
    assert made.capabilities.attachments
    outcome = await delivered(made, message("price list.pdf", "b.bin"))
    [text] = (tmp_path / "out").iterdir()
    files = {path.name: path.read_bytes() for path in (tmp_path / "att").iterdir()}
    first, second = (f"{text.stem}-1-price list.pdf", f"{text.stem}-2-b.bin")
    assert files == {first: b"price list.pdf" * 100, second: b"b.bin" * 100}
    assert text.read_text().split("\n") == [
        "Offer",
        "",
        "See below.",
        "",
        f"[price list.pdf: F:\\MAIL\\ATT\\{first}]",
        f"[b.bin: F:\\MAIL\\ATT\\{second}]",
        "",
    ]
    assert [(note.fate, note.what) for note in outcome.notes] == [
        (Fate.MAPPED, "attachment price list.pdf"),
        (Fate.MAPPED, "attachment b.bin"),
    ]


@pytest.mark.parametrize("name", ["../../etc/passwd", "con", "a\\b:c.txt", ".profile", "x" * 300, "ä ö.txt", "a\r\nb"])
async def test_no_name_of_an_attachment_leads_out_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    made = drop(tmp_path, monkeypatch, outbox_attachments="att")
    head, _, _ = message().partition(b"\r\n\r\n")
    boundary = (
        b"\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ntext\r\n--b\r\n"
        b"Content-Type: application/octet-stream\r\nContent-Disposition: attachment; filename*=utf-8''"
    )
    quoted = "".join(f"%{octet:02X}" for octet in name.encode()).encode()
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith((b"content-", b"mime-"))]
    await delivered(made, b"\r\n".join(lines) + boundary + quoted + b"\r\n\r\nbody\r\n--b--\r\n")
    [path] = (tmp_path / "att").iterdir()
    assert is_safe(path.name)
    assert path.read_bytes().rstrip(b"\r\n") == b"body"
    assert sorted(os.listdir(tmp_path)) == ["att", "out"]


async def test_dos_names_for_them_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = drop(tmp_path, monkeypatch, outbox_attachments="att", name_style="dos83")
    await delivered(made, message("price list.pdf", "archive.tar.gz", "no extension"))
    for path in (tmp_path / "att").iterdir():
        stem, _, extension = path.name.partition(".")
        assert (len(stem) <= 8, len(extension) <= 3) == (True, True), path.name
    assert len(list((tmp_path / "att").iterdir())) == 3


async def test_without_the_folder_the_core_leaves_them_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not drop(tmp_path, monkeypatch).capabilities.attachments
