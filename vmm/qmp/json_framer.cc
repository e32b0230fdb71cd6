#include "vmm/qmp/json_framer.h"

#include <utility>

namespace minivmm {
namespace {

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

// Of numbers and of the words true, false and null.
bool IsScalarByte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '+' || c == '.';
}

bool IsPunctuation(char c) {
  return c == '{' || c == '}' || c == '[' || c == ']' || c == ',' || c == ':';
}

bool IsQuote(char c) { return c == '"' || c == '\''; }

}  // namespace

JsonFramer::Frame JsonFramer::Finish(Frame::Kind kind, std::string text) {
  text_.clear();
  braces_ = brackets_ = 0;
  quote_ = 0;
  escaped_ = false;
  return {kind, std::move(text)};
}

// Returns whether the byte may be there.
bool JsonFramer::TakeInString(char c) {
  const auto byte = static_cast<unsigned char>(c);
  if (byte < 0x20 || byte >= 0xfe) return false;
  if (escaped_) {
    escaped_ = false;
    if (c != '\'') text_ += '\\';
    text_ += c;
  } else if (c == '\\') {
    escaped_ = true;
  } else if (c == quote_) {
    quote_ = 0;
    text_ += '"';
  } else {
    if (c == '"') text_ += '\\';
    text_ += c;
  }
  return true;
}

JsonFramer::Frame JsonFramer::Take(std::string_view& bytes) {
  while (!bytes.empty()) {
    const char c = bytes.front();
    const bool in_scalar = !text_.empty() && quote_ == 0 && braces_ == 0 && brackets_ == 0;
    if (in_scalar && !IsScalarByte(c)) return Finish(Frame::Kind::kText, std::move(text_));
    bytes.remove_prefix(1);
    if (quote_ != 0) {
      if (!TakeInString(c)) return Finish(Frame::Kind::kStrayByte, std::string(1, c));
      if (quote_ == 0 && braces_ == 0 && brackets_ == 0) {
        return Finish(Frame::Kind::kText, std::move(text_));
      }
    } else if (IsQuote(c)) {
      quote_ = c;
      text_ += '"';
    } else if (IsPunctuation(c)) {
      text_ += c;
      if (c == '{') ++braces_;
      if (c == '}') --braces_;
      if (c == '[') ++brackets_;
      if (c == ']') --brackets_;
      if (braces_ < 0 || brackets_ < 0 || (braces_ == 0 && brackets_ == 0)) {
        return Finish(Frame::Kind::kText, std::move(text_));
      }
      if (braces_ + brackets_ > kMaxDepth) return Finish(Frame::Kind::kTooDeep);
    } else if (IsScalarByte(c)) {
      text_ += c;
    } else if (!IsSpace(c)) {
      return Finish(Frame::Kind::kStrayByte, std::string(1, c));
    } else if (!text_.empty()) {
      text_ += ' ';
    }
    if (text_.size() > kMaxBytes) return Finish(Frame::Kind::kTooLong);
  }
  return {};
}

}  // namespace minivmm
