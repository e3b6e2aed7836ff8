# A disk image is booted and provisioned. On the way the build prints as many lines as it is told to.
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
variable "headless" {
  type    = bool
  default = true
}
variable "serial_log" {
  type    = string
  default = "/dev/null"
}
variable "lines" {
  type    = string
  default = "0"
}

source "qemu" "lines" {
  accelerator = var.accelerator
  memory      = 256
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

  http_directory = "${path.root}/http"
  qemuargs = [
    ["-cpu", var.cpu],
    ["-serial", "file:${var.serial_log}"],
    ["-smbios", "type=1,serial=ds=nocloud-net;s=http://{{.HTTPIP}}:{{.HTTPPort}}/"],
    ["-smbios", "type=3,asset=${var.ssh_public_key}"],
  ]

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
  sources = ["source.qemu.lines"]

  provisioner "shell-local" {
    inline = ["seq -f 'line %.0f of what a talkative installer says while it works' 1 ${var.lines}"]
  }
  provisioner "shell" {
    inline = ["uname -a", "seal"]
  }
}
