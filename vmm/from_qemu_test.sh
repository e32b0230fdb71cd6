#!/usr/bin/env bash
# The tables of from-qemu.md are true: every minivmm line runs (a machine as a dry run), and every refused one is refused for that reason.
# What a line says of /dev/nullb0 can only be tried up to its opening, where there is none.
# usage: from_qemu_test.sh PAGE GUEST MINIVMM MINIVMM_IMG MINIVMM_IO
# shellcheck disable=SC2016,SC2317 # backquotes are meant as such; the functions are called by the lines of the page
set -u
# shellcheck source=guest-tests/need_kvm.sh
source guest-tests/need_kvm.sh
page=$(realpath "$1")
guest=$(realpath "$2")
minivmm_program=$(realpath "$3")
img_program=$(realpath "$4")
io_program=$(realpath "$5")
cd "$TEST_TMPDIR" || exit 1
failures=0

minivmm() { timeout 60 "$minivmm_program" "$@" --dry-run </dev/null; }
minivmm-img() { timeout 60 "$img_program" "$@" </dev/null; }
minivmm-io() { timeout 60 "$io_program" "$@" </dev/null; }

fail() {
  failures=$((failures + 1))
  printf 'FAILED: %s\n' "$*"
}

cp "$guest" vmlinux
printf 'initramfs' >initramfs
truncate -s 64M disk.img

# The codes of the tables: lines to run; lines that are refused, and why.
sed -n '/^## QEMU line/,/^## What is refused/p' "$page" >table
sed -n '/^## What is refused/,/^## What behaves/p' "$page" >refused_table
mapfile -t lines < <(sed -nE 's/^\|.*\| `((minivmm|truncate)[^`]*)`[^`|]*\|$/\1/p' table)
mapfile -t refused < <(sed -nE 's/^\| `([^`]*)` \| `[^`]*` \|$/\1/p' refused_table)
mapfile -t reasons < <(sed -nE 's/^\| `[^`]*` \| `([^`]*)` \|$/\1/p' refused_table)
[[ ${#lines[@]} -ge 30 ]] || fail "only ${#lines[@]} lines found in the tables"
[[ ${#refused[@]} -ge 15 ]] || fail "only ${#refused[@]} refused lines found"
[[ ${#lines[@]} == $(grep -cE '^\|.*\| `' table) ]] || fail "a line of the tables was not understood"
[[ ${#refused[@]} == $(grep -c '^| `' refused_table) ]] || fail "a refused line was not understood"

for line in "${lines[@]}"; do
  output=$(eval "$line" 2>&1)
  status=$?
  if [[ $line == */dev/nullb0* && ! -e /dev/nullb0 ]]; then
    [[ $status == 1 && $output == *"cannot open '/dev/nullb0'"* ]] || fail "$line: status $status: $output"
  else
    [[ $status == 0 ]] || fail "$line: status $status: $output"
  fi
done

# Opening a zoned image may put its table in order; its zones stay what they are.
content() { sha256sum disk.img && minivmm-img report disk.zbd; }
before=$(content)
for i in "${!refused[@]}"; do
  line=${refused[i]}
  output=$(eval "minivmm -kernel vmlinux $line" 2>&1)
  status=$?
  [[ $status == 1 && $output == "minivmm: "*"${reasons[i]}"* && $output != *$'\n'* ]] ||
    fail "$line: expected status 1 and one line with '${reasons[i]}': status $status: $output"
done
[[ $(content) == "$before" ]] || fail "a refused line has changed a disk"

[[ $failures == 0 ]] || exit 1
printf '%d lines run, %d lines refused\n' "${#lines[@]}" "${#refused[@]}"
