# Ends a shell test, with the reason, where this machine has no KVM to use. Sourced by tests, from the
# folder in which Bazel starts them.
# shellcheck shell=bash
if [[ ! -r /dev/kvm || ! -w /dev/kvm ]]; then
  echo "skipped: /dev/kvm is missing or forbidden"
  exit 0
fi
