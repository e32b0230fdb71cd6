# scsi_debug as the host's zoned disk: ZBC, with its own errors and its laxer CLOSE.
# shellcheck shell=bash disable=SC2034,SC2154
modprobe sd_mod
modprobe scsi_debug zbc=host-managed zone_size_mb=4 zone_nr_conv=2 zone_max_open=8 dev_size_mb=96 sector_size=512
scsi=
for _ in {1..100}; do
  for entry in /sys/bus/pseudo/drivers/scsi_debug/adapter0/host*/target*/*/block/*; do
    if [[ -b /dev/${entry##*/} ]]; then scsi=${entry##*/}; fi
  done
  if [[ -n $scsi ]]; then break; fi
  sleep 0.1
done
if [[ -z $scsi ]]; then
  not_ok scsi-debug "scsi_debug made no disk"
else
  # The cases know their disk by one name; here it is another name for the SCSI disk.
  ln -sf "$scsi" /dev/mvzoned
  disks=(/dev/mvzoned)
  boot_guest geometry,operations,pointer,depth 1 minivmm.megabytes=8
  if have_bare_metal; then
    boot=scsi_debug
    run_bare_metal
    boot=scsi_debug-packed
    run_bare_metal --packed --only B-,Z-
  fi
  rm /dev/mvzoned
fi
modprobe -r scsi_debug
