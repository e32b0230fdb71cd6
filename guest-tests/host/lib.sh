# What the suites share: making zoned devices and images, starting a guest on them, and answering the guest's
# questions. Sourced by run-suites, on a machine with a KVM that boots Linux: the rig's L1, or the
# user's own.
# shellcheck shell=bash disable=SC2154 # run-suites sets suite and console
# shellcheck source=guest-tests/cases/zones.sh
source "$RIG_DIR/cases/zones.sh"

failures=0
disks=()

# A suite that boots several guests tells their results apart with `boot=NAME boot_guest …`.
ok() { echo "ok $suite/${boot:+$boot/}$1"; }
skip() { echo "skip $suite/${boot:+$boot/}$1: $2"; }
not_ok() {
  failures=$((failures + 1))
  echo "not ok $suite/${boot:+$boot/}$1: $2"
}
note() { echo "# $*"; }

# make_zoned NAME KEY=VALUE...: a host-managed null_blk disk /dev/NAME that keeps its data in
# memory.
make_zoned() {
  local directory=/sys/kernel/config/nullb/$1 name=$1 option
  shift
  load_null_blk
  remove_zoned "$name"
  mkdir "$directory" || {
    not_ok make-zoned "null_blk with configfs is not there; tools/doctor says what is missing"
    return 1
  }
  for option in memory_backed=1 zoned=1 zone_size=4 "$@" power=1; do
    echo "${option#*=}" >"$directory/${option%%=*}" || {
      not_ok make-zoned "null_blk refuses $option"
      return 1
    }
  done
}

load_null_blk() {
  modprobe null_blk nr_devices=0
  if [[ ! -d /sys/kernel/config/nullb ]]; then mount -t configfs configfs /sys/kernel/config; fi
}

# have_images: whether this run can have zoned disks in files; says so where not.
have_images() {
  if [[ $RIG_VMM_KIND != minivmm ]]; then
    skip images "zoned images are minivmm's own"
    return 1
  fi
  if [[ ! -e $RIG_IMG ]]; then
    skip images "minivmm-img is not built: bazel build //tools/img:minivmm-img"
    return 1
  fi
}

# make_image NAME SIZE OPTION...: a zoned disk in the file $work/NAME.zbd, added to `disks`.
make_image() {
  local file=$work/$1.zbd size=$2 output
  shift 2
  if output=$("$RIG_IMG" create -f zoned "${@/#/--options=}" "$file" "$size" 2>&1); then
    note "${output/"$work/"/}"
    disks+=("$file")
  else
    not_ok make-image "$output"
    return 1
  fi
}

# cases_on NAME CASE...: adds to `cases` what to run on the disk that make_image made.
cases_on() {
  local name=$1 case
  shift
  for case in "$@"; do cases+=${cases:+,}$case@$name.zbd; done
}

# image_is_sound NAME: no guest uses it, and nothing in it is wrong.
image_is_sound() {
  local output
  if output=$("$RIG_IMG" check "$work/$1.zbd" 2>&1); then
    ok "$1.zbd/sound"
  else
    not_ok "$1.zbd/sound" "$(paste -s -d ';' <<<"$output")"
  fi
}

# image_holds_what_was_left NAME: after the guest has ended, the image has the zones that case
# `leave` saw.
image_holds_what_was_left() {
  local outside inside
  outside=$("$RIG_IMG" report "$work/$1.zbd" 2>&1 | zone_lines)
  inside=$(sed -n "s/^@left $1.zbd //p" "$console")
  if [[ -n $inside && $outside == "$inside" ]]; then
    ok "$1.zbd/report-after-power-off"
  else
    not_ok "$1.zbd/report-after-power-off" \
      "the image differs from what the guest saw: $(difference "$outside" "$inside")"
  fi
}

remove_zoned() {
  local directory=/sys/kernel/config/nullb/$1
  if [[ -d $directory ]]; then rmdir "$directory"; fi
}

# vmm_arguments: fills `arguments` for the disks in `disks`, each "PATH[,OPTION=VALUE...]": a block
# device becomes host_device, a file named .zbd a zoned disk, another file a plain disk; options
# named read-only go to the node, all others to the device.
vmm_arguments() {
  local disk path option node device index=0
  # shellcheck disable=SC2054 # commas as the VMM wants them
  arguments=(--smp "${smp:-1}" -m "${memory:-512}" --kernel "${kernel:-$RIG_KERNEL}" --initrd "$RIG_INITRD"
    --device isa-debug-exit,iobase=0xf4,iosize=4 --no-reboot)
  for disk in "${disks[@]}"; do
    IFS=, read -r -a options <<<"$disk"
    path=${options[0]}
    case $path in
      /dev/*) node=driver=host_device,filename=$path ;;
      *.zbd) node=driver=zoned,file.driver=file,file.filename=$path ;;
      *) node=driver=file,filename=$path ;;
    esac
    node+=,node-name=drive$index
    if [[ $RIG_VMM_KIND == qemu && -b $path ]]; then node+=,cache.direct=on; fi
    device="virtio-blk-pci,drive=drive$index,serial=$(basename "$path")"
    for option in "${options[@]:1}"; do
      if [[ $option == read-only=* ]]; then node+=,$option; else device+=,$option; fi
    done
    arguments+=(--blockdev "$node" --device "$device")
    index=$((index + 1))
  done
  if [[ $RIG_VMM_KIND == qemu ]]; then
    arguments=("${arguments[@]/#--/-}" -nodefaults -no-user-config -accel kvm -cpu host -display none -serial stdio)
  fi
}

# boot_guest CASES [EXPECTED_STATUS [KERNEL_ARGUMENT...]]: starts the VMM with the disks in `disks`,
# runs the cases, passes their results on, and checks the exit status; 1 is what isa-debug-exit
# makes of "all passed", and 0 what a kernel that panics ends with, too. Settings: boot, smp, memory,
# kernel, time_limit, and kernel_log, the level up to which the kernel's own messages come out.
boot_guest() {
  local cases=$1 expected=${2:-1} line status=0 started=$EPOCHREALTIME deadline=$((SECONDS + ${time_limit:-150}))
  local -a arguments options
  shift 2 || shift $#
  vmm_arguments
  arguments+=(--append "console=ttyS0 loglevel=${kernel_log:-3} panic=-1 minivmm.case=$cases $*")
  [[ $RIG_VMM_KIND == minivmm ]] || arguments[-2]=-append
  : >"$console"
  note "$suite${boot:+/$boot}: $(basename "$RIG_VMM") ${disks[*]} smp=${smp:-1} cases=$cases"
  coproc VMM { exec "$RIG_VMM" "${arguments[@]}" 2>&1; }
  # shellcheck disable=SC2153 # coproc sets it
  local vmm_pid=$VMM_PID
  exec 8>&"${VMM[1]}" 9<&"${VMM[0]}"
  while read -r -t $((deadline > SECONDS ? deadline - SECONDS : 1)) -u 9 line || {
    status=$?
    [[ -n $line && $status -le 128 ]]
  }; do
    line=${line%$'\r'}
    echo "$line" >>"$console"
    guest_line "$line"
  done
  exec 8>&-
  if ((status > 128)); then
    kill -9 "$vmm_pid"
    wait "$vmm_pid" 2>/dev/null
    exec 9<&-
    not_ok guest-in-time "no end after ${time_limit:-150} s; last line: $(tail -n 1 "$console")"
    show_console
    return 1
  fi
  exec 9<&-
  wait "$vmm_pid"
  status=$?
  if ! grep -q '^@init' "$console"; then
    not_ok guest-boots "the VMM ended with status $status before the guest's init; last line: $(tail -n 1 "$console")"
    show_console
  elif grep -q '^@still-running debug' "$console" && [[ $RIG_VMM_KIND == qemu ]]; then
    # Emulated SVM refuses ports to user space once a VMM has set the task register, and QEMU does.
    skip "exit-status-$expected" "under emulation QEMU's guest cannot reach the debug-exit port"
  elif ! grep -q '^@done' "$console"; then
    not_ok "exit-status-$expected" "the guest ended before its cases did; last line: $(tail -n 1 "$console")"
    show_console
  elif ((status == expected)); then
    ok "exit-status-$expected"
  elif ((expected == 1 && status == 3)); then
    show_console # The failed cases have said so by themselves.
  else
    not_ok "exit-status-$expected" "the VMM ended with status $status; last line: $(tail -n 1 "$console")"
    show_console
  fi
}

# run_bare_metal OPTION...: one boot of the bare-metal guest on /dev/mvzoned, which loses its
# content; passes its lines on, as results of the boot `boot`.
run_bare_metal() {
  local line
  while read -r line; do
    case $line in
      "ok "* | "not ok "* | "skip "*) guest_line "$line" ;;
      *) note "${line#\# }" ;;
    esac
  done < <("$RIG_DIR/bare-metal/run" --vmm "$RIG_VMM_KIND" --binary "$RIG_VMM" --guest "$RIG_BARE_METAL_GUEST" \
    "$@" /dev/mvzoned 2>&1)
  wait $! || not_ok run "the run did not end well"
}

# have_bare_metal: whether its guest is there; says so where not.
have_bare_metal() {
  if [[ ! -e $RIG_BARE_METAL_GUEST ]]; then
    skip bare-metal "the guest is not built: bazel build //guest-tests/bare-metal:guest"
    return 1
  fi
}

show_console() {
  if [[ -n ${RIG_VERBOSE:-}${kernel_log:-} ]]; then return; fi
  tail -n "${RIG_TAIL:-25}" "$console" | sed 's/^/#   | /'
}

guest_line() {
  local words answer text
  case $1 in
    "ok "*) ok "${1#ok }" ;;
    "skip "*": "*)
      text=${1#skip }
      skip "${text%%: *}" "${text#*: }"
      ;;
    "not ok "*": "*)
      text=${1#not ok }
      not_ok "${text%%: *}" "${text#*: }"
      ;;
    @init) note "guest reached its init after $(elapsed_since "$started") s" ;;
    "@show "*) echo "#   ${1#@show }" ;;
    "@zone "* | "@left "* | @done) ;;
    "@host "*)
      read -r -a words <<<"${1#@host }"
      answer=$("host_${words[0]}" "${words[@]:1}" 2>&1 | head -n 1)
      echo "${answer:-none}" >&8
      ;;
    *) if [[ -n ${RIG_VERBOSE:-}${kernel_log:-} ]]; then echo "#   | $1"; fi ;;
  esac
}

elapsed_since() { awk -v from="$1" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.1f", to - from }'; }

# difference OUTSIDE INSIDE: where two lists of zones differ first.
difference() {
  diff <(echo "$1") <(echo "$2") | grep '^[<>]' | head -n 4 |
    sed -e 's/^</host/' -e 's/^>/guest/' | paste -s -d ';'
}

# path_of NAME: the one of `disks` with that file name, which is the serial number in the guest.
path_of() {
  local disk
  for disk in "${disks[@]%%,*}"; do
    if [[ ${disk##*/} == "$1" ]]; then echo "$disk"; fi
  done
}

# unlocked_copy IMAGE: its guest keeps the image locked, so that nobody else takes it for the disk;
# the copy is what a power cut at this moment would leave.
unlocked_copy() { cp "$1" "$work/copy" && echo "$work/copy"; }

# zones_outside NAME [FIRST_SECTOR]: all zones of a disk, or the one that starts there.
zones_outside() {
  local path start
  path=$(path_of "$1")
  if [[ -b $path ]]; then
    zone_table "$path" ${2:+"$2" 1}
  else
    printf -v start '0x%09x ' "${2:-0}"
    "$RIG_IMG" report "$(unlocked_copy "$path")" | zone_lines | grep "^${2:+$start}"
  fi
}

# image_fact IMAGE KEY: what minivmm-img says about it.
image_fact() {
  "$RIG_IMG" info --output json "$(unlocked_copy "$1")" | sed -n "s/.*\"$2\":\"*\([^,\"}]*\).*/\1/p"
}

# What a guest may ask for, by `host WORD ARGUMENT...`; each prints one line.

host_zone_state() { zones_outside "$1" "$2" | { read -r _ _ _ wp condition _ && echo "$condition $wp"; }; }
host_queue() {
  local path
  path=$(path_of "$1")
  if [[ -b $path ]]; then
    cat "/sys/block/$(basename "$(readlink -f "$path")")/queue/$2"
    return
  fi
  case $2 in
    zoned) image_fact "$path" mode ;;
    chunk_sectors) echo $(($(image_fact "$path" zone-size) / 512)) ;;
    nr_zones) image_fact "$path" zones ;;
    max_open_zones) image_fact "$path" max-open-zones ;;
    max_active_zones) image_fact "$path" max-active-zones ;;
    logical_block_size) image_fact "$path" logical-block-size ;;
    zone_write_granularity) image_fact "$path" write-granularity ;;
  esac
}
host_size() {
  local path
  path=$(path_of "$1")
  if [[ -b $path ]]; then
    cat "/sys/block/$(basename "$(readlink -f "$path")")/size"
  else
    echo $(($(image_fact "$path" virtual-size) / 512))
  fi
}
host_same_zones() {
  if [[ $(zones_outside "$1" | md5sum | cut -d ' ' -f 1) == "$2" ]]; then echo same; else echo differ; fi
}
host_first_difference() {
  local outside
  outside=$(zones_outside "$1")
  difference "$outside" "$(sed -n 's/^@zone //p' "$console" | tail -n "$(wc -l <<<"$outside")")"
}

# host_bytes NAME FIRST_SECTOR COUNT: digest of COUNT 64 KiB pieces from the start of a zone.
host_bytes() {
  local path offset=$(($2 * 512))
  path=$(path_of "$1")
  if [[ -b $path ]]; then
    dd if="$path" bs=64k count="$3" skip="$offset" iflag=direct,skip_bytes 2>/dev/null
  else
    path=$(unlocked_copy "$path")
    offset=$("$RIG_IMG" map "$path" | awk -v start="$offset" '$2 == start { print $5 }')
    dd if="$path" bs=64k count="$3" skip="${offset:?the zone holds no data}" iflag=skip_bytes 2>/dev/null
  fi | md5sum | cut -d ' ' -f 1
}

# host_spoil NAME readonly|offline FIRST_SECTOR: changes the zone's condition behind the VMM's back,
# as a failing disk does.
host_spoil() { if echo "$3" >"/sys/kernel/config/nullb/$1/zone_$2"; then echo spoilt; else echo failed; fi; }
