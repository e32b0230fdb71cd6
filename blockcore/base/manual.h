// Manual: what a program says of itself, written once, beside the table that its command line is
// parsed with, and shown in three forms:
//
//   --help            RenderHelp: one screen, one line for each entry
//   --help=man        RenderManPage: the page in section 1, with all details, in man(7) macros
//   --help=bash       RenderBashCompletion: to be sourced by a shell
//
// Pure. Texts are plain: an entry's `details` and a section's `text` are paragraphs, separated by
// an empty line; a line that begins with four spaces is an example and stays as it is; what stands
// in `backquotes` is bold in the page.
//
// Completion needs no tables besides: operands named FILE, COMMAND or a|b|c complete by themselves,
// and so do the words in the first usage line, unless `completions` says otherwise. The entries
// "key=…" of a section "… OF --option" complete the lists that this option takes; those of a
// section "… OF word" do so in lists in which `word` stands.
#ifndef MINIVMM_BLOCKCORE_BASE_MANUAL_H_
#define MINIVMM_BLOCKCORE_BASE_MANUAL_H_

#include <string>
#include <string_view>
#include <vector>

namespace minivmm {

// One option, command, property or driver.
struct ManualEntry {
  // "--blockdev LIST", "-m, --memory SIZE", "--help[=man|bash]", "zone_report, zrp OFFSET NUMBER"
  std::string term = {};
  std::string summary = {};  // one line, beside the term in the help; empty: not in the help
  std::string details = {};  // what the manual page says besides; may be empty
  // What may follow the option, or the command, on a command line. Words; FILE and COMMAND stand
  // for the names of files and of commands (the entries of the section COMMANDS). In a list with
  // commas, a word without '=' may only be the first item, and "ITEM,WORD" is offered when the list
  // has ITEM already: "virtio-blk-pci", "virtio-blk-pci,drive=", "filename=FILE".
  std::vector<std::string> completions = {};
  std::vector<ManualEntry> entries = {};  // options of a command, properties of a device
};

struct ManualSection {
  std::string title = {};  // as in a manual page: "OPTIONS", "EXIT STATUS"
  std::string text = {};
  std::vector<ManualEntry> entries = {};
  bool in_help = false;  // its entries (and only they) are in --help
};

struct Manual {
  std::string name = {};                // "minivmm-io"
  std::string version = {};             // "0.1"
  std::string summary = {};             // "boots a Linux guest on KVM …", without a full stop
  std::vector<std::string> usage = {};  // without the name: "--kernel FILE [OPTION …]"
  std::string help_footer = {};         // last lines of the help: where to read on
  std::vector<ManualSection> sections = {};
  std::vector<std::string> see_also = {};  // "minivmm-img(1)"
};

// No line is longer than 100 characters unless a term is, or a line of usage or footer.
std::string RenderHelp(const Manual& manual);
std::string RenderManPage(const Manual& manual);
std::string RenderBashCompletion(const Manual& manual);

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_BASE_MANUAL_H_
