// Package api is the story over HTTP.
package api
