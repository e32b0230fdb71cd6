// JsonFramer finds where one JSON value ends and the next begins in a stream of bytes, as QEMU's
// reader does, whatever pieces the bytes come in. It does not parse: a text it gives may still be
// wrong inside. Bounded in length and depth. No thread of its own; any thread, one at a time.
//
//   {"execute": "stop"}{"exec   ute": "cont"}\n   →   {"execute": "stop"}   {"execute": "cont"}
//
// After a byte that cannot be in JSON, or a text that is too long or too deep, what has been read
// of the value is forgotten and the next byte begins a new one. QEMU's extension, strings in single
// quotes, is turned into double quotes.
#ifndef MINIVMM_VMM_QMP_JSON_FRAMER_H_
#define MINIVMM_VMM_QMP_JSON_FRAMER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace minivmm {

class JsonFramer {
 public:
  static constexpr size_t kMaxBytes = 1 << 20;
  static constexpr int kMaxDepth = 32;

  struct Frame {
    enum class Kind : uint8_t { kNone, kText, kStrayByte, kTooLong, kTooDeep };
    Kind kind = Kind::kNone;
    std::string text = {};  // kText: a value, or something with its brackets; kStrayByte: that byte
  };

  // Takes bytes from the front of `bytes` until something is complete. kNone: all were taken.
  Frame Take(std::string_view& bytes);

 private:
  Frame Finish(Frame::Kind kind, std::string text = {});
  bool TakeInString(char c);

  std::string text_;
  int braces_ = 0;
  int brackets_ = 0;
  bool escaped_ = false;  // the byte before was a backslash
  char quote_ = 0;        // within a string: what ends it
};

}  // namespace minivmm

#endif  // MINIVMM_VMM_QMP_JSON_FRAMER_H_
