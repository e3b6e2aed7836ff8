# The installer, on the CD; sourced by the initramfs' init, whose functions it uses. It takes no decision of its own: the answers come
# by HTTP from the URL in the board serial number of SMBIOS (or typed at the boot prompt), the public key of whoever installs from the machine's SMBIOS asset tag.

install_failed() {
	echo "TINY-INSTALL-FAILED: $*"
	exec sleep 86400 # stay: whoever watches the console ends the machine; a panic would hide the line above
}

install_network() {
	ifconfig lo 127.0.0.1
	ifconfig eth0 up || install_failed "no network card"
	udhcpc -q -n -t 20 -T 1 -i eth0 -s /bin/udhcpc.script >/dev/null 2>&1 || install_failed "no address by DHCP"
}

install_answers() {
	url=$(sed -n 's/^answers=//p' /sys/class/dmi/id/board_serial 2>/dev/null)
	[ -n "$url" ] || url=$(arg answers)
	[ -n "$url" ] || install_failed "no answers=URL, neither as the board's serial number nor typed at the boot prompt"
	wget -q -O /run/answers "$url" || install_failed "no answers at $url"
	. /run/answers || install_failed "the answers at $url are no shell assignments"
	[ -n "${DISK:-}" ] || install_failed "the answers at $url do not set DISK"
	key=$(cat /sys/class/dmi/id/chassis_asset_tag 2>/dev/null)
	case $key in ssh-* | ecdsa-*) ;; *) install_failed "no public key in the SMBIOS asset tag (-smbios type=3,asset=KEY)" ;; esac
}

# The layout that both firmwares boot: GRUB's core, the EFI system partition, the root. Sectors as in source.sh.
install_partitions() {
	wait_for test -b "$DISK" || install_failed "there is no disk $DISK"
	mkdir -p /run/system
	mount -t tmpfs -o size=75% system /run/system
	tar -xzf /cd/system.tgz -C /run/system || install_failed "cannot unpack the system"
	mount -o bind /dev /run/system/dev
	printf '%s\n' 'label: gpt' 'start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649' \
		'start=4096, size=4096, type=U' 'start=8192, type=L' |
		chroot /run/system /sbin/sfdisk -q --wipe always "$DISK" || install_failed "cannot partition $DISK"
	wait_for test -b "${DISK}3" || install_failed "the kernel does not see ${DISK}3"
	chroot /run/system /sbin/mke2fs -q -F -t ext4 -b 4096 -i 16384 -L tiny-root -E lazy_itable_init=0,lazy_journal_init=0 -J size=4 \
		"${DISK}3" || install_failed "cannot make a file system on ${DISK}3"
	umount /run/system/dev
}

install_system() {
	mount -t ext4 "${DISK}3" /root || install_failed "cannot mount ${DISK}3"
	cp -a /run/system/. /root/ && cp /cd/vmlinuz /cd/initrd.gz /root/boot/ || install_failed "cannot copy the system to ${DISK}3"
	sed -i "s|@KERNEL_ARGS@|$KERNEL_ARGS|" /root/boot/grub/grub.cfg
	echo "$HOSTNAME" >/root/etc/hostname
	echo "$key" >/root/root/.ssh/authorized_keys
	chmod 600 /root/root/.ssh/authorized_keys
	umount /root /run/system
}

install_boot_loader() {
	dd if=/cd/core.img of="${DISK}1" bs=64k 2>/dev/null && dd if=/cd/esp.img of="${DISK}2" bs=64k 2>/dev/null &&
		dd if=/cd/boot.img of="$DISK" bs=440 count=1 conv=notrunc 2>/dev/null || install_failed "cannot write the boot loader"
	sync
}

install_network
install_answers
install_partitions
install_system
install_boot_loader
umount /cd
echo "tiny: installed on $DISK after $(cut -d' ' -f1 /proc/uptime) s"
