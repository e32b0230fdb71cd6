# What the suites share: making zoned devices, starting a guest on them, and answering the guest's
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

remove_zoned() {
  local directory=/sys/kernel/config/nullb/$1
  if [[ -d $directory ]]; then rmdir "$directory"; fi
}

# vmm_arguments: fills `arguments` for the disks in `disks`, each "PATH[,OPTION=VALUE...]": a block
# device becomes host_device, a file a plain disk; options named read-only go to the node, all
# others to the device.
vmm_arguments() {
  local disk path option node device index=0
  # shellcheck disable=SC2054 # commas as the VMM wants them
  arguments=(--smp "${smp:-1}" -m "${memory:-512}" --kernel "${kernel:-$RIG_KERNEL}" --initrd "$RIG_INITRD"
    --device isa-debug-exit,iobase=0xf4,iosize=4 --no-reboot)
  for disk in "${disks[@]}"; do
    IFS=, read -r -a options <<<"$disk"
    path=${options[0]}
    node="node-name=drive$index,filename=$path,driver="
    if [[ -b $path ]]; then node+="host_device"; else node+="file"; fi
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
# makes of "all passed". Settings: boot, smp, memory, kernel, time_limit, and kernel_log, the level
# up to which the kernel's own messages come out.
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
  elif ((status == expected)); then
    ok "exit-status-$expected"
  elif ((expected == 1 && status == 3)); then
    show_console # The failed cases have said so by themselves.
  else
    not_ok "exit-status-$expected" "the VMM ended with status $status; last line: $(tail -n 1 "$console")"
    show_console
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
    "@zone "*) ;;
    "@host "*)
      read -r -a words <<<"${1#@host }"
      answer=$("host_${words[0]}" "${words[@]:1}" 2>&1 | head -n 1)
      echo "${answer:-none}" >&8
      ;;
    *) if [[ -n ${RIG_VERBOSE:-}${kernel_log:-} ]]; then echo "#   | $1"; fi ;;
  esac
}

elapsed_since() { awk -v from="$1" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.1f", to - from }'; }

# What a guest may ask for, by `host WORD ARGUMENT...`; each prints one line.

host_zone_state() { zone_state "/dev/$1" "$2"; }
host_queue() { cat "/sys/block/$1/queue/$2"; }
host_size() { cat "/sys/block/$1/size"; }
host_same_zones() {
  if [[ $(zone_table "/dev/$1" | md5sum | cut -d ' ' -f 1) == "$2" ]]; then echo same; else echo differ; fi
}
host_first_difference() {
  diff <(zone_table "/dev/$1") <(sed -n 's/^@zone //p' "$console" | tail -n "$(zone_table "/dev/$1" | wc -l)") |
    grep '^[<>]' | head -n 4 | sed -e 's/^</host/' -e 's/^>/guest/' | paste -s -d ';'
}

# host_bytes NAME FIRST_SECTOR COUNT: digest of COUNT 64 KiB pieces.
host_bytes() {
  dd if="/dev/$1" bs=64k count="$3" skip=$(($2 * 512)) iflag=direct,skip_bytes 2>/dev/null | md5sum | cut -d ' ' -f 1
}

# host_spoil NAME readonly|offline FIRST_SECTOR: changes the zone's condition behind the VMM's back,
# as a failing disk does.
host_spoil() { if echo "$3" >"/sys/kernel/config/nullb/$1/zone_$2"; then echo spoilt; else echo failed; fi; }
