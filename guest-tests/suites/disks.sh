# Several disks at once: zoned, a plain file with ext4, a read-only file.
# shellcheck shell=bash disable=SC2034,SC2154
make_zoned mvzoned size=64 && {
  truncate -s 24M "$work/plain.img"
  dd if=/dev/urandom of="$work/locked.img" bs=64k count=16 status=none
  disks=("$work/plain.img" /dev/mvzoned "$work/locked.img,read-only=on")
  host_file_sectors() { echo $(($(stat -c %s "$work/$1") / 512)); }
  host_file_bytes() { md5sum <"$work/$1" | cut -d ' ' -f 1; }
  boot_guest ordinary
}
