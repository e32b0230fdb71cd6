# Processors, PCI, MSI-X, memory above 4 GiB, a bzImage, and each way for a guest to end.
# shellcheck shell=bash disable=SC2034,SC2054,SC2154
make_zoned mvzoned size=64 && {
  disks=(/dev/mvzoned)
  boot=one smp=1 boot_guest machine 43 minivmm.value=21
  disks=(/dev/mvzoned,num-queues=2)
  boot=two smp=2 boot_guest machine,queues 0 minivmm.processors=2 minivmm.queues=2 minivmm.exit=poweroff
  disks=(/dev/mvzoned,num-queues=4)
  boot=four smp=4 boot_guest machine,queues 0 minivmm.processors=4 minivmm.queues=4 minivmm.exit=reboot
  disks=(/dev/mvzoned)
  if [[ $RIG_VMM_KIND == minivmm ]]; then
    # This kernel argument makes it reset the machine by dying of a triple fault.
    boot=triple-fault
    boot_guest "" 1 minivmm.exit=reboot reboot=t
    if grep -q "triple fault" "$console" && grep -q "rip=" "$console"; then
      ok dies-with-registers
    else
      not_ok dies-with-registers "the VMM did not say 'triple fault' and the registers; last line: $(tail -n 1 "$console")"
    fi
  fi
  boot=5g memory=5120 boot_guest memory
  boot=bzimage kernel=$RIG_BZIMAGE time_limit=240 boot_guest geometry
}
