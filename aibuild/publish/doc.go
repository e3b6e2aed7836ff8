// Package publish puts images into images/build and images/release of a web root, atomically.
package publish
