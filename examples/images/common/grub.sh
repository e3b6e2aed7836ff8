# GRUB for both firmwares on one GPT disk, without root, loop devices or grub-install. Sourced by the source.sh of the images beside it.
#
# Both need only files: GRUB's core goes into a BIOS boot partition at a fixed sector, and BOOTX64.EFI into a FAT image that becomes
# the EFI system partition. Each core finds the file system labelled LABEL and runs its /boot/grub/grub.cfg.

# grub_load LABEL: the script that is embedded into a core
grub_load() {
	printf 'search.fs_label %s root\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n' "$1"
}

# poke FILE OFFSET HEX...: overwrites bytes of FILE
poke() {
	local file=$1 offset=$2
	shift 2
	printf "$(printf '\\x%s' "$@")" | dd of="$file" bs=1 seek="$offset" conv=notrunc status=none
}

# le NUMBER BYTES: NUMBER as little endian hex bytes
le() {
	local n=$1 i
	for ((i = 0; i < $2; i++)); do
		printf '%02x ' $((n & 255))
		n=$((n >> 8))
	done
}

# grub_bios DIR LABEL SECTOR [GRUBDIR]: writes DIR/boot.img (the first 440 bytes of the disk) and DIR/core.img, which has to be stored at
# SECTOR. This is what grub-bios-setup does on a device: boot.img learns where the core starts, and the core's first sector where
# its other sectors are.
grub_bios() {
	local dir=$1 label=$2 sector=$3 grub=${4:-/usr/lib/grub} size
	grub_load "$label" >"$dir/load.cfg"
	grub-mkimage -d "$grub/i386-pc" -O i386-pc -o "$dir/core.img" -c "$dir/load.cfg" -p /boot/grub \
		biosdisk part_gpt ext2 search search_label configfile normal linux linux16 serial terminal echo test reboot halt
	rm "$dir/load.cfg"
	size=$(stat -c %s "$dir/core.img")
	truncate -s $(((size + 511) / 512 * 512)) "$dir/core.img"
	# the block list entry at the end of the first sector: start, number of sectors, segment to load to
	poke "$dir/core.img" $((0x1f4)) $(le $((sector + 1)) 8) $(le $(((size + 511) / 512 - 1)) 2) $(le $((0x820)) 2)
	head -c 440 "$grub/i386-pc/boot.img" >"$dir/boot.img"
	poke "$dir/boot.img" $((0x5c)) $(le "$sector" 8)
	poke "$dir/boot.img" $((0x64)) ff       # the disk that the BIOS booted from
	poke "$dir/boot.img" $((0x66)) 90 90    # trust the BIOS' drive number: the check is for floppies
}

# grub_esp FILE LABEL MIB SERIAL [GRUBDIR]: writes a FAT file system with EFI/BOOT/BOOTX64.EFI
grub_esp() {
	local file=$1 label=$2 mib=$3 serial=$4 grub=${5:-/usr/lib/grub}
	grub_load "$label" >"$file.cfg"
	grub-mkimage -d "$grub/x86_64-efi" -O x86_64-efi -o "$file.efi" -c "$file.cfg" -p /boot/grub \
		part_gpt fat ext2 search search_label configfile normal linux linux16 serial terminal echo test efi_gop reboot halt
	touch -d "@$SOURCE_DATE_EPOCH" "$file.efi"
	rm -f "$file"
	truncate -s "${mib}M" "$file"
	mformat -i "$file" -T $((mib * 2048)) -h 64 -s 32 -N "$serial" -v ESP ::
	mmd -i "$file" ::/EFI ::/EFI/BOOT
	mcopy -m -i "$file" "$file.efi" ::/EFI/BOOT/BOOTX64.EFI
	rm "$file.cfg" "$file.efi"
}
