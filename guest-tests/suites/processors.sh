# A guest with the largest number of processors.
# shellcheck shell=bash disable=SC2034,SC2054,SC2154
make_zoned mvzoned size=64 && {
  disks=(/dev/mvzoned,num-queues=16)
  boot=sixteen smp=16 memory=1024 time_limit=500 boot_guest machine,queues 0 minivmm.processors=16 minivmm.queues=16 minivmm.exit=poweroff
}
