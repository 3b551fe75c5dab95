"""The server's fixed replies, each in one place."""

from __future__ import annotations

from typing import Final

from connectors.smtp.replies import reply

OK: Final = b"250 2.0.0 ok\r\n"
MAIL_OK: Final = b"250 2.1.0 ok\r\n"
RCPT_OK: Final = b"250 2.1.5 ok\r\n"
GO_AHEAD: Final = b"354 end data with <CR><LF>.<CR><LF>\r\n"
READY_FOR_TLS: Final = b"220 2.0.0 ready to start TLS\r\n"
BYE: Final = b"221 2.0.0 bye\r\n"
VRFY: Final = b"252 2.1.5 send some mail, and see whether the recipient is taken\r\n"
NO_EXPN: Final = b"502 5.5.1 no lists are shown here\r\n"
HELP: Final = reply(
    214, "2.0.0", "EHLO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP STARTTLS QUIT\nsee RFC 5321 and its extensions"
)
UNKNOWN: Final = b"500 5.5.1 this command is not known here\r\n"
NO_ARGUMENT: Final = b"501 5.5.4 this command takes no argument\r\n"
TOO_LONG: Final = b"500 5.5.2 the line is too long\r\n"
BARE_LINE: Final = b"521 5.5.2 a line ends with CR LF, not with LF alone (RFC 5321 section 2.3.8)\r\n"
BARE_CR: Final = b"500 5.5.2 a CR stands only before LF (RFC 5321 section 2.3.8)\r\n"
HELLO_FIRST: Final = b"503 5.5.1 say EHLO first\r\n"
MAIL_FIRST: Final = b"503 5.5.1 say MAIL first\r\n"
RCPT_FIRST: Final = b"503 5.5.1 say RCPT first\r\n"
NO_RCPT: Final = b"554 5.5.1 no recipient was taken\r\n"
NESTED: Final = b"503 5.5.1 a transaction is under way; end it or say RSET\r\n"
CHUNKED: Final = b"503 5.5.1 the transaction is chunked: go on with BDAT\r\n"
AUTH_NEEDS_TLS: Final = b"538 5.7.11 say STARTTLS first: a password is not to be read on the way\r\n"
AUTH_TWICE: Final = b"503 5.5.1 you are logged in already\r\n"
AUTH_IN_MAIL: Final = b"503 5.5.1 AUTH comes before MAIL\r\n"
AUTH_UNKNOWN: Final = b"504 5.5.4 this mechanism is not offered here\r\n"
AUTH_CODING: Final = b"501 5.5.2 this is not base64\r\n"
AUTH_CANCELLED: Final = b"501 5.7.0 as you wish: not logged in\r\n"
AUTH_DONE: Final = b"235 2.7.0 logged in\r\n"
AUTH_FIRST: Final = b"530 5.7.0 log in first\r\n"
TLS_FIRST: Final = b"530 5.7.0 say STARTTLS first\r\n"
TLS_LATE: Final = b"503 5.5.1 STARTTLS comes before AUTH\r\n"
TLS_NO: Final = b"502 5.5.1 TLS is not offered here\r\n"
TLS_TWICE: Final = b"503 5.5.1 TLS is active already\r\n"
TOO_MANY_RCPT: Final = b"452 4.5.3 too many recipients, send the rest in another transaction\r\n"
TOO_MANY_ERRORS: Final = b"421 4.7.0 too many errors, closing\r\n"
NOT_SMTP: Final = b"421 4.7.0 this is not that protocol, closing\r\n"
BARE: Final = reply(
    550, "5.6.0", "a CR or LF stands outside of a CR LF pair in the message (RFC 5321 section 2.3.8); nothing was taken"
)
