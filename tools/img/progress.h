// Progress tells on standard error how far long work has come: on a terminal a line that renews
// itself, elsewhere a line every ten seconds. Work that is done at once prints nothing.
// Main's thread.
#ifndef MINIVMM_TOOLS_IMG_PROGRESS_H_
#define MINIVMM_TOOLS_IMG_PROGRESS_H_

#include <cstdint>
#include <string>

namespace minivmm {

class Progress {
 public:
  // `what`: "dumping 'a.zbd'". `total_bytes`: what Advance will come to; an estimate will do.
  Progress(std::string what, uint64_t total_bytes);
  ~Progress();  // clears the line

  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Bytes that are done, of which so many were moved and not skipped.
  void Advance(uint64_t done_bytes, uint64_t moved_bytes);

  uint64_t moved_bytes() const { return moved_bytes_; }

 private:
  void Print(uint64_t now_ms);

  std::string what_;
  uint64_t total_bytes_;
  uint64_t done_bytes_ = 0;
  uint64_t moved_bytes_ = 0;
  uint64_t start_ms_;
  uint64_t next_ms_;
  uint64_t interval_ms_;
  bool terminal_;
  bool line_shown_ = false;
};

}  // namespace minivmm

#endif  // MINIVMM_TOOLS_IMG_PROGRESS_H_
