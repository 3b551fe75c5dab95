#!/usr/bin/env bash
# Install what the tests need beyond Python packages: real peers and the tools that watch them.
# Needs root or a sudo that asks nothing; without either it names what is missing and stops. Nothing is left running:
# the packages' own services are kept from starting, as the tests start private instances on free loopback ports.
set -euo pipefail

# command that shows the package is there : package
wanted=(
  postfix:postfix smtp-source:postfix smtp-sink:postfix postmap:postfix
  swaks:swaks strace:strace cc:gcc curl:curl git:git
  psql:postgresql-client slapd:slapd
  mmdebstrap:mmdebstrap uux:uucp
  alpine:alpine bsd-mailx:bsd-mailx s-nail:s-nail
  msmtp:msmtp openssl:openssl mutt:mutt movemail:mailutils packf:nmh formail:procmail
  crashmail:crashmail xxd:xxd
  mosquitto:mosquitto mosquitto_pub:mosquitto-clients prosody:prosody
  davmail-server:davmail-server java:default-jre-headless mbsync:isync
  unbound:unbound opendkim:opendkim opendmarc:opendmarc ip:iproute2 rspamd:rspamd clamd:clamav-daemon clamav-milter:clamav-milter
  node:nodejs npm:npm
  tnef:tnef ytnef:ytnef-tools
)
PATH="$PATH:/usr/sbin:/sbin"

missing=()
for each in "${wanted[@]}"; do
  command -v "${each%%:*}" >/dev/null || missing+=("${each##*:}")
done
ls /usr/lib/postfix/postfix-cdb.so >/dev/null 2>&1 || missing+=(postfix-cdb)
ls /usr/lib/dovecot/imap >/dev/null 2>&1 || missing+=(dovecot-imapd)
ls /usr/lib/dovecot/pop3 >/dev/null 2>&1 || missing+=(dovecot-pop3d)
ls /usr/lib/dovecot/lmtp >/dev/null 2>&1 || missing+=(dovecot-lmtpd)
[ -e /usr/share/publicsuffix/public_suffix_list.dat ] || missing+=(publicsuffix)
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing+=(postgresql)
perl -MNet::SSLeay -e 1 2>/dev/null || missing+=(libnet-ssleay-perl)  # swaks wants it for TLS
ls /usr/lib/*/jni/libjnidispatch*.so >/dev/null 2>&1 || missing+=(libjna-jni)  # DavMail dies without it, after it has begun
[ -e /usr/include/stdio.h ] || missing+=(libc6-dev)
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
[ ${#missing[@]} -eq 0 ] && exit 0
mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)

if [ "$(id -u)" -eq 0 ]; then
  as_root=()
elif sudo -n true 2>/dev/null; then
  as_root=(sudo -n)
else
  echo "the tests need these packages, and neither root nor a sudo without password is at hand: ${missing[*]}" >&2
  echo "mend: apt-get install ${missing[*]}" >&2
  exit 1
fi
command -v apt-get >/dev/null || { echo "the tests need these packages, and there is no apt-get here: ${missing[*]}" >&2; exit 1; }

# policy-rc.d keeps maintainer scripts from starting services; ours is taken away again, another's is left alone.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
  "${as_root[@]}" chmod 755 "$policy"
  trap '"${as_root[@]}" rm -f "$policy"' EXIT
fi
# No cluster of the distribution's: each test makes its own with initdb.
"${as_root[@]}" mkdir -p /etc/postgresql-common
[ -e /etc/postgresql-common/createcluster.conf ] ||
  echo 'create_main_cluster = false' | "${as_root[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
printf '%s\n' 'postfix postfix/main_mailer_type select No configuration' 'slapd slapd/no_configuration boolean true' |
  "${as_root[@]}" debconf-set-selections

export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get -qq update
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "${missing[@]}" >/dev/null
# `No configuration` leaves no main.cf, and the programs look for one even when told of another.
[ -e /etc/postfix/main.cf ] || "${as_root[@]}" install -m 644 /usr/share/postfix/main.cf.debian /etc/postfix/main.cf
