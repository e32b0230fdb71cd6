# btrfs in zoned mode with native zone appends, on two processors.
# shellcheck shell=bash disable=SC2034
make_zoned mvzoned size=512 zone_max_open=24 zone_max_active=32 && disks=(/dev/mvzoned) && smp=2 && memory=768 &&
  time_limit=240 && boot_guest btrfs
