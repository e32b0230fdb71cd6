#include "blockcore/base/excerpt.h"

namespace minivmm {
namespace {

constexpr std::string_view kCut = "…";

bool ContinuesCharacter(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }

}  // namespace

std::string Excerpt(std::string_view text, size_t max_bytes) {
  std::string shown(text);
  if (text.size() > max_bytes) {
    size_t end = max_bytes - kCut.size();
    while (end > 0 && ContinuesCharacter(text[end])) --end;
    shown.resize(end);
    shown += kCut;
  }
  for (char& c : shown) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return shown;
}

}  // namespace minivmm
