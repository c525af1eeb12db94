// Package conformance holds every driver, as the real plugin binary on hosts
// of its own, to the CNI specification: every version, every verb, every kind
// of bad input, and nothing left behind.
//
// A new driver is a row of the table in drivers_test.go.
package conformance
