#!/bin/sh
# Installs the Debian packages of build/packages.txt that are missing, and
# unpacks below bin/ those that are marked so.
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
			case $why in unpack:*) continue ;; esac
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

# fetch downloads a package; one that is empty but for its dependency, as
# linux-image-amd64, stands for that.
fetch() {
	real=$(apt-cache depends "$1" | sed -n "s/^ *Depends: \(${1%%-*}-.*\)/\1/p" | head -n 1)
	apt-get -q -o APT::Sandbox::User=root download "${real:-$1}"
}

# Packages whose files the tests read, and which would change the machine if
# they were installed: a kernel makes an initramfs and an entry of the boot
# menu.
unpack() {
	for name in $(sed -n 's/^\([a-z0-9][a-z0-9.+-]*\) *# *unpack:.*/\1/p' packages.txt); do
		if [ -d "../bin/$name" ]; then continue; fi
		echo "unpacking: $name"
		new=../bin/$name.new
		rm -rf "$new"
		mkdir -p "$new/deb"
		(cd "$new/deb" && { fetch "$name" || { apt-get -q update && fetch "$name"; }; })
		# What drives real hardware is most of a kernel, and of no use here.
		dpkg-deb --fsys-tarfile "$new"/deb/*.deb |
			tar -x -C "$new" --exclude='./lib/modules/*/kernel/drivers/[!nv]*' \
				--exclude='./lib/modules/*/kernel/drivers/net/ethernet' --exclude='./lib/modules/*/kernel/sound'
		rm -r "$new/deb"
		for release in "$new"/lib/modules/*; do
			depmod -b "$new" "${release##*/}"
		done
		mv "$new" "../bin/$name"
	done
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
if [ -z "$missing" ]; then
	if [ "$1" = test ]; then unpack; fi
	exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "missing packages:$missing" >&2
	echo "install them as root: apt-get install$missing" >&2
	exit 1
fi
echo "installing:$missing"
forbid_services
# shellcheck disable=SC2086 # a list of names
install $missing
if [ "$1" = test ]; then unpack; fi
