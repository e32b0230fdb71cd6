# What tools/demo shows: boot, a walk through the life of a zone, and the same disk after a reboot.
# Needs only KVM.
# shellcheck shell=bash disable=SC2034,SC2154
have_images && make_image disk 64M zone.size=4M zone.capacity=3M zone.conventional_zones=2 zone.max_open_zones=4 \
  zone.max_active_zones=6 && {
  boot=first kernel_log=6 boot_guest walk@disk.zbd,leave@disk.zbd 0 minivmm.exit=poweroff
  note "the disk is a file; minivmm-img report, after the guest has powered off:"
  "$RIG_IMG" report "$work/disk.zbd" | head -n 8 | sed 's/^/#   /'
  image_holds_what_was_left disk
  image_is_sound disk
  boot=second boot_guest keep@disk.zbd
}
