# An application on top of another image. aibuild gives the newest good tiny-linux as iso_url; the result is a whole disk of its own.
variable "iso_url" { type = string }
variable "iso_checksum" { type = string }
variable "output_directory" { type = string }
variable "vm_name" { type = string }
variable "ssh_private_key_file" { type = string }
variable "ssh_public_key" { type = string }
variable "accelerator" {
  type    = string
  default = "tcg"
}
variable "cpu" {
  type    = string
  default = "max"
}
variable "memory" {
  type    = number
  default = 256
}
variable "headless" {
  type    = bool
  default = true
}
variable "serial_log" {
  type    = string
  default = "/dev/null"
}
variable "app_version" { type = string }

source "qemu" "tiny-app" {
  accelerator = var.accelerator
  memory      = var.memory
  headless    = var.headless

  disk_image       = true
  use_backing_file = false
  skip_resize_disk = true
  iso_url          = var.iso_url
  iso_checksum     = var.iso_checksum
  format           = "qcow2"
  disk_interface   = "virtio"
  disk_cache       = "unsafe"
  disk_discard     = "unmap"
  net_device       = "virtio-net"

  # The parent is sealed: nobody can log in. The seed served from http/ makes it take the build's key from the SMBIOS asset tag.
  http_directory = "${path.root}/http"
  qemuargs = [
    ["-cpu", var.cpu],
    ["-serial", "file:${var.serial_log}"],
    ["-smbios", "type=1,serial=ds=nocloud-net;s=http://{{.HTTPIP}}:{{.HTTPPort}}/"],
    ["-smbios", "type=3,asset=${var.ssh_public_key}"],
  ]

  # Nothing is typed; the wait is for SSH. A first connection to a guest without a network yet would hang for 6, 18 or 42 seconds.
  boot_wait              = "8s"
  ssh_username           = "root"
  ssh_private_key_file   = var.ssh_private_key_file
  ssh_timeout            = "5m"
  ssh_handshake_attempts = 1000
  shutdown_command       = "poweroff"
  shutdown_timeout       = "1m"
  output_directory       = var.output_directory
  vm_name                = var.vm_name
}

build {
  sources = ["source.qemu.tiny-app"]

  provisioner "file" {
    source      = "${path.root}/files/"
    destination = "/tmp"
  }
  provisioner "shell" {
    environment_vars = ["APP_VERSION=${var.app_version}"]
    scripts          = ["${path.root}/install.sh"]
  }
  provisioner "shell" {
    inline = ["seal"]
  }
}
