# minivmm-io on real zoned devices: the sequence of QEMU's own zoned test, and what it refuses. No guest boots.
# shellcheck shell=bash disable=SC2034,SC2154
# says NAME EXPECTED COMMAND...: minivmm-io does the commands on $disk, each in a process of its own as QEMU's test does it, and prints
# exactly the expected lines.
says() {
  local name=$1 expected=$2 output='' command
  shift 2
  for command in "$@"; do
    output+=$(timeout 60 "$RIG_IO" --image-opts -n "driver=host_device,filename=$disk" -c "$command" 2>&1 </dev/null)$'\n'
  done
  output=$(sed '/^$/d' <<<"$output")
  if [[ $output == "$expected" ]]; then
    ok "$name"
  else
    not_ok "$name" "$*: said: ${output//$'\n'/; }"
  fi
}

# refuses NAME TEXT COMMAND...: the last command fails, status 1, with a line that begins with TEXT.
refuses() {
  local name=$1 expected=$2 output status
  local -a words=()
  shift 2
  for command in "$@"; do words+=(-c "$command"); done
  output=$(timeout 60 "$RIG_IO" --image-opts "driver=host_device,filename=$disk" "${words[@]}" 2>&1 </dev/null)
  status=$?
  if ((status == 1)) && [[ $(tail -n 1 <<<"$output") == "$expected"* ]]; then
    ok "$name"
  else
    not_ok "$name" "$*: status $status, expected 1 and '$expected'; said: $(tail -n 1 <<<"$output")"
  fi
}

# zone START CONDITION [WRITE_POINTER]: the line of an empty null_blk zone of 256 MiB, or one like it.
zone() { printf 'start: 0x%x, len 0x80000, cap 0x80000, wptr 0x%x, zcond:%d, [type: 2]\n' "$1" "${3:-$1}" "$2"; }

# first_zones COUNT: their lines when they are empty.
first_zones() {
  local index
  for ((index = 0; index < $1; ++index)); do zone $((index * 0x80000)) 1; done
}

# All sizes and positions are those of null_blk's defaults: 250 GiB in 1000 zones.
run_qemus_sequence() {
  local size=268435456 last=0x3e70000000
  says report-first "$(zone 0 1)" "zrp 0 1"
  says report-ten "$(first_zones 10)" "zrp 0 10"
  says report-last "$(zone 0x1f380000 1)" "zrp $last 2"
  says open-first "$(zone 0 3)" "zo 0 $size" "zrp 0 1"
  says open-second "$(zone 0x80000 3)" "zo $size $size" "zrp $size 1"
  says open-last "$(zone 0x1f380000 3)" "zo $last $size" "zrp $last 2"
  says close-first "$(zone 0 1)" "zc 0 $size" "zrp 0 1"
  says close-last "$(zone 0x1f380000 1)" "zc $last $size" "zrp $last 2"
  says finish-second "$(zone 0x80000 14 0x100000)" "zf $size $size" "zrp $size 1"
  says reset-second "$(zone 0x80000 1)" "zrs $size $size" "zrp $size 1"
  says append-first "After zap done, the append sector is 0x0
$(zone 0 2 0x18)
After zap done, the append sector is 0x18
$(zone 0 2 0x30)" "zap -p 0 0x1000 0x2000" "zrp 0 1" "zap -p 0 0x1000 0x2000" "zrp 0 1"
  says append-second "After zap done, the append sector is 0x80000
$(zone 0x80000 2 0x80018)
After zap done, the append sector is 0x80018
$(zone 0x80000 2 0x80030)" "zap -p $size 0x1000 0x2000" "zrp $size 1" "zap -p $size 0x1000 0x2000" "zrp $size 1"
}

# A disk of 512 MiB: zones of 4 MiB with 3 MiB, 4 conventional ones, 3 may be open and 4 active.
run_refusals() {
  says conventional "start: 0x6000, len 0x2000, cap 0x2000, wptr 0x8000, zcond:0, [type: 1]
start: 0x8000, len 0x2000, cap 0x1800, wptr 0x8000, zcond:1, [type: 2]" "zrp 12M 2"
  says mid-zone "start: 0xe000, len 0x2000, cap 0x1800, wptr 0xe000, zcond:1, [type: 2]" "zrp 0x1ffffff 1"
  says behind-the-end "" "zrp 512M 5" "zrp 1G 5" "zrp 0 0"
  refuses open-conventional "zone open failed: Input/output error" "zo 0 4M"
  refuses open-unaligned "zone open failed: Invalid argument" "zo 1M 4M"
  refuses open-part "zone open failed: Invalid argument" "zo 16M 1M"
  refuses open-behind-the-end "zone open failed: Input/output error" "zo 512M 4M"
  refuses open-limit "zone open failed: Too many references: cannot splice: zone 7 at 0x1c00000" "zo 16M 16M"
  says three-were-opened "start: 0xc000, len 0x2000, cap 0x1800, wptr 0xc000, zcond:3, [type: 2]
start: 0xe000, len 0x2000, cap 0x1800, wptr 0xe000, zcond:1, [type: 2]" "zrp 24M 2"
  says closed-again "" "zc 16M 12M"
  refuses append-mid-zone "zone append failed: Invalid argument" "zap -p 17M 4096"
  refuses append-part-of-a-block "zone append failed: Invalid argument" "zap -p 16M 512"
  refuses append-conventional "zone append failed: Invalid argument" "zap -p 0 4096"
  refuses append-behind-the-end "zone append failed: Input/output error" "zap -p 1T 4096"
  refuses append-too-much "zone append failed: Input/output error" "zap 16M 4M"
  refuses active-limit "zone append failed: Value too large for defined data type: zone 8 at 0x2000000" \
    "zap 16M 4k" "zap 20M 4k" "zap 24M 4k" "zap 28M 4k" "zap 32M 4k"
  refuses not-at-the-write-pointer "write failed: Input/output error: zone 4 at 0x1000000" "write 17M 4096"
  refuses finish-all-with-conventional "zone finish failed: Input/output error" "zf 0 512M"
  refuses reset-behind-the-end "zone reset failed: Input/output error" "zrs 508M 8M"
  says reset-all "start: 0x8000, len 0x2000, cap 0x1800, wptr 0x8000, zcond:1, [type: 2]" "zrs 0 512M" "zrp 16M 1"
}

# A disk of 62 MiB, whose last zone has 2 MiB instead of 4.
run_short_last() {
  says append-and-reset "After zap done, the append sector is 0x1e000
start: 0x1e000, len 0x1000, cap 0x1000, wptr 0x1e008, zcond:2, [type: 2]
start: 0x1e000, len 0x1000, cap 0x1000, wptr 0x1e000, zcond:1, [type: 2]
After zap done, the append sector is 0x1e000" "zap -p 60M 4096" "zrp 60M 5" "zrs 60M 2M" "zrp 60M 5" "zap -p 60M 4k"
  refuses whole-zone "zone reset failed: Input/output error" "zrs 60M 4M"
}

if [[ $RIG_VMM_KIND != minivmm ]]; then
  skip minivmm-io "it is not QEMU's"
elif [[ ! -e $RIG_IO ]]; then
  skip minivmm-io "it is not built: bazel build //tools/io:minivmm-io"
else
  remove_zoned mvzoned
  modprobe -r null_blk 2>/dev/null
  disk=/dev/nullb0 boot=qemus-sequence
  if modprobe null_blk nr_devices=1 zoned=1 && [[ $(cat /sys/block/nullb0/queue/nr_zones 2>/dev/null) == 1000 ]]; then
    run_qemus_sequence
  else
    not_ok null-blk "no /dev/nullb0 with 1000 zones: is null_blk in use?"
  fi
  modprobe -r null_blk
  disk=/dev/mvzoned boot=refusals
  make_zoned mvzoned size=512 blocksize=4096 zone_capacity=3 zone_nr_conv=4 zone_max_open=3 zone_max_active=4 && run_refusals
  boot=short-last
  make_zoned mvzoned size=62 blocksize=4096 && run_short_last
fi
