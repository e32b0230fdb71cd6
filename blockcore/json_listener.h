// JsonListener: base of what hears of each piece of a JSON text as the parser meets it
// (boost::json::basic_parser), because a tree of it would keep only the last of several equal keys.
// Takes everything and looks at nothing: a listener hides what it wants to hear of. Depth is
// bounded by the parser. One thread.
#ifndef MINIVMM_BLOCKCORE_JSON_LISTENER_H_
#define MINIVMM_BLOCKCORE_JSON_LISTENER_H_

#include <boost/json/error.hpp>
#include <boost/json/parse_options.hpp>
#include <boost/json/string_view.hpp>
#include <boost/system/error_code.hpp>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "blockcore/base/result.h"

namespace minivmm {

// A file name may be no UTF-8, and JSON's text is then none either.
inline boost::json::parse_options JsonOfAnyBytes() {
  boost::json::parse_options options;
  options.allow_invalid_utf8 = true;
  return options;
}

class JsonListener {
 public:
  static constexpr size_t max_array_size = SIZE_MAX;
  static constexpr size_t max_object_size = SIZE_MAX;
  static constexpr size_t max_string_size = SIZE_MAX;
  static constexpr size_t max_key_size = SIZE_MAX;
  using Code = boost::system::error_code;
  using Text = boost::json::string_view;

  // Of the first piece that could not be taken.
  const std::optional<Error>& failure() const { return failure_; }

  bool on_document_begin(Code&) { return true; }
  bool on_document_end(Code&) { return true; }
  bool on_object_begin(Code&) { return true; }
  bool on_object_end(size_t, Code&) { return true; }
  bool on_array_begin(Code&) { return true; }
  bool on_array_end(size_t, Code&) { return true; }
  bool on_key_part(Text part, size_t, Code&) {
    key_.append(part.data(), part.size());
    return true;
  }
  bool on_string_part(Text, size_t, Code&) { return true; }
  bool on_string(Text, size_t, Code&) { return true; }
  bool on_number_part(Text, Code&) { return true; }
  bool on_int64(int64_t, Text, Code&) { return true; }
  bool on_uint64(uint64_t, Text, Code&) { return true; }
  bool on_double(double, Text, Code&) { return true; }
  bool on_bool(bool, Code&) { return true; }
  bool on_null(Code&) { return true; }
  bool on_comment_part(Text, Code&) { return true; }
  bool on_comment(Text, Code&) { return true; }

 protected:
  JsonListener() = default;
  ~JsonListener() = default;

  // For on_key, which is given the last part: the whole key.
  std::string TakeKey(Text last_part) {
    key_.append(last_part.data(), last_part.size());
    return std::exchange(key_, {});
  }
  bool Refuse(Unexpected failure, Code& code) {
    failure_ = std::move(failure).value();
    code = boost::json::error::exception;  // any: ours is the better text
    return false;
  }

 private:
  std::string key_;  // what came of it
  std::optional<Error> failure_;
};

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_JSON_LISTENER_H_
