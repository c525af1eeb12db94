#!/bin/sh
# Installs the Debian packages of build/packages.txt that are missing.
# usage: deps.sh build|demo|test
#
# As root on Debian or a relative it installs them; elsewhere it says which
# are missing and fails.
set -eu
cd "$(dirname "$0")"

case "${1-}" in
build) want='^build:' ;;
demo) want='^\(build\|demo\):' ;;
test) want='' ;;
*)
	echo "usage: deps.sh build|demo|test" >&2
	exit 2
	;;
esac

packages() {
	sed -n 's/^\([a-z0-9][a-z0-9.+-]*\) *# *\(.*\)/\1 \2/p' packages.txt |
		while read -r name why; do
			if echo "$why" | grep -q "$want"; then echo "$name"; fi
		done
}

installed() { dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null | grep -q '^ii'; }

check_go() {
	if ! command -v go >/dev/null; then
		echo "missing: go, $(sed -n 's/^go //p' ../go.mod) or later, from go.dev/dl" >&2
		exit 1
	fi
}

# A machine that is no relative of Debian has other names for the packages, so
# there the tools are looked for instead.
check_tools() {
	missing=
	for tool in gcc ip nft pkg-config; do
		command -v "$tool" >/dev/null || missing="$missing $tool"
	done
	if [ -n "$missing" ]; then
		echo "missing:$missing; on Debian they come with the packages of build/packages.txt" >&2
		exit 1
	fi
}

# Services that come with a package are not to start: the tests start their
# own, in namespaces. invoke-rc.d and systemd's hooks ask this file.
policy=/usr/sbin/policy-rc.d
forbid_services() {
	if [ -e "$policy" ]; then return; fi
	trap 'rm -f "$policy"' EXIT
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
}

install() {
	export DEBIAN_FRONTEND=noninteractive
	get='apt-get -o DPkg::Lock::Timeout=600 -o APT::Install-Recommends=false -q -y'
	# The lists may be absent or stale, and fetching them takes a while.
	$get install "$@" || { $get update && $get install "$@"; }
}

check_go
if ! command -v dpkg-query >/dev/null; then
	check_tools
	exit 0
fi
missing=
for name in $(packages); do
	installed "$name" || missing="$missing $name"
done
if [ -z "$missing" ]; then exit 0; fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "missing packages:$missing" >&2
	echo "install them as root: apt-get install$missing" >&2
	exit 1
fi
echo "installing:$missing"
forbid_services
# shellcheck disable=SC2086 # a list of names
install $missing
