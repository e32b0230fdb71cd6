# scsi_debug as the host's disk: a zoned one (ZBC), with its own errors and its laxer CLOSE, and an ordinary one with large blocks, which
# discards and zeroes.
# shellcheck shell=bash disable=SC2034,SC2154
modprobe sd_mod

# find_scsi: the cases know their disk by one name; here it is another name for the SCSI disk.
find_scsi() {
  local entry name
  for _ in {1..100}; do
    for entry in /sys/bus/pseudo/drivers/scsi_debug/adapter0/host*/target*/*/block/*; do
      name=${entry##*/}
      if [[ -b /dev/$name ]]; then
        ln -sf "$name" /dev/mvzoned
        return
      fi
    done
    sleep 0.1
  done
  not_ok scsi-debug "scsi_debug made no disk"
  return 1
}

modprobe scsi_debug zbc=host-managed zone_size_mb=4 zone_nr_conv=2 zone_max_open=8 dev_size_mb=96 sector_size=512
if find_scsi; then
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

modprobe scsi_debug sector_size=4096 lbpws=1 lbprz=1 dev_size_mb=96
if find_scsi; then
  if have_bare_metal; then
    boot=scsi_debug-ordinary
    run_bare_metal
  fi
  rm /dev/mvzoned
fi
modprobe -r scsi_debug
