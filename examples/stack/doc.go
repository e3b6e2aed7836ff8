// Package stack holds no Go code: it is the folder of the script "stack", which starts real services on one
// machine (MariaDB, Keystone and Glance, Apache, sshd) for demos and tests; see README.md. Its tests prove the script.
package stack
