# Memory above 4 GiB is there, is used, and is reached by the disk.
# shellcheck shell=dash disable=SC2154
total=$(awk '/MemTotal/ { print int($2 / 1024) }' /proc/meminfo)
if [ "$total" -gt 4500 ]; then ok memory-size; else not_ok memory-size "$total MiB of 5120"; fi
check memory-above-4g grep -Eqi '^1[0-9a-f]{8}-.* System RAM' /proc/iomem
use_zoned_disk mvzoned || exit
check write put 0 0 256
check reads-back holds_what_was_put 0 0 256
