// Package repo holds the rules of this repository that a machine can check:
// they are its tests.
package repo
