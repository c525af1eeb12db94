// Package crash kills the plugins at random moments and has the host put right.
package crash
