# Leaves zones in several conditions behind, and their data; keep.sh looks for them after another
# boot.
# shellcheck shell=dash disable=SC2154
use_zoned_disk mvzoned || exit

blkzone reset "$disk"
check leave-closed put_known 0 0 128
zone_op close 0
check leave-full put_known 1 0 64
zone_op finish 1
check leave-open put_known 2 0 8
zone_op open 2
check leave-open-without-data zone_op open 3
if [ "$conventional" -gt 0 ]; then check leave-conventional put_known -1 16 8; fi
check leave-flush flush
zone_table "$disk" | as_outside | sed "s/^/@left $serial /"
