# What tools/demo shows: the guest's boot and a walk through the life of a zone.
# shellcheck shell=bash disable=SC2034
make_zoned mvzoned size=64 zone_capacity=3 zone_nr_conv=2 zone_max_open=4 zone_max_active=6 && disks=(/dev/mvzoned) &&
  kernel_log=6 && boot_guest walk
