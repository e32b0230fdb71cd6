#!/bin/bash
# Every ACPI table must survive iasl, the compiler and disassembler of ACPICA: disassembly without a
# complaint, compilation without error or warning, and the same bytes again. The argument is the
# acpi_dump binary.
set -euo pipefail

dump=$1
work=${TEST_TMPDIR:?run this test with bazel test}

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

command -v iasl >/dev/null || fail "iasl is not installed; apt-get install acpica-tools"

for cpus in 1 2 16; do
  tables=$work/$cpus
  mkdir "$tables"
  "$dump" "$tables" "$cpus"
  for signature in XSDT FACP DSDT APIC MCFG; do
    table=$tables/$signature
    [[ -s $table.dat ]] || fail "$signature ($cpus CPUs) was not written"

    iasl -d "$table.dat" >"$table.disassembly" 2>&1 || {
      cat "$table.disassembly"
      fail "$signature ($cpus CPUs): iasl -d"
    }
    if grep -iE 'error|warning|incorrect|invalid|unknown' "$table.disassembly" "$table.dsl"; then
      fail "$signature ($cpus CPUs): iasl -d complains"
    fi

    # -oa: no optimisations, so that the bytes can be compared.
    iasl -oa "$table.dsl" >"$table.compilation" 2>&1 || {
      cat "$table.compilation"
      fail "$signature ($cpus CPUs): iasl does not compile its own disassembly"
    }
    grep -q '0 Errors, 0 Warnings, 0 Remarks' "$table.compilation" || {
      cat "$table.compilation"
      fail "$signature ($cpus CPUs): iasl warns"
    }

    # The header's checksum and compiler name differ; from byte 36 on all must be the same.
    cmp --ignore-initial=36 "$table.dat" "$table.aml" ||
      fail "$signature ($cpus CPUs): the compiled disassembly differs from the table"
    echo "$signature ($cpus CPUs): ok"
  done
done
