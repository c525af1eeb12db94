#!/bin/sh
# What "make test" does: everything, and proof that the machine is as before.
# usage: test.sh 'build tags'
#
# Each step runs even when one before it has failed, so that one run tells all.
set -u
cd "$(dirname "$0")/.."
tags=$1
failed=
snapshot=$(mktemp)
trap 'rm -f "$snapshot"' EXIT

step() {
	title=$1
	shift
	echo "== $title"
	begin=$(date +%s)
	"$@" || failed="$failed, $title"
	echo "== $title: $(($(date +%s) - begin)) s"
}

machine() { go test -count=1 -run '^TestMachineIsUnchanged$' ./test/machine -args "$1" "$snapshot"; }

# fuzz SECONDS PACKAGE: for all targets of the package together.
fuzz() {
	targets=$(go test -list '^Fuzz' "$2" | grep '^Fuzz') || return 0
	each=$(($1 / $(echo "$targets" | wc -l)))
	for target in $targets; do
		go test -run '^$' -fuzz "^$target\$" -fuzztime "${each}s" "$2" || return 1
	done
}

step 'snapshot of the machine' machine -record
step lint make --no-print-directory lint
# -p 2: packages beside each other share the machine's cores with the race
# detector; the tests of one package are parallel anyway.
step 'tests with the race detector' go test -race -tags "$tags" -timeout 12m -p 2 $(go list ./... | grep -v '/test/vm$')
# By itself, because it is an emulated machine: what waits in there has little
# patience with a processor that others use.
step 'tests on another kernel' go test -timeout 12m ./test/vm
step 'fuzz of the decoders' fuzz 60 ./cniwire
step 'fuzz of the resolver' fuzz 10 ./dns
step 'the machine is as before' machine -compare

if [ -n "$failed" ]; then
	echo "FAIL: ${failed#, }"
	exit 1
fi
