// Standard input, output and error where a program was started without them.
#ifndef MINIVMM_BLOCKCORE_BASE_STANDARD_FILES_H_
#define MINIVMM_BLOCKCORE_BASE_STANDARD_FILES_H_

namespace minivmm {

// Puts /dev/null where one of the three is closed. Else the next files to be opened, a disk's among
// them, would get those numbers, and what is printed would be written over the disk. The first
// thing in main.
void OpenMissingStandardFiles();

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_BASE_STANDARD_FILES_H_
