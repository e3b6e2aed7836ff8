#!/bin/sh
# Process 1 of the test guest: a small but whole cloud guest in its initramfs.
# t.mode= on the kernel's command line makes it a broken one.
/bin/busybox mkdir -p /proc /sys /dev /run /tmp /usr/bin /usr/sbin
/bin/busybox --install -s
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc p /proc
mount -t sysfs s /sys
mount -t devtmpfs d /dev
chmod 1777 /tmp
mkdir -p /dev/pts /dev/shm
mount -t devpts d /dev/pts
exec </dev/console >/dev/console 2>&1
mode=$(sed -n 's/.*t\.mode=\([a-z]*\).*/\1/p' /proc/cmdline)
[ "$mode" = emergency ] && { PS1='(initramfs) ' setsid sh -c 'exec sh -i </dev/ttyS0 >/dev/ttyS0 2>&1'; sleep 1000; }
[ "$mode" = reboot ] && reboot -f
[ "$mode" = off ] && { echo "guest switches itself off"; sleep 1; poweroff -f; }
[ "$mode" = spin ] && while :; do :; done
for m in /lib/mod/*.ko; do insmod "$m"; done

ifconfig lo 127.0.0.1
ifconfig eth0 up
udhcpc -q -n -t 20 -T 1 -i eth0 -s /sbin/udhcpc.script >/dev/null

# The seed: NoCloud or config drive, on whichever disk carries the label.
for i in 1 2 3 4 5 6 7 8 9 10; do
	for d in /dev/vd? /dev/sd?; do
		case $(dd if=$d bs=1 skip=32808 count=8 2>/dev/null) in cidata* | config-2) seed=$d ;; esac
	done
	[ -n "$seed" ] && break
	usleep 200000
done
mkdir -p /run/seed /home/tester/.ssh /root/.ssh
mount -t iso9660 -o ro "$seed" /run/seed
key=$(cat /run/seed/meta-data /run/seed/openstack/latest/meta_data.json 2>/dev/null | grep -oE 'ssh-ed25519 [A-Za-z0-9+/=]+' | head -n 1)
name=$(sed -n 's/^local-hostname: *"\{0,1\}\([a-z0-9-]*\).*/\1/p' /run/seed/meta-data 2>/dev/null)
[ -n "$name" ] || name=$(grep -oE '"hostname": *"[^"]*"' /run/seed/openstack/latest/meta_data.json | cut -d'"' -f4)
umount /run/seed
hostname "$name"
[ "$mode" = nokey ] || for home in /root /home/tester; do echo "$key" >>$home/.ssh/authorized_keys; done
chown -R 1000:1000 /home/tester
chmod 700 /home/tester /home/tester/.ssh /root /root/.ssh
[ -s /etc/machine-id ] || tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id

mkdir -p /etc/dropbear
for t in ed25519 ecdsa; do
	[ -s /etc/dropbear/$t ] || dropbearkey -t $t -f /etc/dropbear/$t >/dev/null
done
case $mode in
nosshd) echo "no sshd here" ;;
sshhang) printf '#!/bin/sh\nprintf "SSH-2.0-hangs\\r\\n"\nsleep 1000\n' >/run/hang; chmod +x /run/hang; nc -ll -p 22 -e /run/hang & ;;
*) dropbear -r /etc/dropbear/ed25519 -r /etc/dropbear/ecdsa -p 22 && echo "test guest ready" ;;
esac
while :; do sleep 1000; done
