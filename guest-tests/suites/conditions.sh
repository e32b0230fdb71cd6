# Zones set read-only and offline on the host, before the guest starts and while it runs.
# shellcheck shell=bash disable=SC2034
make_zoned mvzoned size=64 zone_nr_conv=1 zone_max_open=6 && {
  host_spoil mvzoned readonly $((2 * 8192)) >/dev/null
  host_spoil mvzoned offline $((3 * 8192)) >/dev/null
  disks=(/dev/mvzoned)
  boot_guest conditions,spoil
}
