// Package packer runs HashiCorp Packer and reads what it says.
package packer
