# Linux shows a host-aware disk as an ordinary one; its zones are written in any order.
# shellcheck shell=dash disable=SC2154
serial=$under_test
disk=$(disk_with_serial "$serial")
expect is-not-zoned none "$(cat "/sys/block/${disk#/dev/}/queue/zoned" 2>&1)"
expect size "$(host size "$serial")" "$(cat "/sys/block/${disk#/dev/}/size" 2>&1)"
modprobe ext4
check mkfs mkfs.ext4 -q -F "$disk"
check mount mount -t ext4 "$disk" /mnt
dd if=/dev/urandom of=/mnt/a bs=64k count=40 2>/dev/null
(cd /mnt && sha256sum a >/tmp/sums)
check unmount umount /mnt
check e2fsck e2fsck -f -n "$disk"
check remount mount -t ext4 "$disk" /mnt
check compare-after-remount sh -c 'cd /mnt && sha256sum -c -s /tmp/sums'
umount /mnt
