// Emitters for the few AML terms that the DSDT needs (ACPI specification 6.5, chapters 20 and 6.4).
// Each function returns the encoded bytes of one term; terms nest by passing one to the next. Pure;
// any thread. Only what acpi.cc uses is here: no fields, and names of a single segment.
//
//   Device("COM1", {Name("_HID", EisaId("PNP0501")), Name("_UID", Integer(0))})
#ifndef MINIVMM_FIRMWARE_AML_H_
#define MINIVMM_FIRMWARE_AML_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace minivmm::aml {

using Bytes = std::vector<std::byte>;

// Objects. An EISA id is three capital letters and four hexadecimal digits.
Bytes Integer(uint64_t value);
Bytes EisaId(std::string_view id);
Bytes String(std::string_view text);
Bytes Package(const std::vector<Bytes>& elements);
Bytes ResourceTemplate(const std::vector<Bytes>& descriptors);

// Named things. `name` has one to four characters, after a backslash if it starts at the root.
Bytes Name(std::string_view name, const Bytes& value);
Bytes Scope(std::string_view name, const std::vector<Bytes>& terms);
Bytes Device(std::string_view name, const std::vector<Bytes>& terms);

// A method whose calls do not overlap, with 0 to 7 arguments.
Bytes Method(std::string_view name, uint8_t argument_count, const std::vector<Bytes>& statements);
// The statement that tells the operating system's driver of a device that something happened.
Bytes Notify(std::string_view device, uint8_t value);

// Resource descriptors. Ranges that a bridge passes on are given by first and last, both included.
Bytes IoPorts(uint16_t first, uint8_t count);
Bytes FixedMemory(uint32_t address, uint32_t size_bytes);
Bytes EdgeInterrupt(uint32_t global_interrupt);
Bytes BusNumberWindow(uint16_t first, uint16_t last);
Bytes MemoryWindow(uint32_t first, uint32_t last);

}  // namespace minivmm::aml

#endif  // MINIVMM_FIRMWARE_AML_H_
