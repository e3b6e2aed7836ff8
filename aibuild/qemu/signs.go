package qemu

import (
	"bytes"
	"regexp"
)

// Kinds of faults. KernelPanic to InstallerFailed are read from the console,
// some of them also from QEMU; the rest only QEMU can tell.
const (
	KernelPanic     = "kernel-panic"     // also: no root file system, init killed
	NoBootloader    = "no-bootloader"    // the firmware found nothing to start
	BootloaderError = "bootloader-error" // GRUB's rescue shell, extlinux without its files
	EmergencyShell  = "emergency-shell"  // systemd's emergency or rescue mode
	InitramfsShell  = "initramfs-shell"  // the root file system never came
	InstallerFailed = "installer-failed" // only with InstallerSigns
	BootLoop        = "boot-loop"        // more reboots than allowed
	GuestOff        = "guest-off"        // the guest switched itself off
	QEMUDied        = "qemu-died"        // the emulator ended, nobody asked it to
)

// Sign is a piece of console text that means something. A line shows the sign
// when it holds Text and, if Pattern is set, matches that too.
type Sign struct {
	Kind    string
	Text    string         // empty: any line
	Pattern *regexp.Regexp // nil: Text is enough
	Warning bool           // listed by Warnings, never sent to Faults

	// text is Text ready for searching; unsure signs count only if firmware
	// or boot loader do not go on after them.
	text   []byte
	unsure bool
}

func (s *Sign) shows(line []byte) bool {
	return bytes.Contains(line, s.text) && (s.Pattern == nil || s.Pattern.Match(line))
}

func prepare(signs []Sign) []Sign {
	out := make([]Sign, len(signs))
	for i, s := range signs {
		s.text = []byte(s.Text)
		out[i] = s
	}
	return out
}

// bootGoesOn takes an unsure sign back: OVMF tries its next boot option, GRUB
// goes on after an error in its configuration.
var bootGoesOn = [][]byte{
	[]byte("BdsDxe: loading"), []byte("BdsDxe: starting"), []byte("Loading "), []byte("Booting "),
	[]byte("Welcome to GRUB"), []byte("EFI stub:"), []byte("Linux version"), []byte("Command line:"),
}

// guestSigns are looked for on every console. The texts are those of Linux,
// systemd, dracut, initramfs-tools, GRUB, SYSLINUX, SeaBIOS and EDK II.
func guestSigns() []Sign {
	prompt := regexp.MustCompile(`^\s*(\(initramfs\)|dracut:/#)`)
	return []Sign{
		{Kind: KernelPanic, Text: "Kernel panic - not syncing"},
		{Kind: KernelPanic, Text: "VFS: Unable to mount root"},
		{Kind: KernelPanic, Text: "end Kernel panic"},

		{Kind: InitramfsShell, Text: "(initramfs)", Pattern: prompt},
		{Kind: InitramfsShell, Text: "Dropping to a shell!"},
		{Kind: InitramfsShell, Text: "dracut:/#", Pattern: prompt},
		{Kind: InitramfsShell, Text: "dracut: FATAL:"},
		{Kind: InitramfsShell, Text: "dracut Warning: Could not boot"},
		{Kind: InitramfsShell, Text: "dracut-initqueue", Pattern: regexp.MustCompile(`Warning: Could not boot`)},
		{Kind: InitramfsShell, Text: "Entering emergency mode. Exit the shell to continue"},

		{Kind: EmergencyShell, Text: "You are in emergency mode"},
		{Kind: EmergencyShell, Text: "You are in rescue mode"},
		{Kind: EmergencyShell, Text: "Give root password for maintenance"},
		{Kind: EmergencyShell, Text: "Press Enter for maintenance"},
		{Kind: EmergencyShell, Text: "Cannot open access to console, the root account is locked"},
		{Kind: EmergencyShell, Text: "Reached target", Pattern: regexp.MustCompile(`(?i)reached target (\S*emergency\.target|(\S+ - )?emergency mode)`)},

		{Kind: BootloaderError, Text: "grub rescue>"},
		{Kind: BootloaderError, Text: "Entering rescue mode..."},
		{Kind: BootloaderError, Text: "error: no such device", unsure: true},
		{Kind: BootloaderError, Text: "error: no such partition", unsure: true},
		{Kind: BootloaderError, Text: "error: unknown filesystem", unsure: true},
		{Kind: BootloaderError, Text: "error: you need to load the kernel first"},
		{Kind: BootloaderError, Text: "No DEFAULT or UI configuration directive found!"},
		{Kind: BootloaderError, Text: "Failed to load ldlinux.c32"},
		{Kind: BootloaderError, Text: "Failed to load COM32 file"},

		{Kind: NoBootloader, Text: "BdsDxe: No bootable option or device was found"},
		{Kind: NoBootloader, Text: "BdsDxe: failed to load Boot", unsure: true},
		{Kind: NoBootloader, Text: `"EFI Internal Shell"`},
		{Kind: NoBootloader, Text: "No bootable device."},
		{Kind: NoBootloader, Text: "Missing operating system"},
		{Kind: NoBootloader, Text: "Operating system not found"},

		{Kind: "soft-lockup", Text: "soft lockup - CPU#", Warning: true},
		{Kind: "hung-task", Text: "blocked for more than", Pattern: regexp.MustCompile(`INFO: task \S+ blocked`), Warning: true},
		{Kind: "rcu-stall", Text: "rcu_sched self-detected stall", Warning: true},
		{Kind: "kernel-oops", Text: "Oops: ", Warning: true},
		{Kind: "kernel-bug", Text: "kernel BUG at ", Warning: true},
		{Kind: "out-of-memory", Text: "Out of memory: Killed process", Warning: true},
	}
}

// InstallerSigns are the lines with which unattended installers give up. They
// are for builds, where a person's case cannot print them on purpose:
// NewConsole(InstallerSigns()...). Besides those of debian-installer, Subiquity
// and Anaconda, any word that ends in -INSTALL-FAILED counts, and so does the
// kernel killing for want of memory.
func InstallerSigns() []Sign {
	return []Sign{
		{Kind: InstallerFailed, Text: "-INSTALL-FAILED"},
		{Kind: InstallerFailed, Text: "Out of memory: Killed process"},
		{Kind: InstallerFailed, Text: "An installation step failed"},
		{Kind: InstallerFailed, Text: "Installation step failed"},
		{Kind: InstallerFailed, Text: "The installer failed to download a file from the mirror"},
		{Kind: InstallerFailed, Text: "Failed to retrieve the preconfiguration file"},
		{Kind: InstallerFailed, Text: "Failed to process the preconfiguration file"},
		{Kind: InstallerFailed, Text: "Bad archive mirror"},
		{Kind: InstallerFailed, Text: "No kernel modules were found"},
		{Kind: InstallerFailed, Text: "Debootstrap Error"},
		{Kind: InstallerFailed, Text: "Unable to install GRUB in"},
		{Kind: InstallerFailed, Text: "GRUB installation failed"},
		{Kind: InstallerFailed, Text: "Network autoconfiguration failed"},
		{Kind: InstallerFailed, Text: "Partitioning error"},
		{Kind: InstallerFailed, Text: "An error occurred. Press enter to start a shell"},
		{Kind: InstallerFailed, Text: "Error in kickstart file"},
		{Kind: InstallerFailed, Text: "The following error occurred while parsing the kickstart"},
		{Kind: InstallerFailed, Text: "anaconda", Pattern: regexp.MustCompile(`(?i)an unknown error has occurred`)},
	}
}
