// Options: any text, then taken apart as a node does it.
#include "blockcore/base/check.h"
#include "blockcore/options.h"
#include "tools/bazel/fuzz/fuzz_input.h"

namespace minivmm {
namespace {

template <typename T>
void CheckResult(const Result<T>& result) {
  if (!result) CheckErrorText(result.error().message);
}

void TakeAll(Options options, int depth) {
  const bool has_size = options.Has("size");
  auto size = options.TakeSize("size");
  CheckResult(size);
  VMM_CHECK(!size || size->has_value() == has_size);
  auto number = options.TakeNumber("offset", 512, 1 << 20);
  CheckResult(number);
  VMM_CHECK(!number || !number->has_value() || (**number >= 512 && **number <= 1 << 20));
  CheckResult(options.TakeBool("read-only"));
  CheckResult(options.TakeWord("discard", {"ignore", "unmap"}));
  for (const char* key : {"node-name", "driver", "filename"}) {
    const std::optional<std::string> value = options.TakeString(key);
    VMM_CHECK(value.has_value() == options.Has(key));
    VMM_CHECK(!value || value->find('\0') == std::string::npos);
  }
  options.AddDefault("cache.direct", "off");
  VMM_CHECK(options.Has("cache.direct"));
  if (auto cache = options.TakeNested("cache")) CheckResult(cache->TakeBool("direct"));
  std::optional<Options> child = options.TakeNested("file");
  VMM_CHECK(!child || depth < 100);
  if (child) TakeAll(std::move(*child), depth + 1);
  CheckResult(options.CheckAllTaken("driver 'raw'"));
}

}  // namespace
}  // namespace minivmm

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace minivmm;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  auto options = Options::Parse(text);
  CheckResult(options);
  if (options) TakeAll(std::move(*options), 0);
  return 0;
}
