"""Settings that a mail server keeps for itself, and those that have nothing to stand for them here.

Source: postconf(5); sendmail's doc/op and cf/README; Exim's specification, chapter 14.
"""

from __future__ import annotations

import re
from typing import Final

POSTFIX_RESTRICTIONS: Final = frozenset(
    [
        "permit",
        "permit_mynetworks",
        "permit_auth_destination",
        "reject_unauth_destination",
        "reject_unlisted_recipient",
        "permit_sasl_authenticated",
        "reject_unauth_pipelining",
        "reject_invalid_helo_hostname",
        "reject",
        "reject_non_fqdn_recipient",
        "defer_unauth_destination",
        "reject_non_fqdn_helo_hostname",
    ]
)
"""Restrictions whose sense the gateway has by itself."""

POSTFIX_SERVICES: Final = frozenset(
    [
        "smtpd",
        "pickup",
        "cleanup",
        "qmgr",
        "tlsmgr",
        "rewrite",
        "bounce",
        "trivial-rewrite",
        "verify",
        "flush",
        "proxymap",
        "smtp",
        "lmtp",
        "showq",
        "error",
        "discard",
        "local",
        "virtual",
        "anvil",
        "scache",
        "postlogd",
        "tlsproxy",
        "dnsblog",
        "oqmgr",
        "nqmgr",
    ]
)
"""Programs of Postfix's own in master.cf."""

POSTFIX_WHY_NOT: Final = {
    "header_checks": "there are no checks of headers by pattern; a milter may have them",
    "body_checks": "there are no checks of bodies by pattern; a milter may have them",
    "mime_header_checks": "there are no checks of headers by pattern; a milter may have them",
    "nested_header_checks": "there are no checks of headers by pattern; a milter may have them",
    "smtp_header_checks": "there are no checks of headers by pattern; `remove_headers` takes fields out",
    "content_filter": "mail is not sent through a filter by SMTP; use its milter",
    "mailbox_command": "mail is put into the mailbox itself; give those who need a program a rule of their own",
    "always_bcc": "no copies of all mail are sent; a journal has to be kept by the mailboxes' server",
    "sender_bcc_maps": "no copies are sent",
    "recipient_bcc_maps": "copies of one person's mail go to `copy_home` of the identity",
    "luser_relay": "unknown users are refused, so that no mail to them is taken; make a rule for a catch-all",
    "mailbox_transport_maps": "give each identity the home that it has",
    "fallback_transport": "unknown users are refused; name them, or share the domain: [[mapping.shared]]",
    "sender_dependent_relayhost_maps": "the next hop depends on the recipient alone",
    "sender_dependent_default_transport_maps": "the next hop depends on the recipient alone",
    "smtp_tls_policy_maps": "make a connector for each destination with a policy of its own, and a route to it",
    "soft_bounce": "it is for a time of trial; hold the queue with `gatepost queue hold` instead",
    "masquerade_domains": "the domain of each shown address is the identity's own primary address",
    "recipient_delimiter": "a sub-address begins with +",
    "smtpd_tls_CAfile": "clients are asked for no certificate",
    "bounce_template_file": "reports have texts of their own",
    "address_verify_map": "recipients of others are not asked for in advance",
    "mailbox_size_limit": "a mailbox's quota is its file system's, or its server's",
    "virtual_mailbox_limit": "a mailbox's quota is its file system's, or its server's",
    "virtual_alias_expansion_limit": "groups have no such bound",
}
"""Why a parameter is not taken, and what may stand in its place."""

POSTFIX_OWN: Final = re.compile(
    r"(alias_database|broken_sasl_auth_clients|smtpd_sasl_security_options|smtpd_sasl_local_domain|smtpd_sasl_authenticated_header|append_.*|biff|command_directory|compatibility_level|config_directory|daemon_directory"
    r"|data_directory|debug.*|default_privs|html_directory|.*_readme_directory|readme_directory|sample_directory"
    r"|mail_owner|mail_name|mail_version|mailq_path|manpage_directory|meta_directory|newaliases_path|process_id.*"
    r"|queue_directory|sendmail_path|setgid_group|shlib_directory|smtpd_banner|soft_bounce_.*|syslog_.*|maillog_.*"
    r"|.*_session_cache_database|tls_random_.*|unknown_local_recipient_reject_code|inet_protocols|smtpd_use_tls"
    r"|smtp_use_tls|smtpd_tls_auth_only|smtpd_tls_loglevel|smtp_tls_loglevel|smtpd_tls_received_header"
    r"|disable_vrfy_command|smtpd_helo_required|strict_rfc821_envelopes|smtpd_delay_reject|queue_minfree"
    r"|milter_protocol|milter_mail_macros|mydomain|myhostname|parent_domain_matches_subdomains|smtputf8_.*"
    r"|smtp_sasl_security_options|smtp_sasl_tls_security_options|import_environment|export_environment"
    r"|in_flow_delay|.*_process_limit|default_process_limit|multi_instance_.*)"
)

SENDMAIL_MACROS: Final = frozenset(
    [
        "VERSIONID",
        "OSTYPE",
        "include",
        "divert",
        "undefine",
        "MAILER",
        "MAILER_DEFINITIONS",
        "ifdef",
        "EXPOSED_USER",
        "LOCAL_USER",
    ]
)
"""Macros of a sendmail.mc that say nothing of who gets which mail."""

SENDMAIL_FEATURES: Final = frozenset(
    [
        "use_cw_file",
        "use_ct_file",
        "redirect",
        "always_add_domain",
        "accept_unresolvable_domains",
        "nouucp",
        "blacklist_recipients",
        "blocklist_recipients",
        "delay_checks",
        "local_procmail",
        "smrsh",
        "no_default_msa",
        "msp",
        "limited_masquerade",
        "allmasquerade",
        "preserve_local_plus_detail",
        "nocanonify",
        "stickyhost",
        "local_no_masquerade",
        "masquerade_envelope",
        "masquerade_entire_domain",
        "generics_entire_domain",
        "lookupdotdomain",
        "virtuser_entire_domain",
        "conncontrol",
        "require_rdns",
        "badmx",
        "block_bad_helo",
        "queuegroup",
        "notsticky",
    ]
)
"""Features whose sense the gateway has by itself, or that only shape sendmail's own look-ups."""

SENDMAIL_WHY_NOT: Final = {
    "promiscuous_relay": "it relays for everybody; name the networks that may in relay_networks",
    "relay_entire_domain": "it relays for all hosts of a domain; name their networks in relay_networks",
    "relay_based_on_MX": "it relays for whoever has an MX here; name the domains in relay_domains first",
    "relay_local_from": "anybody can write such a sender; name the networks in relay_networks",
    "relay_mail_from": "anybody can write such a sender; name the networks in relay_networks",
    "ldap_routing": "`gatepost map import` reads a directory live; the home of each identity is its route",
    "domaintable": "make a [[mapping.rule]] of each row",
    "bitdomain": "make a [[mapping.rule]] to bitnet: addresses",
    "uucpdomain": "make a [[mapping.rule]] to uucp: addresses, and a filedrop connector of the format uucp",
    "local_lmtp": "deliver by LMTP to the server of the mailboxes",
    "authinfo": "give each connector its own auth_user and auth_password",
    "ratecontrol": "the limits of each client are max_messages_per_minute and max_connections_per_client",
    "accept_unqualified_senders": "a sender has a domain; sendmail's clients are completed by the command for them",
    "nullclient": "all mail goes to the hub: that is the smart host",
    "compat_check": "pairs of sender and recipient are not looked up",
    "check_other": "rules of checking are not taken",
}
"""Why a feature is not taken, and what may stand in its place."""

SENDMAIL_OPTIONS: Final = frozenset(
    [
        "AliasWait",
        "BlankSub",
        "HoldExpensive",
        "DeliveryMode",
        "TempFileMode",
        "HelpFile",
        "SendMimeErrors",
        "ForwardPath",
        "ConnectionCacheSize",
        "ConnectionCacheTimeout",
        "UseErrorsTo",
        "LogLevel",
        "CheckAliases",
        "OldStyleHeaders",
        "QueueDirectory",
        "StatusFile",
        "SuperSafe",
        "NoRecipientAction",
        "PidFile",
        "DefaultUser",
        "EightBitMode",
        "UnixFromLine",
        "SmtpGreetingMessage",
        "OperatorChars",
        "DontInitGroups",
        "TrustedUser",
        "DontProbeInterfaces",
        "ClassFactor",
        "RecipientFactor",
        "RetryFactor",
        "QueueSortOrder",
        "DataFileBufferSize",
        "XscriptFileBufferSize",
        "SingleThreadDelivery",
        "HostStatusDirectory",
        "InputMailFilters",
        "AuthOptions",
        "AuthMechanisms",
        "RunAsUser",
        "ConnectionRateThrottle",
        "MaxDaemonChildren",
        "TLSSrvOptions",
        "CACertPath",
        "ClientCertFile",
        "ClientKeyFile",
        "DHParameters",
        "CRLFile",
        "CipherList",
        "ServerSSLOptions",
        "ClientSSLOptions",
        "RefuseLA",
        "QueueLA",
        "DelayLA",
        "MaxQueueRunSize",
        "DoubleBounceAddress",
        "ControlSocketName",
        "DeadLetterDrop",
        "MustQuoteChars",
    ]
)
"""Options of a sendmail.cf that are sendmail's own."""

SENDMAIL_MAPS: Final = frozenset(
    [
        "dequote",
        "arith",
        "storage",
        "macro",
        "resolve",
        "canonify",
        "userdb",
        "uudomain",
        "domaintable",
        "host",
        "ALIAS",
        "authinfo",
        "compat",
        "rqmail",
        "LookupBL",
        "dnsbl",
        "edns",
        "ednsbl",
        "cert",
        "requirerdns",
    ]
)
"""Maps that every sendmail.cf has."""

SENDMAIL_VARIABLES: Final = {
    "confMAX_MESSAGE_SIZE": "MaxMessageSize",
    "confMAX_RCPTS_PER_MESSAGE": "MaxRecipientsPerMessage",
    "confMAX_HOP": "MaxHopCount",
    "confTO_QUEUERETURN": "Timeout.queuereturn",
    "confTO_QUEUEWARN": "Timeout.queuewarn",
    "confMIN_QUEUE_AGE": "MinQueueAge",
    "confSERVER_CERT": "ServerCertFile",
    "confSERVER_KEY": "ServerKeyFile",
    "confCACERT": "CACertFile",
}
"""The option that each variable of a sendmail.mc sets."""

SENDMAIL_OWN_VARIABLES: Final = frozenset(
    [
        "confCACERT_PATH",
        "confCLIENT_CERT",
        "confCLIENT_KEY",
        "confPRIVACY_FLAGS",
        "confLOG_LEVEL",
        "confDEF_USER_ID",
        "confPID_FILE",
        "confSMTP_LOGIN_MSG",
        "confDONT_PROBE_INTERFACES",
        "confTRUSTED_USER",
        "confTRUSTED_USERS",
        "confINPUT_MAIL_FILTERS",
        "confAUTH_OPTIONS",
        "confAUTH_MECHANISMS",
        "confTO_CONNECT",
        "confTO_IDENT",
        "confTO_ICONNECT",
        "confMCI_CACHE_SIZE",
        "confQUEUE_LA",
        "confREFUSE_LA",
        "confMAX_DAEMON_CHILDREN",
        "confCONNECTION_RATE_THROTTLE",
        "confBIND_OPTS",
        "confTRY_NULL_MX_LIST",
        "confDELIVERY_MODE",
        "confME_TOO",
    ]
)
"""Variables of sendmail's own installation."""

EXIM_OWN: Final = frozenset(
    [
        "exim_path",
        "spool_directory",
        "log_file_path",
        "log_selector",
        "exim_user",
        "exim_group",
        "never_users",
        "timezone",
        "syslog_timestamp",
        "syslog_duplication",
        "pid_file_path",
        "daemon_startup_retries",
        "freeze_tell",
        "keep_environment",
        "add_environment",
        "host_lookup",
        "rfc1413_hosts",
        "rfc1413_query_timeout",
        "prdr_enable",
        "smtp_banner",
        "trusted_users",
        "trusted_groups",
        "admin_groups",
        "split_spool_directory",
        "check_spool_space",
        "queue_run_max",
        "deliver_queue_load_max",
        "smtp_accept_queue",
        "smtp_load_reserve",
        "accept_8bitmime",
        "gecos_pattern",
        "gecos_name",
        "untrusted_set_sender",
        "local_from_check",
        "local_sender_retain",
        "dns_dnssec_ok",
        "message_logs",
        "ignore_bounce_errors_after",
        "print_topbitchars",
        "tls_advertise_hosts",
        "smtputf8_advertise_hosts",
        "dkim_verify_signers",
        "chunking_advertise_hosts",
        "received_header_text",
        "uucp_from_pattern",
        "uucp_from_sender",
        "perl_startup",
        "system_filter_user",
        "bi_command",
    ]
)
"""Main options of Exim's own installation."""
