// Package vm runs the tests that the machine's kernel cannot on one that can.
package vm
