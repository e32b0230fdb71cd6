# Zoned disks in files: all the cases of null_blk's, host-aware, and what another boot finds.
# Needs only KVM.
# shellcheck shell=bash disable=SC2034,SC2154
have_images && {
  cases=''
  # As in suites limits and blocks4k.
  make_image limits 128M zone.size=4M zone.capacity=3M zone.conventional_zones=4 zone.max_open_zones=5 \
    zone.max_active_zones=7 && cases_on limits geometry operations pointer limits depth leave
  make_image blocks4k 128M zone.size=4M logical_block_size=4096 && cases_on blocks4k geometry operations pointer depth leave
  boot=first time_limit=300 boot_guest "$cases" 0 minivmm.exit=poweroff minivmm.megabytes=8
  for image in limits blocks4k; do
    image_is_sound "$image"
    image_holds_what_was_left "$image"
  done

  cases=''
  cases_on limits keep
  cases_on blocks4k keep
  make_image aware 64M zone.mode=host-aware zone.size=4M && cases_on aware aware
  make_image btrfs 512M zone.size=4M zone.max_open_zones=24 zone.max_active_zones=32 && cases_on btrfs btrfs
  boot=second smp=2 memory=768 time_limit=300 boot_guest "$cases"
  for image in limits blocks4k aware btrfs; do image_is_sound "$image"; done
  preferred=$("$RIG_IMG" report "$work/aware.zbd" | grep -c 'SEQ_WRITE_PREFERRED')
  if [[ $preferred == 16 ]]; then
    ok aware.zbd/report
  else
    not_ok aware.zbd/report "$preferred of 16 zones are SEQ_WRITE_PREFERRED"
  fi
}
