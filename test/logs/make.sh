#!/usr/bin/env bash
# Makes a log of a real Postfix for logparse's tests: every delivery agent, probes, holds, requeues, deletions, expiry, bounces, TLS-less
# SASL failures, submission-style and foreign instance names, rejects of each kind. Needs root and Debian's postfix; touches only the
# directory that it makes. Usage: make.sh OUTPUT.log
set -eu
out=$(realpath -m "${1:?usage: make.sh OUTPUT.log}")
lab=$(mktemp -d "${TMPDIR:-/tmp}/sparemx-logs.XXXXXX")
chmod 755 "$lab"
conf=$lab/conf
sinks=()
stop() {
	postfix -c "$conf" stop >/dev/null 2>&1 || true
	for pid in "${sinks[@]}"; do kill "$pid" 2>/dev/null || true; done
	rm -rf "$lab"
}
trap '[ -z "${KEEP:-}" ] || cp "$lab/log/maillog" "$KEEP"; stop' EXIT

mkdir -p "$conf" "$lab/queue" "$lab/data" "$lab/log" "$lab/mail"
chown postfix "$lab/data" "$lab/mail"
cp /etc/postfix/postfix-files "$conf/" 2>/dev/null || true
cp -r /etc/postfix/dynamicmaps.cf* "$conf/" 2>/dev/null || true

cat >"$conf/main.cf" <<EOF
compatibility_level = 3.6
config_directory = $conf
queue_directory = $lab/queue
data_directory = $lab/data
mail_owner = postfix
setgid_group = postdrop
maillog_file = $lab/log/maillog
maillog_file_prefixes = $lab/log
myhostname = mx2.example.net
mydestination = local.test
inet_interfaces = loopback-only
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
alias_maps = inline:{{quiet = /dev/null},{broken = "|/bin/false"}}
alias_database =
local_recipient_maps =
virtual_mailbox_domains = virtual.test
virtual_mailbox_base = $lab/mail
virtual_mailbox_maps = inline:{{box@virtual.test = box/}}
virtual_uid_maps = static:$(id -u postfix)
virtual_gid_maps = static:$(id -g postfix)
virtual_minimum_uid = 1
transport_maps = inline:{{piped.test = piper:},{lmtp.test = lmtp:inet:127.0.0.1:26524},{nosocket.test = lmtp:unix:private/absent},{gone.test = discard:silently},{no.test = error:5.1.2 no such place},{later.test = retry:4.4.1 not today},{up.test = relay:[127.0.0.1]:26526},{down.test = smtp:[127.0.0.1]:26599},{hard.test = smtp:[127.0.0.1]:26527},{soft.test = smtp:[127.0.0.1]:26528},{nodns.invalid = smtp:}}
relay_domains = piped.test lmtp.test nosocket.test gone.test no.test later.test up.test down.test hard.test soft.test
relay_recipient_maps =
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions = check_recipient_access inline:{{warned@up.test = WARN look},{held@up.test = HOLD wait},{dropped@up.test = DISCARD away},{refused@up.test = 554 5.7.1 not this one},{putoff@up.test = 450 4.7.1 not now},{probe@up.test = reject_unverified_recipient},{probe@hard.test = reject_unverified_recipient},{probe@down.test = reject_unverified_recipient}}
address_verify_map = internal:verify
address_verify_poll_count = 3
address_verify_poll_delay = 1s
header_checks = regexp:$conf/header_checks
smtp_dns_support_level = disabled
smtp_host_lookup = native
enable_long_queue_ids = ${LONG:-no}
minimal_backoff_time = 3s
maximal_backoff_time = 3s
queue_run_delay = 3s
notify_classes = bounce, resource, software
delay_warning_time = 0
EOF
printf '/^Subject: warnme/ WARN seen\n/^Subject: refuseme/ REJECT not wanted\n/^Subject: holdme/ HOLD for a look\n' >"$conf/header_checks"

cat >"$conf/master.cf" <<EOF
127.0.0.1:26525 inet n - n - - smtpd
127.0.0.1:26587 inet n - n - - smtpd
  -o syslog_name=postfix/submission
  -o smtpd_helo_required=yes
127.0.0.1:26588 inet n - n - - smtpd
  -o syslog_name=postfix-out/edge
127.0.0.1:26529 inet n - n - 1 postscreen
  -o postscreen_greet_wait=1s
  -o postscreen_dnsbl_sites=
smtpd pass - - n - - smtpd
postlog unix-dgram n - n - 1 postlogd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
  -o syslog_name=postfix/relay
lmtp unix - - n - - lmtp
local unix - n n - - local
virtual unix - n n - - virtual
discard unix - - n - - discard
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
showq unix n - n - - showq
dnsblog unix - - n - 0 dnsblog
tlsproxy unix - - n - 0 tlsproxy
piper unix - n n - - pipe
  user=nobody argv=/bin/false
EOF

sink() { smtp-sink -u nobody "$@" 100 >/dev/null 2>&1 & sinks+=($!); }
sink -c 127.0.0.1:26526
sink -L 127.0.0.1:26524
sink -r RCPT -c 127.0.0.1:26528
smtp-sink -u nobody -R "$lab" -f RCPT 127.0.0.1:26527 100 >/dev/null 2>&1 & sinks+=($!)

postfix -c "$conf" start
log=$lab/log/maillog
# until TEXT: waits for the event itself, at most 20 s.
until_log() { for _ in $(seq 200); do grep -qE "$1" "$log" 2>/dev/null && return; sleep 0.1; done; echo "not seen: $1" >&2; }
say() { # say PORT LINE... : one SMTP conversation, each line after the reply to the one before
	local port=$1; shift
	python3 - "$port" "$@" <<'PY'
import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 20)
s.settimeout(20)
f = s.makefile("rb")
def reply():
    while True:
        line = f.readline()
        if len(line) < 4 or line[3:4] != b"-":
            return
try:
    reply()
    for line in sys.argv[2:]:
        if line == "-":  # hang up
            break
        s.sendall(line.encode().decode("unicode_escape").encode("latin1") + b"\r\n")
        reply()
except OSError:  # refused or thrown out: that is what some of these are for
    pass
s.close()
PY
}
mail() { say 26525 "EHLO client.example.org" "MAIL FROM:<${2-sender@example.org}>" "RCPT TO:<$1>" DATA "Subject: ${3:-hello}\\r\\n\\r\\ntext\\r\\n." QUIT; }

until_log 'daemon started'
for to in quiet@local.test broken@local.test nobody-here@local.test box@virtual.test none@virtual.test a@piped.test a@lmtp.test \
	a@nosocket.test a@gone.test a@no.test a@later.test a@up.test a@down.test a@hard.test a@soft.test; do
	mail "$to"
done
mail a@up.test ''
mail '\"odd, > one\"@up.test' '\"quoted sender\"@example.org'
mail a@no.test ''                       # a bounce of nobody
say 26587 "EHLO x" "MAIL FROM:<s@example.org>" "RCPT TO:<b@up.test>" "RCPT TO:<a@gone.test>" DATA "Subject: two\\r\\n\\r\\n." QUIT
say 26588 "EHLO x" "MAIL FROM:<s@example.org>" "RCPT TO:<c@up.test>" DATA "Subject: out\\r\\n\\r\\n." QUIT
say 26587 "MAIL FROM:<s@example.org>" QUIT
for to in warned@up.test dropped@up.test refused@up.test putoff@up.test; do mail "$to"; done
mail h@up.test s@example.org warnme
mail h@up.test s@example.org refuseme
say 26525 "EHLO x" "MAIL FROM:<s@example.org>" "RCPT TO:<stranger@elsewhere.test>" QUIT
say 26525 "EHLO x" "GET / HTTP/1.1"
say 26525 "EHLO x" "MAIL FROM:<s@example.org>" "RCPT TO:<a@up.test>" -
say 26525 -
say 26525 "EHLO x" "VRFY a@up.test" "BOGUS" "AUTH LOGIN" QUIT
say 26529 "EHLO x" "MAIL FROM:<s@example.org>" "RCPT TO:<a@up.test>" QUIT
python3 -c 'import socket; s=socket.create_connection(("127.0.0.1",26529)); s.sendall(b"EHLO early\r\n"); s.settimeout(15)
try:
    while s.recv(999): pass
except OSError: pass'
for to in probe@up.test probe@hard.test probe@down.test; do mail "$to" s@example.org; done
printf 'Subject: local\n\nhi\n' | MAIL_CONFIG=$conf sendmail -f root a@up.test
printf 'Subject: verify\n\nhi\n' | MAIL_CONFIG=$conf sendmail -bv -f root a@up.test || true

# Held, released, requeued, deleted.
id() { postqueue -c "$conf" -j | python3 -c 'import json,sys
for l in sys.stdin:
    m=json.loads(l)
    if any(r["address"]==sys.argv[1] for r in m["recipients"]): print(m["queue_id"]); break' "$1"; }
mail held@up.test
held=$(id held@up.test)
[ -n "$held" ] && postsuper -c "$conf" -H "$held"
until_log "$held: removed"
down=$(id a@down.test); postsuper -c "$conf" -h "$down"; postsuper -c "$conf" -H "$down"; postsuper -c "$conf" -r "$down"
postqueue -c "$conf" -f
until_log "orig_id=$down"
piped=$(id a@nosocket.test); postsuper -c "$conf" -d "$piped"
late=$(id a@soft.test); postsuper -c "$conf" -e "$late" 2>/dev/null || true
postqueue -c "$conf" -f
until_log "$late: from=.*force-expired"
# Expiry: everything still there is given up on.
postconf -c "$conf" -e maximal_queue_lifetime=1s bounce_queue_lifetime=1s
postfix -c "$conf" reload
until_log 'reload'
sleep 2
postqueue -c "$conf" -f
until_log 'a@down.test.*deferred'
until_log "from=<sender@example.org>, status=expired"
sleep 4
postfix -c "$conf" stop
for _ in $(seq 50); do grep -q 'terminating on signal' "$log" && break; sleep 0.1; done
sed "s#$lab#/srv/lab#g; s/ $(hostname) / mx2 /" "$log" >"$out"
wc -l "$out"
