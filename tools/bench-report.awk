# The report of tools/bench: rows of tools/bench-rows (first file), `@bench ID SUBJECT VALUE` lines
# among others (second file). Variables: rounds; json, a file to write or nothing.

function sort(list, n,    i, j, t) {
  for (i = 2; i <= n; ++i) {
    for (j = i; j > 1 && list[j] < list[j - 1]; --j) {
      t = list[j]
      list[j] = list[j - 1]
      list[j - 1] = t
    }
  }
}

function median(text,    list, n, i) {
  n = split(text, list, " ")
  for (i = 1; i <= n; ++i) list[i] += 0
  sort(list, n)
  return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
}

# How many times better than b is a? Where nothing was needed, a shade more is assumed.
function times_better(row, a, b) {
  if (better[row] == "higher") return a / (b > 0 ? b : 1e-9)
  return b / (a > 0 ? a : 1e-9)
}

# Sets low and high: the lowest and highest of what the rounds gave.
function spread(row, ours, theirs,    a, b, n, i, ratio) {
  n = split(ours, a, " ")
  split(theirs, b, " ")
  for (i = 1; i <= n; ++i) {
    ratio = times_better(row, a[i], b[i])
    if (i == 1 || ratio < low) low = ratio
    if (i == 1 || ratio > high) high = ratio
  }
}

function number(value) {
  return value >= 1000 ? sprintf("%.0f", value) : value >= 10 ? sprintf("%.1f", value) : sprintf("%.3f", value)
}

function array(text) {
  gsub(/^ +| +$/, "", text)
  gsub(/ +/, ", ", text)
  return "[" text "]"
}

NR == FNR {
  id[++count] = $1
  unit[$1] = $3
  better[$1] = $4
  against[$1] = $5
  target[$1] = $6
  next
}

$1 == "@bench" { values[$2, $3] = values[$2, $3] " " $4 }

END {
  printf "%-24s %-13s %10s %10s %7s  %-15s %6s\n", "row", "unit", "minivmm", "other", "better", "lowest-highest", "target"
  for (k = 1; k <= count; ++k) {
    row = id[k]
    ours = values[row, "minivmm"]
    theirs = values[row, against[row]]
    if (split(ours, unused, " ") < rounds || split(theirs, unused, " ") < rounds) {
      printf "%-24s %-13s not measured\n", row, unit[row]
      incomplete = 1
      continue
    }
    spread(row, ours, theirs)
    ratio = times_better(row, median(ours), median(theirs))
    verdict = ""
    if (target[row] != "-") {
      ++targets
      is_met = target[row] ~ /^<=/ ? median(ours) <= substr(target[row], 3) + 0 : ratio >= target[row] + 0
      met += is_met
      verdict = sprintf("%6s  %s", target[row], is_met ? "met" : "MISSED")
    }
    printf "%-24s %-13s %10s %10s %7.2f  %6.2f - %-6.2f %s\n", row, unit[row], number(median(ours)), \
      number(median(theirs)), ratio, low, high, verdict
    objects = objects (objects ? ",\n" : "") sprintf("  {\"id\": \"%s\", \"unit\": \"%s\", \"better\": \"%s\", " \
      "\"values\": {\"minivmm\": %s, \"%s\": %s}, \"times_better\": %.4f, \"lowest\": %.4f, \"highest\": %.4f, " \
      "\"target\": %s, \"met\": %s}", row, unit[row], better[row], array(ours), against[row], array(theirs), ratio, \
      low, high, target[row] == "-" ? "null" : "\"" target[row] "\"", \
      target[row] == "-" ? "null" : is_met ? "true" : "false")
  }
  printf "%d rows, %d rounds; %d of %d targets met\n", count, rounds, met, targets
  if (json) printf "{\"rounds\": %d, \"rows\": [\n%s\n]}\n", rounds, objects >json
  exit incomplete
}
