#!/bin/sh
# A cloud stops its guests with the power button.
pidof acpid >/dev/null || { echo "acpid does not run"; exit 1; }
[ -x /etc/acpi/PWRF/00000080 ] || { echo "nothing happens when the power button is pressed"; exit 1; }
[ -d /sys/module/button ] || { echo "the kernel has no driver for the power button"; exit 1; }
