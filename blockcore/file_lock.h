// The lock that a disk's file is held under while it is in use: of `file` nodes, and of tools that
// read or overwrite such files. An open file description lock, so it goes with the descriptor.
#ifndef MINIVMM_BLOCKCORE_FILE_LOCK_H_
#define MINIVMM_BLOCKCORE_FILE_LOCK_H_

namespace minivmm {

enum class FileUse { kShared, kExclusive };

// Returns 0 when the lock is taken, EAGAIN when another user holds it, or the errno value with
// which the file system refused to lock at all. A program's last requests keep its files, and so
// their locks, for a moment after it was killed: waits up to half a second for that. Any thread but
// an I/O thread.
int LockWholeFile(int fd, FileUse use);

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_FILE_LOCK_H_
