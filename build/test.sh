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

# A few seconds for each target; whoever works on a parser fuzzes it longer.
# Counted, not timed: where a timed run ends, go test up to 1.26 can report its
# own deadline as a failure (go.dev/issue/75804). Inputs that are new are not
# worth 60 s of shortening each, the default, but a failing one is still short
# enough to read after 20 tries.
fuzz() {
	for package in $(git grep -l '^func Fuzz' -- '*_test.go' | xargs -n 1 dirname | sort -u); do
		for target in $(go test -tags "$tags" -list '^Fuzz' "./$package" | grep '^Fuzz'); do
			timeout 300 go test -tags "$tags" -run '^$' -fuzz "^$target\$" -fuzztime 10000x -fuzzminimizetime 20x \
				"./$package" || return 1
		done
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
step 'fuzz of what reads input from outside' fuzz
step 'the machine is as before' machine -compare

if [ -n "$failed" ]; then
	echo "FAIL: ${failed#, }"
	exit 1
fi
