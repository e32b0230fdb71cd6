# Zoned disks in files, seven more geometries at once, one with bad zones, over two boots.
# Needs only KVM.
# shellcheck shell=bash disable=SC2034,SC2154
have_images && {
  cases=''
  # As in suite short-last.
  make_image short 126M zone.size=4M zone.conventional_zones=2 zone.max_open_zones=8 && cases_on short geometry operations leave
  make_image open-is-active 64M zone.size=4M zone.capacity=2M zone.conventional_zones=1 zone.max_open_zones=6 \
    zone.max_active_zones=6 logical_block_size=4096 && cases_on open-is-active geometry pointer leave
  make_image mostly-random 32M zone.size=2M zone.conventional_zones=75% && cases_on mostly-random geometry operations leave
  make_image small-zones 48M zone.size=512k zone.max_open_zones=14 zone.max_active_zones=14 &&
    cases_on small-zones geometry operations leave
  make_image granular 64M zone.size=4M physical_block_size=4096 && cases_on granular geometry pointer leave
  make_image large-zones 8G zone.size=256M zone.capacity=200M zone.conventional_zones=1% &&
    cases_on large-zones geometry pointer leave
  images=(short open-is-active mostly-random small-zones granular large-zones)
  boot=first time_limit=300 boot_guest "$cases" 0 minivmm.exit=poweroff
  for image in "${images[@]}"; do
    image_is_sound "$image"
    image_holds_what_was_left "$image"
  done

  cases=''
  for image in "${images[@]}"; do cases_on "$image" keep; done
  # As in suite conditions.
  make_image bad-zones 64M zone.size=4M zone.conventional_zones=1 zone.max_open_zones=6 && {
    "$RIG_IMG" set-zone "$work/bad-zones.zbd" 2 read-only >/dev/null || not_ok set-zone "not read-only"
    "$RIG_IMG" set-zone "$work/bad-zones.zbd" 3 offline >/dev/null || not_ok set-zone "not offline"
    cases_on bad-zones conditions
  }
  boot=second time_limit=300 boot_guest "$cases"
  for image in "${images[@]}" bad-zones; do image_is_sound "$image"; done
}
