"""main.cf is read as Postfix itself reads it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from gateway.import_config.main_cf import MainCf, services, words

DATA = Path(__file__).parents[2] / "data" / "import_config"


@pytest.mark.parametrize("case", ["postfix", "postfix-border"])
def test_it_expands_as_postconf_does(case: str, tmp_path: Path) -> None:
    for name in ("main.cf", "master.cf"):
        shutil.copy(DATA / case / "etc/postfix" / name, tmp_path / name)
    ran = subprocess.run(["postconf", "-c", str(tmp_path), "-nx"], capture_output=True, text=True, check=True)
    main = MainCf((tmp_path / "main.cf").read_text(), "mail.acme.example")
    told = dict(line.split(" =", 1) for line in ran.stdout.splitlines())
    assert len(told) > 15
    # postconf shows no more than one blank, and does not tell its own folder, which is the one given here.
    mine = {name: " ".join(main[name].split()) for name in told if name != "config_directory"}
    assert mine == {name: " ".join(value.split()) for name, value in told.items() if name != "config_directory"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a = b c", "b c"),
        ("a = b\n  c\n# x\n\td", "b c d"),
        ("x = 1\na = $x-${x}-$(x)", "1-1-1"),
        ("x = 1\na = ${x?yes}${y?no}${y:else}", "yeselse"),
        ("x = 1\na = ${x?{one}:{two}} ${y?{one}:{two}}", "one two"),
        ("a = $$5", "$5"),
        ("a = $a", None),
        ("a = 1\na = 2", "2"),
        ("a = ${unclosed", ""),
    ],
)
def test_a_value(text: str, value: str | None) -> None:
    found = MainCf(text, "host")["a"]
    assert value is None or found == value


def test_a_service_with_options() -> None:
    text = "smtps inet n - y - - smtpd\n  -o a=b -o { c = d e }\n -o f=$g\n"
    (service,) = services(text)
    assert (service.name, service.command) == ("smtps", "smtpd")
    assert service.options == {"a": "b", "c": "d e", "f": "$g"}


def test_words() -> None:
    assert words("a, b\tc {d, e} f") == ["a", "b", "c", "{d, e}", "f"]
