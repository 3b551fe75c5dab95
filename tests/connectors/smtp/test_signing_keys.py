"""Keys by domain: made, published, taken into use, kept and removed; and never shown."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from connectors.smtp.authentication.keys import KeyFault, read_record
from connectors.smtp.signing_keys import KeyRing, KeyStore, state, zone_lines

HOUR = 3600.0
DAY = 24 * HOUR


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    folder = tmp_path / "dkim"
    folder.mkdir(mode=0o700)
    return KeyStore(folder)


def states(store: KeyStore, now: float) -> dict[str, str]:
    known = store.entries("acme.example")
    return {each.selector: state(each, known, now) for each in known}


def test_the_life_of_a_key(store: KeyStore) -> None:
    store.make("acme.example", "rsa", 0, HOUR, selector="one", bits=1024)
    assert states(store, 0) == {"one": "published"}
    assert states(store, HOUR) == {"one": "signing"}
    (two,) = store.rotate("acme.example", 10 * DAY, publish_s=DAY, keep_s=7 * DAY, bits=1024)
    assert states(store, 10 * DAY) == {"one": "signing", two.selector: "published"}
    assert states(store, 11 * DAY) == {"one": "kept", two.selector: "signing"}
    assert states(store, 18 * DAY) == {"one": "over", two.selector: "signing"}
    for now in (10 * DAY, 11 * DAY):
        with pytest.raises(ValueError, match="in use or kept"):
            store.remove("acme.example", "one", now)
    store.remove("acme.example", "one", 18 * DAY)
    assert [path.name for path in sorted((store.folder / "acme.example").iterdir())] == [
        f"{two.selector}.pem",
        "keys.json",
    ]


def test_a_rotation_takes_every_kind_and_waits_for_the_one_before(store: KeyStore) -> None:
    with pytest.raises(ValueError, match=r"gatepost dkim new acme\.example"):
        store.rotate("acme.example", 0, publish_s=DAY, keep_s=DAY)
    store.make("acme.example", "rsa", 0, 0, bits=1024)
    store.make("acme.example", "ed25519", 0, 0)
    made = store.rotate("acme.example", DAY, publish_s=DAY, keep_s=DAY, bits=1024)
    assert sorted(each.kind for each in made) == ["ed25519", "rsa"]
    with pytest.raises(ValueError, match="wait"):
        store.rotate("acme.example", DAY + 1, publish_s=DAY, keep_s=DAY)


def test_files_are_their_owners_alone(store: KeyStore) -> None:
    entry = store.make("acme.example", "ed25519", 0, 0)
    for path in (store.folder / "acme.example").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((store.folder / "acme.example").stat().st_mode) == 0o700
    assert not [name for name in os.listdir(store.folder / "acme.example") if name.startswith(".")]
    assert "PRIVATE" not in repr(entry)


@pytest.mark.parametrize("name", ["../x", "a b", "x", "", "/etc", "Acme.example", "a..b", "x" * 300 + ".y"])
def test_a_domain_is_no_path(store: KeyStore, name: str) -> None:
    with pytest.raises(ValueError, match="no domain"):
        store.make(name, "ed25519", 0, 0)


def test_selectors(store: KeyStore) -> None:
    names = {store.make("acme.example", "ed25519", 0, n).selector for n in range(3)}
    assert names == {"gp19700101e", "gp19700101e2", "gp19700101e3"}
    for bad in ("gp19700101e", "../x", "A", "a.b"):
        with pytest.raises(ValueError, match="taken, or no selector"):
            store.make("acme.example", "ed25519", 0, 0, selector=bad)


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_a_record_reads_back(store: KeyStore, kind: str) -> None:
    entry = store.make("acme.example", kind, 0, 0, bits=2048)  # type: ignore[arg-type]
    text = store.record("acme.example", entry.selector)
    assert read_record(text.encode()).key is not None
    line = zone_lines("acme.example", entry.selector, text)
    assert line.startswith(f"{entry.selector}._domainkey.acme.example. 3600 IN TXT (")
    strings = line.split('"')[1::2]
    assert "".join(strings) == text
    assert max(map(len, strings)) <= 255


def test_what_is_torn_or_another_key_is_named(store: KeyStore) -> None:
    entry = store.make("acme.example", "ed25519", 0, 0)
    path = store.folder / "acme.example" / f"{entry.selector}.pem"
    other = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for octets in (b"", b"garbage", other):
        path.write_bytes(octets)
        with pytest.raises(KeyFault, match=entry.selector) as fault:
            store.key("acme.example", entry.selector)
        assert "PRIVATE" not in str(fault.value)
    (store.folder / "acme.example" / "keys.json").write_text("[{")
    with pytest.raises(ValueError, match=r"keys\.json is no list of keys"):
        store.entries("acme.example")


def test_the_ring_goes_over_by_itself(store: KeyStore) -> None:
    now = [0.0]
    store.make("acme.example", "ed25519", 0, 0, selector="one")
    store.make("acme.example", "ed25519", 0, DAY, selector="two")
    ring = KeyRing(store, lambda: now[0])
    ring.load()
    assert [key.selector for key in ring.keys("acme.example")] == ["one"]
    assert [key.selector for key in ring.keys("sub.acme.example")] == ["one"]
    assert ring.keys("example") == ring.keys("other.example") == ()
    now[0] = DAY
    assert [key.selector for key in ring.keys("acme.example")] == ["two"]
    assert ring.is_due
