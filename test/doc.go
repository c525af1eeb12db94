// Package test runs the built binaries as users do, by the scripts in
// scripts/*.txtar, each on hosts of its own. README.md tells the commands.
package test
