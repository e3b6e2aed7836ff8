# Debian 12 from the disk that source.sh makes: what is done here is what should be in the image and is not in Debian's packages.
variable "iso_url" {
  type    = string
  default = "source/debian-12.qcow2"
}
variable "iso_checksum" {
  type    = string
  default = "file:source/debian-12.qcow2.sha256"
}
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
  default = 1024
}
variable "headless" {
  type    = bool
  default = true
}
variable "serial_log" {
  type    = string
  default = "/dev/null"
}

source "qemu" "debian-12" {
  accelerator = var.accelerator
  memory      = var.memory
  cpus        = 2
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

  # cloud-init finds the seed in http/ by the SMBIOS serial; the seed takes the build's key from the asset tag.
  http_directory = "${path.root}/http"
  qemuargs = [
    ["-cpu", var.cpu],
    ["-serial", "file:${var.serial_log}"],
    ["-device", "virtio-net,netdev=user.0"],
    ["-device", "virtio-rng-pci"],
    ["-smbios", "type=1,serial=ds=nocloud-net;s=http://{{.HTTPIP}}:{{.HTTPPort}}/"],
    ["-smbios", "type=3,asset=${var.ssh_public_key}"],
  ]

  # Nothing is typed; the wait is for SSH. A first connection to a guest without a network yet would hang for 6, 18 or 42 seconds.
  boot_wait              = "35s"
  ssh_username           = "root"
  ssh_private_key_file   = var.ssh_private_key_file
  ssh_timeout            = "15m"
  ssh_handshake_attempts = 1000
  shutdown_command       = "systemctl poweroff"
  shutdown_timeout       = "5m"
  output_directory       = var.output_directory
  vm_name                = var.vm_name
}

build {
  sources = ["source.qemu.debian-12"]

  provisioner "shell" {
    scripts = ["${path.root}/setup.sh", "${path.root}/clean.sh"]
  }
}
