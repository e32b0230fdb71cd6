# What the guest's cases share: results, questions to the machine outside, and the disk under test.
# Sourced by init.
# shellcheck shell=dash disable=SC2034
# shellcheck source=guest-tests/cases/zones.sh
. /cases/zones.sh

ok() { echo "ok ${under_test:+$under_test/}$1"; }
skip() { echo "skip ${under_test:+$under_test/}$1: $2"; }
not_ok() {
  : >/run/failed
  echo "not ok ${under_test:+$under_test/}$1: $2"
}

# one_line: the last line of a command's output, for the reason of a failure.
one_line() { tail -n 1 | tr -d '\r'; }

# check NAME COMMAND...: passes when the command succeeds.
check() {
  check_name=$1
  shift
  if "$@" >/tmp/check.out 2>&1; then ok "$check_name"; else not_ok "$check_name" "$* -> $(one_line </tmp/check.out)"; fi
}

# expect_error NAME TEXT COMMAND...: passes when the command fails and says TEXT.
expect_error() {
  check_name=$1 expected=$2
  shift 2
  if "$@" >/tmp/check.out 2>&1; then
    not_ok "$check_name" "$* succeeded; expected '$expected'"
  elif grep -qF "$expected" /tmp/check.out; then
    ok "$check_name"
  else
    not_ok "$check_name" "$* -> $(one_line </tmp/check.out); expected '$expected'"
  fi
}

# expect NAME EXPECTED ACTUAL: passes when both are the same text.
expect() {
  if [ "$2" = "$3" ]; then ok "$1"; else not_ok "$1" "expected '$2', got '$3'"; fi
}

# host WORDS...: asks the machine outside to do something and prints its one-line answer. The serial
# console carries both.
host() {
  echo "@host $*" >/dev/console
  # shellcheck disable=SC3045 # busybox has it
  if read -r -t 100 answer </dev/console; then echo "$answer"; else echo "no answer from outside"; fi
}

# disk_with_serial SERIAL: its device node. The machine outside gives each disk its own node's name
# as serial number.
disk_with_serial() {
  for entry in /sys/block/vd*; do
    if [ "$(cat "$entry/serial")" = "$1" ]; then
      echo "/dev/${entry##*/}"
      return
    fi
  done
  echo /dev/missing
}

# serial_of DEVICE
serial_of() { cat "/sys/block/${1#/dev/}/serial"; }

# use_zoned_disk SERIAL: sets the variables that the zone cases work with, in sectors. A case that
# was named with a disk, CASE@SERIAL, works on that one instead.
use_zoned_disk() {
  serial=${under_test:-$1}
  disk=$(disk_with_serial "$serial")
  queue=/sys/block/${disk#/dev/}/queue
  if [ "$(cat "$queue/zoned" 2>&1)" != host-managed ]; then
    not_ok "$serial" "the guest has no host-managed disk with this serial number"
    return 1
  fi
  zone_sectors=$(cat "$queue/chunk_sectors")
  zone_count=$(cat "$queue/nr_zones")
  block_bytes=$(cat "$queue/logical_block_size")
  max_open=$(cat "$queue/max_open_zones")
  max_active=$(cat "$queue/max_active_zones")
  disk_sectors=$(cat "/sys/block/${disk#/dev/}/size")
  conventional=$(zone_table "$disk" | grep -c ' nw 1$')
  capacity_sectors=$(($(zone_table "$disk" $((conventional * zone_sectors)) 1 | cut -d ' ' -f 3)))
}

# zone_start INDEX: first sector of a sequential zone, counted from the first one.
zone_start() { echo $((($1 + conventional) * zone_sectors)); }

# zone_condition INDEX: as the guest sees it.
zone_condition() { zone_state "$disk" "$(zone_start "$1")" | cut -d ' ' -f 1; }

# zone_op OPERATION INDEX: open, close, finish or reset of one sequential zone.
zone_op() { blkzone "$1" -o "$(zone_start "$2")" -c 1 "$disk"; }

# put INDEX OFFSET_SECTORS SECTORS: writes random data into a sequential zone with one direct write.
put() {
  dd if=/dev/urandom of=/tmp/put bs=512 count="$3" status=none
  dd if=/tmp/put of="$disk" bs=$(($3 * 512)) count=1 seek=$((($(zone_start "$1") + $2) * 512)) \
    oflag=direct,seek_bytes conv=notrunc status=none
}

# get INDEX OFFSET_SECTORS SECTORS: reads directly, to standard output.
get() {
  dd if="$disk" bs=$(($3 * 512)) count=1 skip=$((($(zone_start "$1") + $2) * 512)) iflag=direct,skip_bytes status=none
}

# holds_what_was_put INDEX OFFSET_SECTORS SECTORS: the zone holds what the last put wrote.
holds_what_was_put() { get "$@" | cmp - /tmp/put; }

# resync INDEX: a report makes the guest's kernel forget a failed write to the zone; until then it
# refuses all writes to it.
resync() { zone_table "$disk" "$(zone_start "$1")" 1 >/dev/null; }

# put_known INDEX OFFSET_SECTORS SECTORS: like put, but data that a later boot can tell.
put_known() {
  known_data "$1" "$3" >/tmp/put
  dd if=/tmp/put of="$disk" bs=$(($3 * 512)) count=1 seek=$((($(zone_start "$1") + $2) * 512)) \
    oflag=direct,seek_bytes conv=notrunc status=none
}

# known_data INDEX SECTORS: numbers; other ones for each zone.
known_data() { seq $((($1 + 100) * 1000000)) 2000000000 2>/dev/null | head -c $(($2 * 512)); }

# holds_known_data INDEX OFFSET_SECTORS SECTORS
holds_known_data() {
  known_data "$1" "$3" >/tmp/put
  holds_what_was_put "$@"
}

# as_outside: filters zone lines and states so that they read as the machine outside sees the disk.
# Of an image that a guest uses it sees what a power cut at this moment would leave: what was
# flushed, with open zones closed.
as_outside() {
  case $serial in
    *.zbd)
      sed -e 's/ 0x000000 o[ie] / 0x000000 em /' -e 's/ o[ie] / cl /' \
        -e 's/^o[ie] 0x000000$/em 0x000000/' -e 's/^o[ie] /cl /'
      ;;
    *) cat ;;
  esac
}

# flush: brings to stable storage what the disk has taken.
flush() { dd if=/dev/null of="$disk" conv=notrunc,fsync status=none; }

# expect_zone NAME INDEX STATE: the zone's condition and write pointer are STATE, in the guest and
# on the host.
expect_zone() {
  inside=$(zone_state "$disk" "$(zone_start "$2")")
  flush
  outside=$(host zone_state "$serial" "$(zone_start "$2")")
  if [ "$inside" = "$3" ] && [ "$outside" = "$(echo "$3" | as_outside)" ]; then
    ok "$1"
  else
    not_ok "$1" "expected zone state '$3', the guest sees '$inside', the host '$outside'"
  fi
}

# same_report NAME: guest and host report the same zones. Only a digest travels; the tables follow
# if they differ.
same_report() {
  flush
  zone_table "$disk" | as_outside >/tmp/zones
  answer=$(host same_zones "$serial" "$(md5sum </tmp/zones | cut -d ' ' -f 1)")
  if [ "$answer" = same ]; then
    ok "$1"
    return
  fi
  sed 's/^/@zone /' /tmp/zones
  not_ok "$1" "guest and host differ: $(host first_difference "$serial")"
}
