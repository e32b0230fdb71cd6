# Ordinary disks beside the zoned one: a plain file that carries ext4, and a read-only one.
# shellcheck shell=dash disable=SC2154
plain=$(disk_with_serial plain.img)
locked=$(disk_with_serial locked.img)
# bytes_of DISK: digest of all of it, read directly.
bytes_of() { dd if="$1" bs=64k iflag=direct status=none | md5sum | cut -d ' ' -f 1; }

expect plain-is-not-zoned none "$(cat "/sys/block/${plain#/dev/}/queue/zoned" 2>&1)"
expect plain-size "$(host file_sectors plain.img)" "$(cat "/sys/block/${plain#/dev/}/size" 2>&1)"

modprobe ext4
check mkfs mkfs.ext4 -q -F "$plain"
check mount mount -t ext4 "$plain" /mnt
dd if=/dev/urandom of=/mnt/a bs=64k count=40 2>/dev/null
dd if=/dev/urandom of=/mnt/b bs=1000 count=333 2>/dev/null
(cd /mnt && sha256sum a b >/tmp/sums)
check unmount umount /mnt
check e2fsck e2fsck -f -n "$plain"
check remount mount -t ext4 "$plain" /mnt
check compare-after-remount sh -c 'cd /mnt && sha256sum -c -s /tmp/sums'
umount /mnt
expect same-bytes-on-host "$(host file_bytes plain.img)" "$(bytes_of "$plain")"

expect read-only-flag 1 "$(cat "/sys/block/${locked#/dev/}/ro" 2>&1)"
expect read-only-content "$(host file_bytes locked.img)" "$(bytes_of "$locked")"
expect_error read-only-write "Operation not permitted" dd if=/dev/zero of="$locked" bs=4k count=1 oflag=direct

use_zoned_disk mvzoned || exit
check zoned-beside-plain put 0 0 64
check zoned-beside-plain-reads-back holds_what_was_put 0 0 64
