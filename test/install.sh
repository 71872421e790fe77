#!/bin/sh
# Installs what the end-to-end tests run: real Postfix, Prometheus (with promtool), Alertmanager, logrotate, rsyslog.
# As root on a Debian-like machine it installs what is missing with apt-get; quick and silent when nothing is.
# Otherwise it prints what is missing and the command to type. The exit status is 1 only where REQUIRE=1 is set and
# something is missing still; without it the tests that need a missing part skip themselves and say so.
#
# No service is started, and the configuration of a Postfix that is there already is not touched.
set -eu

# program to look for : package that has it
parts="postfix:postfix prometheus:prometheus promtool:prometheus prometheus-alertmanager:prometheus-alertmanager
logrotate:logrotate rsyslogd:rsyslog /lib/systemd/systemd-journal-remote:systemd-journal-remote gcc:gcc unshare:util-linux"
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

missing() {
	for part in $parts; do
		command -v "${part%%:*}" >/dev/null 2>&1 || echo "${part#*:}"
	done | sort -u | tr '\n' ' '
}

need=$(missing)
[ -n "$need" ] || exit 0

install() {
	# Debian starts a service as soon as it is installed unless policy-rc.d forbids it. Where the machine has no such
	# file, ours stands there for the time of the installation.
	policy=/usr/sbin/policy-rc.d
	if [ ! -e "$policy" ]; then
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod 755 "$policy"
		trap 'rm -f "$policy"' EXIT
		trap 'exit 1' HUP INT TERM
	fi
	export DEBIAN_FRONTEND=noninteractive
	# "No configuration": the tests bring their own. Only asked when Postfix is installed for the first time.
	case " $need" in
	*" postfix "*) echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections ;;
	esac
	# The lists of a fresh machine or image are empty; those of a stale one name versions that are gone.
	# shellcheck disable=SC2086 # one word a package
	apt-get install -q -y --no-install-recommends $need ||
		{ apt-get update -q && apt-get install -q -y --no-install-recommends $need; }
}

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
	echo "test/install.sh: installing $need"
	install || true
	need=$(missing)
	[ -n "$need" ] || exit 0
	echo "test/install.sh: could not be installed: $need" >&2
else
	echo "test/install.sh: the end-to-end tests that need these packages are skipped: $need" >&2
	echo "To run them, type:  sudo apt-get install --no-install-recommends $need" >&2
fi
[ "${REQUIRE:-0}" != 1 ]
