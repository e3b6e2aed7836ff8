# Packer's own language (1.6 and later). aibuild fills the variables that it knows where they are declared:
# iso_url, iso_checksum, output_directory, vm_name, accelerator, memory, headless, serial_log and a few more.

variable "iso_url" { type = string }
variable "iso_checksum" { type = string }
variable "output_directory" { type = string }

variable "vm_name" {
  type    = string
  default = "@NAME@.qcow2"
}

variable "accelerator" {
  type    = string
  default = "kvm"
}

variable "memory" {
  type    = string
  default = "1024"
}

# The password of the account that exists only while the image is built; http/user-data has it too.
variable "build_password" {
  type    = string
  default = "@PASSWORD@"
}

source "qemu" "@NAME@" {
  disk_image       = true # boot the disk as it is; for an installation ISO: false, with a boot_command
  iso_url          = var.iso_url
  iso_checksum     = var.iso_checksum
  accelerator      = var.accelerator
  memory           = var.memory
  disk_size        = "8G"
  format           = "qcow2"
  disk_interface   = "virtio"
  net_device       = "virtio-net"
  headless         = true
  http_directory   = "http" # cloud-init reads its seed from there
  ssh_username     = "builder"
  ssh_password     = var.build_password
  ssh_timeout      = "20m"
  shutdown_command = "sudo /usr/local/sbin/seal"
  output_directory = var.output_directory
  vm_name          = var.vm_name
  qemuargs         = [["-smbios", "type=1,serial=ds=nocloud-net;s=http://{{ .HTTPIP }}:{{ .HTTPPort }}/"]]
}

build {
  sources = ["source.qemu.@NAME@"]

  # What makes this image yours goes here.
  provisioner "shell" {
    inline = [
      "cloud-init status --wait || true",
      "echo built by aibuild | sudo tee /etc/motd",
    ]
  }

  # Leaves nothing of the build behind, then powers off: see files/seal.
  provisioner "file" {
    source      = "files/seal"
    destination = "/tmp/seal"
  }
  provisioner "shell" {
    inline = ["sudo install -m 0755 /tmp/seal /usr/local/sbin/seal && rm /tmp/seal"]
  }
}
