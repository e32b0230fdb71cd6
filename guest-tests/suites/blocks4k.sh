# 4096-byte blocks, capacity equal to size, no conventional zones, no limits.
# shellcheck shell=bash disable=SC2034
make_zoned mvzoned size=128 blocksize=4096 && disks=(/dev/mvzoned) && boot_guest geometry,operations,pointer,depth
