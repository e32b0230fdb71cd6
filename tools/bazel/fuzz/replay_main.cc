// main() of a fuzz target that is built as a plain test: runs every seed as it is, then a fixed
// sequence of mutations of the seeds. The same on every machine and with any compiler, so that a
// failure comes back; what a real fuzzer finds becomes a seed. Ends badly when the target crashes,
// fails a check, or does not return.
//
//   x_fuzz SEED...     seeds and mutations
//   x_fuzz FILE        with MINIVMM_FUZZ_RUNS=0: that input only
//
// *.hex files are hexadecimal digits with comments from # to the end of the line; others are taken
// as they are. The last lines show the input that failed, in that form.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

// A sanitizer's finding arrives here as a signal, too.
extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() { return "abort_on_error=1"; }
extern "C" const char* __ubsan_default_options();
extern "C" const char* __ubsan_default_options() { return "print_stacktrace=1:abort_on_error=1"; }

namespace {

using Bytes = std::vector<uint8_t>;

constexpr uint64_t kDefaultRuns = 20'000;
// Enough is enough, under a sanitizer or on a slow machine: the sequence is cut short, not changed.
constexpr std::chrono::seconds kMaxTime(3);
constexpr unsigned kMaxSecondsPerRun = 20;
constexpr size_t kMaxInputBytes = 4096;
constexpr char kDigits[] = "0123456789abcdef";

// What the signal handler needs.
Bytes* current_input = nullptr;
char where[512] = "";

void WriteText(const char* text, size_t bytes) {
  if (::write(STDERR_FILENO, text, bytes) < 0) return;
}
void WriteText(const char* text) { WriteText(text, std::strlen(text)); }

void OnDeath(int signal_number) {
  WriteText(signal_number == SIGALRM ? "fuzz: took too long in " : "fuzz: failed in ");
  WriteText(where);
  WriteText("; the input, as a seed NAME.hex:\n");
  for (size_t i = 0; i < current_input->size(); ++i) {
    const uint8_t byte = (*current_input)[i];
    const char text[] = {kDigits[byte >> 4], kDigits[byte & 15],
                         i % 32 == 31 || i + 1 == current_input->size() ? '\n' : ' '};
    WriteText(text, sizeof(text));
  }
  std::signal(signal_number, SIG_DFL);
  ::raise(signal_number);
}

Bytes ReadSeed(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    std::fprintf(stderr, "fuzz: cannot read seed '%s'\n", path.c_str());
    std::exit(1);
  }
  Bytes bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!path.ends_with(".hex")) return bytes;
  Bytes decoded;
  int digits = 0;
  uint8_t value = 0;
  bool in_comment = false;
  for (char c : bytes) {
    if (c == '#' || c == '\n') in_comment = c == '#';
    const char* digit = c == '\0' || in_comment ? nullptr : std::strchr(kDigits, c);
    if (digit == nullptr) continue;
    value = static_cast<uint8_t>(value << 4 | (digit - kDigits));
    if (++digits % 2 == 0) decoded.push_back(value);
  }
  return decoded;
}

class Mutator {
 public:
  explicit Mutator(const std::vector<Bytes>& seeds) : seeds_(seeds) {}

  Bytes Next() {
    Bytes input = Any();
    for (size_t changes = 1 + Below(6); changes-- > 0;) Change(input);
    if (input.size() > kMaxInputBytes) input.resize(kMaxInputBytes);
    return input;
  }

 private:
  // Not a distribution of the library's: those differ from one library to the next.
  size_t Below(size_t limit) { return limit == 0 ? 0 : random_() % limit; }
  const Bytes& Any() { return seeds_[Below(seeds_.size())]; }

  void Change(Bytes& input) {
    const size_t at = Below(input.size() + 1);
    const size_t length = Below(input.size() - at + 1);
    const auto position = input.begin() + static_cast<ptrdiff_t>(at);
    const bool at_end = at == input.size();
    switch (Below(9)) {
      case 0:
        if (!at_end) input[at] ^= static_cast<uint8_t>(1u << Below(8));
        break;
      case 1:
        if (!at_end) input[at] = static_cast<uint8_t>(random_());
        break;
      case 2: {
        constexpr uint8_t kEdges[] = {0x00, 0x01, 0x7f, 0x80, 0xff, '\n', ',', '"'};
        if (!at_end) input[at] = kEdges[Below(std::size(kEdges))];
        break;
      }
      case 3:
        if (!at_end) input[at] = static_cast<uint8_t>(input[at] + Below(17) - 8);
        break;
      case 4:
        input.erase(position, position + static_cast<ptrdiff_t>(std::min<size_t>(length, 32)));
        break;
      case 5:
        input.insert(position, 1 + Below(8), static_cast<uint8_t>(random_()));
        break;
      case 6: {
        const Bytes piece(position,
                          position + static_cast<ptrdiff_t>(std::min<size_t>(length, 64)));
        const size_t target = Below(input.size() + 1);
        input.insert(input.begin() + static_cast<ptrdiff_t>(target), piece.begin(), piece.end());
        break;
      }
      case 7: {
        const Bytes& other = Any();
        const size_t from = Below(other.size() + 1);
        input.resize(at);
        input.insert(input.end(), other.begin() + static_cast<ptrdiff_t>(from), other.end());
        break;
      }
      default: {
        const size_t last = std::min(input.size(), at + 1 + Below(8));
        for (size_t i = at; i < last; ++i) input[i] = 0xff;
        break;
      }
    }
  }

  const std::vector<Bytes>& seeds_;
  std::minstd_rand random_{1};
};

void RunOne(Bytes& input) {
  // Of its own size exactly, so that a sanitizer sees a read beyond its end.
  input.shrink_to_fit();
  current_input = &input;
  ::alarm(kMaxSecondsPerRun);
  LLVMFuzzerTestOneInput(input.data(), input.size());
  ::alarm(0);
}

}  // namespace

int main(int argc, char** argv) {
  static Bytes nothing;
  current_input = &nothing;
  for (int signal_number : {SIGABRT, SIGALRM, SIGBUS, SIGFPE, SIGILL, SIGSEGV}) {
    std::signal(signal_number, OnDeath);
  }
  const char* runs_text = std::getenv("MINIVMM_FUZZ_RUNS");
  const uint64_t runs = runs_text != nullptr ? std::strtoull(runs_text, nullptr, 10) : kDefaultRuns;

  std::vector<Bytes> seeds;
  for (int i = 1; i < argc; ++i) {
    Bytes seed = ReadSeed(argv[i]);
    std::snprintf(where, sizeof(where), "seed %s", argv[i]);
    seeds.push_back(seed);
    RunOne(seed);
  }
  if (seeds.empty()) {
    std::fprintf(stderr, "usage: %s SEED...\n", argv[0]);
    return 2;
  }
  Mutator mutator(seeds);
  const auto begun = std::chrono::steady_clock::now();
  uint64_t done = 0;
  for (; done < runs && std::chrono::steady_clock::now() - begun < kMaxTime; ++done) {
    Bytes input = mutator.Next();
    std::snprintf(where, sizeof(where), "mutation %llu", static_cast<unsigned long long>(done));
    RunOne(input);
  }
  current_input = &nothing;
  std::printf("fuzz: %zu seeds and %llu mutations of them, nothing found\n", seeds.size(),
              static_cast<unsigned long long>(done));
  return 0;
}
