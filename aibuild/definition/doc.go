// Package definition reads and checks image definitions.
package definition
