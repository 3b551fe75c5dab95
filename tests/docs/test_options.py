"""The option tables of the pages are those of the models. `UPDATE_DOCS=1` writes them anew."""

from __future__ import annotations

import os
import re

import pytest
from pydantic import BaseModel

from connectors.exchange.common_config import Watched
from connectors.filedrop.formats.bsmtp import BsmtpSettings
from connectors.filedrop.formats.ftn.settings import FtnSettings
from connectors.filedrop.formats.maildir import MaildirSettings
from connectors.filedrop.formats.mbox import MboxSettings
from connectors.filedrop.formats.mh import MhSettings
from connectors.filedrop.formats.mmdf import MmdfSettings
from connectors.filedrop.formats.pickup import PickupSettings
from connectors.filedrop.formats.records import description as records
from connectors.filedrop.formats.records.settings import RecordsSettings
from connectors.filedrop.formats.replay import ReplaySettings
from connectors.filedrop.formats.smf.settings import SmfSettings
from connectors.filedrop.formats.uucp import UucpSettings
from connectors.folders.local.config import ProgramConfig
from connectors.imap.config import ImapFetch
from connectors.mqtt import rules as mqtt
from connectors.pop.config import PopFetch
from connectors.smtp import filter_config
from connectors.smtp.authentication.config import AuthenticationConfig
from connectors.smtp.login.config import LdapAccounts, LoginConfig, OAuthTokens
from connectors.smtp.outward_config import ArcConfig, DkimConfig, SrsConfig
from gateway import config, config_sync
from gateway.config_model import option_table
from gateway.registry import connectors
from gateway.sendmail.source import SendmailConfig
from tests.docs.sandbox import ROOT

MODELS: dict[str, type[BaseModel]] = {
    "gateway": config.GatewaySection,
    "mapping": config.MappingSection,
    "mapping.rule": config.RuleSection,
    "mapping.shared": config.SharedSection,
    "mapping.encapsulation": config.EncapsulationSection,
    "mapping.encapsulation.retired": config.RetiredKey,
    "route": config.RouteSection,
    "sync": config_sync.SyncSection,
    "sync.pair": config_sync.PairSection,
    **{
        f"connector {name}": connectors()[name].load().Config
        for name in ("smtp", "filedrop", "mqtt", "ews", "graph", "imap", "folders", "pop", "local")
    },
    "local program": ProgramConfig,
    "imap fetch": ImapFetch,
    "pop fetch": PopFetch,
    "filedrop bsmtp": BsmtpSettings,
    "filedrop ftn": FtnSettings,
    "filedrop maildir": MaildirSettings,
    "filedrop mbox": MboxSettings,
    "filedrop mh": MhSettings,
    "filedrop mmdf": MmdfSettings,
    "filedrop pickup": PickupSettings,
    "filedrop records": RecordsSettings,
    "filedrop replay": ReplaySettings,
    "filedrop smf": SmfSettings,
    "filedrop uucp": UucpSettings,
}
MODELS |= {
    "records format": records.FormatTable,
    "records delimited": records.DelimitedTable,
    "records fixed": records.FixedTable,
    "records fixed.fields": records.FieldTable,
    "records fixed.fields.repeat": records.RepeatTable,
    "records key_value": records.KeyValueTable,
    "records json": records.JsonTable,
    "records xml": records.XmlTable,
    "records types": records.TypesTable,
    "records type": records.TypeTable,
    "records map": records.MapTable,
    "records map addresses": records.AddressTable,
    "records map date": records.DateTable,
    "records map body": records.BodyTable,
    "records map attachment": records.AttachmentTable,
    "records write": records.WriteTable,
    "records status": records.StatusTable,
}
MODELS |= {
    "mqtt subscribe": mqtt.SubscribeRule,
    "mqtt subscribe.template": mqtt.MailTemplate,
    "mqtt subscribe.template.attachments": mqtt.AttachmentTemplate,
    "mqtt subscribe.calm": mqtt.Calm,
    "mqtt subscribe.reply": mqtt.Reply,
    "mqtt publish": mqtt.PublishRule,
    "mqtt publish.template": mqtt.PayloadTemplate,
    "mqtt status": mqtt.StatusTopic,
    "mqtt will": mqtt.Will,
    "exchange watch": Watched,
}
MODELS["smtp authentication"] = AuthenticationConfig
MODELS |= {"smtp dkim": DkimConfig, "smtp srs": SrsConfig, "smtp arc": ArcConfig}
MODELS |= {"connector sendmail": SendmailConfig, "smtp login": LoginConfig, "smtp login.ldap": LdapAccounts}
MODELS["smtp login.oauth"] = OAuthTokens
MODELS |= {
    "smtp access": filter_config.AccessTable,
    "smtp access.rules": filter_config.AccessRule,
    "smtp dns_lists": filter_config.DnsListsTable,
    "smtp dns_lists.lists": filter_config.DnsList,
    "smtp greylist": filter_config.GreylistTable,
    "smtp rate_limits": filter_config.RateLimit,
    "smtp milters": filter_config.MilterTable,
}
_TABLE = re.compile(r"(<!-- options: ([^>]+) -->\n)(.*?)(<!-- end of options -->)", re.DOTALL)
PAGES = ["docs/configuration.md", "docs/connectors/smtp.md", "docs/connectors/filedrop.md", "docs/connectors/mqtt.md"]
PAGES += ["docs/connectors/authentication.md", "docs/connectors/filters.md"]
PAGES += ["docs/connectors/imap.md", "docs/connectors/exchange.md", "docs/connectors/graph.md"]
PAGES += ["docs/connectors/folders.md", "docs/connectors/pop.md", "docs/connectors/local.md"]
PAGES += ["docs/connectors/signing.md"]
PAGES += ["docs/connectors/submission.md", "docs/sendmail.md"]
PAGES += ["docs/connectors/filedrop/bsmtp.md", "docs/connectors/filedrop/uucp.md"]
PAGES += [f"docs/connectors/filedrop/{name}.md" for name in ("ftn", "pickup", "replay", "smf")]
PAGES += ["docs/connectors/filedrop/records.md", "docs/connectors/filedrop/records-reference.md"]
PAGES += [f"docs/connectors/filedrop/{name}.md" for name in ("maildir", "mbox", "mh")]


@pytest.mark.parametrize("page", PAGES)
def test_tables_are_those_of_the_models(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    fresh = _TABLE.sub(lambda m: f"{m[1]}\n{option_table(MODELS[m[2]])}\n\n{m[4]}", text)
    if os.environ.get("UPDATE_DOCS"):
        (ROOT / page).write_text(fresh, encoding="utf-8")
    assert text == fresh or os.environ.get("UPDATE_DOCS"), "run the test with UPDATE_DOCS=1 and look at the change"


def test_every_model_has_its_table() -> None:
    shown = {m[2] for page in PAGES for m in _TABLE.finditer((ROOT / page).read_text(encoding="utf-8"))}
    assert shown == set(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_every_option_is_explained(name: str) -> None:
    assert [k for k, f in MODELS[name].model_fields.items() if not f.description] == []
