#!/usr/bin/env bash
# What a program says of itself: its help fits a screen, and its manual page and its completion know every option of the help.
# usage: texts_test.sh PROGRAM HELP_LINES
set -euo pipefail
program=$(realpath "$1")
max_lines=$2
name=$(basename "$program")
cd "$TEST_TMPDIR"
export LC_ALL=C.UTF-8
failures=0

fail() {
  failures=$((failures + 1))
  printf 'FAILED: %s %s\n' "$name" "$*"
}

"$program" --help >help
"$program" -h | cmp - help || fail "-h: something else than --help"
[[ $(wc -l <help) -le $max_lines ]] || fail "--help: $(wc -l <help) lines, more than $max_lines"
[[ $(wc -L <help) -le 100 ]] || fail "--help: $(wc -L <help) columns, more than 100"

# Terms begin in column 2; what stands further right belongs to a summary.
sed -n 's/^  \([^ ].*\)/\1/p' help | sed 's/   *.*//' | grep -oE -- '(^|[ ,])--?[a-zA-Z][a-zA-Z-]*' | tr -d ' ,' | sort -u >options || true
if [[ $name != minivmm-img ]]; then # its options belong to its commands
  [[ $(wc -l <options) -ge 5 ]] || fail "--help: only these options: $(xargs <options)"
fi

"$program" --help=man >page
if command -v groff >/dev/null; then
  groff -man -ww -Tutf8 -P-cbou page >text 2>warnings || fail "--help=man: groff fails"
  [[ ! -s warnings ]] || fail "--help=man: $(head -n 3 warnings)"
  [[ $(wc -l <text) -ge 30 ]] || fail "--help=man: a page of only $(wc -l <text) lines"
  while read -r option; do
    grep -qE -- "(^|[ ,])$option([],.=[ ]|\$)" text || fail "--help=man: $option of --help is not there"
  done <options
else
  printf 'groff is not installed: the manual page is not checked (tools/setup installs it)\n'
fi

"$program" --help=bash >completion
# offers WORD...: what bash offers for the last word, one a line.
offers() {
  bash -euc 'source ./completion
    COMP_WORDS=("$@")
    COMP_CWORD=$(($# - 1))
    function=$(complete -p "$1")
    function=${function#*-F }
    "${function%% *}"
    printf "%s\n" "${COMPREPLY[@]}"' bash "$name" "$@"
}
while read -r option; do
  offers "$option" >offered
  grep -qxF -- "$option" offered || fail "--help=bash: $option is not offered"
done <options
offers --help = >offered
[[ $(sort offered) == $'bash\nman' ]] || fail "--help=bash: behind --help=: $(xargs <offered)"

if "$program" --help=pdf >output 2>&1; then fail "--help=pdf: is no error"; fi

if [[ $name == minivmm-img ]]; then
  for command in create info report map check set-zone resize convert dump restore; do
    offers "${command:0:3}" >offered
    grep -qxF -- "$command" offered || fail "--help=bash: $command is not offered"
    "$program" help $command >command_help
    [[ $(wc -L <command_help) -le 100 ]] || fail "help $command: more than 100 columns"
    "$program" $command --help | cmp - command_help || fail "$command --help: something else than help $command"
    sed -n 's/^  .*\(--[a-z-]*\).*/\1/p' command_help >options
    while read -r option; do
      offers $command "$option" >offered
      grep -qxF -- "$option" offered || fail "--help=bash: $command $option is not offered"
    done <options
  done
  offers create -o zone.mode = host-m >offered
  grep -qxF host-managed offered || fail "--help=bash: -o zone.mode=host-managed is not offered"
fi

[[ $failures == 0 ]] || exit 1
printf 'help, manual page and completion of %s agree\n' "$name"
