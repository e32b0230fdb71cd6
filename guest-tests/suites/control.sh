# A guest controlled from outside by QMP: counters, stop and cont, reset, the power button, a panic.
# Needs KVM and null_blk.
# shellcheck shell=bash disable=SC2034,SC2054,SC2154

# start_controlled CASES [KERNEL_ARGUMENT...]: the VMM with QMP on its standard input and output, and
# the guest's console in the file $console.
start_controlled() {
  local cases=$1
  local -a arguments
  shift
  vmm_arguments
  : >"$console"
  : >"$work/events"
  coproc VMM {
    exec "$RIG_VMM" "${arguments[@]/#--no-reboot/-S}" --qmp stdio --serial "file:$console" --device pvpanic \
      --append "console=ttyS0 loglevel=3 panic=-1 minivmm.case=$cases $*" 2>"$work/stderr"
  }
  # shellcheck disable=SC2153 # coproc sets it
  vmm_pid=$VMM_PID
  exec 8>&"${VMM[1]}" 9<&"${VMM[0]}"
  note "$suite: $(basename "$RIG_VMM") smp=${smp:-1} cases=$cases"
  qmp qmp_capabilities
}

# next_message: one line of the VMM's into `message`; events are also noted in a file.
next_message() {
  IFS= read -r -t "${1:-60}" -u 9 message || return 1
  if [[ $message == *'"event"'* ]]; then echo "$message" >>"$work/events"; fi
}

# qmp COMMAND [ARGUMENTS]: its answer in `message`.
qmp() {
  echo "{\"execute\":\"$1\"${2:+,\"arguments\":$2}}" >&8
  while next_message; do
    case $message in
      *'"return"'*) return 0 ;;
      *'"error"'*) break ;;
    esac
  done
  not_ok "$1" "answer: ${message:-none}"
  return 1
}

# await_event NAME [SECONDS]: the next message that is this event; others before it are noted.
await_event() {
  if grep -q "\"event\": *\"$1\"" "$work/events"; then return 0; fi
  while next_message "${2:-60}"; do
    if [[ $message =~ \"event\":\ *\"$1\" ]]; then return 0; fi
  done
  return 1
}

# expect_event NAME TEXT [SECONDS]: the event comes, and holds the text.
expect_event() {
  if await_event "$1" "${3:-60}" && grep "\"event\": *\"$1\"" "$work/events" | grep -q "$2"; then
    ok "event-${1,,}"
  else
    not_ok "event-${1,,}" "events: $(paste -s -d ' ' "$work/events")"
  fi
  : >"$work/events"
}

# await_console PATTERN COUNT: that many lines of the guest's match.
await_console() {
  local tries
  for ((tries = 0; tries < 600; ++tries)); do
    if (($(grep -c "$1" "$console") >= $2)); then return 0; fi
    if ! kill -0 "$vmm_pid" 2>/dev/null; then break; fi
    sleep 0.2
  done
  not_ok "console" "the guest did not print $1 $2 times; last line: $(tail -n 1 "$console")"
  return 1
}

# expect_end STATUS: the VMM ends by itself.
expect_end() {
  local status
  while next_message; do :; done
  exec 8>&- 9<&-
  wait "$vmm_pid"
  status=$?
  if ((status == $1)); then ok "exit-status-$1"; else not_ok "exit-status-$1" "ended with $status: $(tail -n 1 "$work/stderr")"; fi
}

# statistic NAME: of the one disk, out of query-blockstats.
statistic() { sed -n "s/.*\"$1\": *\([0-9]*\).*/\1/p" <<<"$message"; }

guest_results() {
  local line
  while IFS= read -r line; do guest_line "${line%$'\r'}"; done < <(grep -aE '^(not )?ok ' "$console")
}

controlled_run() {
  local reads writes before after
  start_controlled control minivmm.exit=poweroff || return
  qmp query-status
  if [[ $message == *prelaunch* && ! -s $console ]]; then ok waits-for-cont; else not_ok waits-for-cont "$message"; fi
  qmp cont && expect_event RESUME RESUME
  await_console '^@counts' 1 || return
  read -r _ reads writes < <(sed -n 's/\r//; /^@counts/p' "$console")
  qmp query-blockstats
  if (($(statistic rd_operations) >= reads)); then ok counted-reads; else not_ok counted-reads "$reads in the guest: $message"; fi
  expect_same counted-writes "$writes" "$(statistic wr_operations)"

  qmp system_reset && expect_event RESET host-qmp-system-reset
  # Not at the start of a line: the reset may have come in the middle of one.
  await_console '@init' 2 && ok boots-again
  await_console '^@counts' 2 || return
  await_console '^@beat' 5 || return

  qmp stop && expect_event STOP STOP
  before=$(grep -c '^@beat' "$console")
  sleep 3
  after=$(grep -c '^@beat' "$console")
  expect_same stands-still "$before" "$after"
  qmp cont && expect_event RESUME RESUME
  await_console '^@beat' $((after + 5)) && ok goes-on

  qmp block_resize '{"node-name":"drive0","size":33554432}' &&
    await_console '^@beat [0-9]* 65536 sectors' 1 && ok guest-sees-larger-disk

  if make_zoned mvcontrol size=64 zone_nr_conv=2; then
    qmp blockdev-add '{"node-name":"added","driver":"host_device","filename":"/dev/mvcontrol"}' &&
      qmp query-zones '{"node-name":"added","offset":8388608,"count":1}' &&
      if [[ $message == *'"condition":"empty"'* ]]; then ok added-zones; else not_ok added-zones "$message"; fi
    qmp blockdev-del '{"node-name":"added"}' && ok added-and-removed
    remove_zoned mvcontrol
  fi

  qmp system_powerdown && expect_event POWERDOWN POWERDOWN
  expect_event SHUTDOWN guest-shutdown 120
  expect_end 0
  guest_results
}

expect_same() { if [[ $2 == "$3" ]]; then ok "$1"; else not_ok "$1" "expected $2, got $3"; fi; }

if [[ $RIG_VMM_KIND != minivmm ]]; then
  skip control "written for minivmm's command line"
else
  truncate -s 16M "$work/control.img"
  disks=("$work/control.img")
  smp=2
  boot=run
  controlled_run
  kill -9 "$vmm_pid" 2>/dev/null

  boot=panic
  start_controlled control minivmm.wait_for=nothing minivmm.exit=panic &&
    qmp cont && expect_event GUEST_PANICKED poweroff 120 && expect_event SHUTDOWN guest-panic
  expect_end 1
  if grep -q 'panicked' "$work/stderr"; then ok says-so; else not_ok says-so "$(tail -n 1 "$work/stderr")"; fi
  guest_results
  kill -9 "$vmm_pid" 2>/dev/null
fi
