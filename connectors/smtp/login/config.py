"""The options of logging in: which accounts there are, how clients prove who they are, and what they may do then."""

from __future__ import annotations

from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

MECHANISMS: Final = (
    "SCRAM-SHA-256-PLUS",
    "SCRAM-SHA-256",
    "OAUTHBEARER",
    "XOAUTH2",
    "PLAIN",
    "LOGIN",
)
"""What can be offered, in the order in which it is."""


class LdapAccounts(BaseModel):
    """[connector.NAME.login.ldap]: accounts of a directory, each entry's password checked by a bind as that entry."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(description="Where it is: 'ldaps://host' or 'ldap://host:389'.")
    base: str = Field(description="Name of the entry below which accounts are looked for, as 'dc=acme,dc=example'.")
    filter: str = Field(
        "(|(uid={login})(mail={login}))", description="Which entry an account is; {login} is what the client gave."
    )
    user: str = Field("", description="Name to bind with for the search. Absent: the search is anonymous.")
    password: str = Field("", repr=False, description="Password of `user`; best as '${VARIABLE}' or 'file:path'.")
    addresses: tuple[str, ...] = Field(
        ("mail", "mailAlternateAddress", "proxyAddresses"),
        description="Attributes whose values are the addresses that the account may send as.",
    )
    start_tls: bool = Field(True, description="Begin TLS on an ldap:// connection before anything is said.")
    ca_file: str | None = Field(
        None, description="PEM file of the authorities that are trusted instead of the system's."
    )
    timeout_s: float = Field(10.0, gt=0, le=120, description="Seconds that each answer of the server may take.")

    @field_validator("url")
    @classmethod
    def _url(cls, url: str) -> str:
        if not url.startswith(("ldap://", "ldaps://")) or len(url.partition("//")[2]) == 0:
            raise ValueError("'ldaps://host', 'ldap://host' or the same with a port")
        return url

    @field_validator("filter")
    @classmethod
    def _filter(cls, text: str) -> str:
        if "{login}" not in text or not (text.startswith("(") and text.endswith(")")):
            raise ValueError("a filter in brackets in which {login} stands, as '(uid={login})'")
        return text


class OAuthTokens(BaseModel):
    """[connector.NAME.login.oauth]: tokens that an identity provider has signed (JWT)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    issuer: str = Field(description="The provider, as its tokens name it in 'iss'.")
    audience: str = Field(description="This service, as tokens for it name it in 'aud'.")
    keys: str = Field(
        description="The provider's public keys (JWK set): a file's path, or an https:// address that is read anew "
        "each hour."
    )
    login: str = Field("email", description="The claim that names the account.")
    scope: str = Field("", description="A word that must stand in 'scope' or 'scp'. Absent: none.")
    ca_file: str | None = Field(
        None, description="PEM file of the authorities that are trusted for `keys` instead of the system's."
    )


class LoginConfig(BaseModel):
    """[connector.NAME.login]: submission by those who log in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str | None = Field(
        None,
        description="Password file: lines 'name:stored password[:address,address]', as `gatepost accounts` writes.",
    )
    table: bool = Field(
        False,
        description="Accounts are the mapping's identities: the name is any address of theirs, the stored password "
        "their attribute `login_password`.",
    )
    ldap: LdapAccounts | None = Field(None, description="Accounts of a directory.")
    dovecot: str | None = Field(
        None, description="Path of Dovecot's auth client socket; Dovecot then speaks every mechanism that it offers."
    )
    oauth: OAuthTokens | None = Field(
        None, description="Tokens of an identity provider, beside passwords or instead of them."
    )
    mechanisms: tuple[str, ...] = Field(
        (), description="SASL mechanisms to offer. Absent: all that these accounts can serve."
    )
    in_clear: bool = Field(False, description="Offer them without TLS too; a password can then be read on the way.")
    required: bool = Field(True, description="Take no mail from who has not logged in.")
    senders: Literal["own", "envelope", "any"] = Field(
        "own",
        description="Which addresses an account may send as: 'own': its own in both reverse-path and From; "
        "'envelope': its own in the reverse-path, whatever From says; 'any': what it likes.",
    )
    complete: bool = Field(
        True, description="Add Date, Message-ID and From where they are missing, and take Bcc out (RFC 6409 §8)."
    )
    hide_client: bool = Field(
        False, description="Leave the client's address and name out of the Received field, and so out of the trace."
    )
    messages_per_hour: int | None = Field(
        1000, ge=1, description="Messages that one account may send in an hour; further ones get 450."
    )
    recipients_per_hour: int | None = Field(
        5000, ge=1, description="Recipients that one account may write to in an hour; further ones get 450."
    )

    @field_validator("mechanisms")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in names if name.upper() not in MECHANISMS]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no mechanism that is known here: {', '.join(MECHANISMS)}")
        return tuple(name.upper() for name in names)

    @model_validator(mode="after")
    def _one_store(self) -> Self:
        stores = [name for name in ("file", "table", "ldap", "dovecot") if getattr(self, name)]
        if len(stores) > 1:
            raise ValueError(f"{' and '.join(stores)}: accounts are in one place; leave all but one of them out")
        if not stores and self.oauth is None:
            raise ValueError("it names no accounts: give one of file, table, ldap, dovecot, or oauth")
        if self.dovecot and self.oauth is not None:
            raise ValueError("dovecot checks tokens itself: leave oauth out")
        return self
