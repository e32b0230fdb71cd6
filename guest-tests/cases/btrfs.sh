# btrfs in zoned mode, Linux's one user of native zone append on such a disk: files, checksums,
# check, and again after remount.
# shellcheck shell=dash disable=SC2154
use_zoned_disk mvzoned || exit
modprobe btrfs

# The kernel's tracer has no letter of its own for an append: N with sectors is one.
trace=/sys/kernel/tracing
mount -t tracefs tracefs $trace
echo 'rwbs ~ "N*" && nr_sector > 0' >$trace/events/block/block_rq_issue/filter
echo 1 >$trace/events/block/block_rq_issue/enable
check mkfs mkfs.btrfs -q -K -O zoned -d single -m single "$disk"
check mount mount -t btrfs "$disk" /mnt
i=0
while [ "$i" -lt 6 ]; do
  dd if=/dev/urandom of="/mnt/file$i" bs=64k count=$((i * 8 + 1)) 2>/dev/null
  i=$((i + 1))
done
dd if=/dev/urandom of=/tmp/pieces bs=4k count=64 2>/dev/null
i=0
while [ "$i" -lt 64 ]; do
  dd if=/tmp/pieces of=/mnt/pieces bs=4k skip="$i" seek="$i" count=1 conv=notrunc 2>/dev/null
  i=$((i + 16))
  sync
done
cp /tmp/pieces /mnt/whole
rm /mnt/file3
(cd /mnt && sha256sum -- * >/tmp/sums)
check sync sync
check scrub-free-read sh -c 'echo 3 >/proc/sys/vm/drop_caches; cd /mnt && sha256sum -c -s /tmp/sums'
check unmount umount /mnt
check btrfs-check btrfs check "$disk"
same_report report-after-btrfs
check remount mount -t btrfs "$disk" /mnt
check compare-after-remount sh -c 'cd /mnt && sha256sum -c -s /tmp/sums'
expect kernel-errors 0 "$(dmesg | grep -c -e 'BTRFS error' -e 'BTRFS critical' -e 'I/O error')"
check unmount-again umount /mnt
check appended grep -q 'block_rq_issue: .* N' $trace/trace
