#include "firmware/aml.h"

#include "blockcore/base/check.h"
#include "blockcore/base/little_endian.h"

namespace minivmm::aml {
namespace {

enum Opcode : uint8_t {
  kZeroOp = 0x00,
  kOneOp = 0x01,
  kNameOp = 0x08,
  kBytePrefix = 0x0a,
  kWordPrefix = 0x0b,
  kDwordPrefix = 0x0c,
  kStringPrefix = 0x0d,
  kQwordPrefix = 0x0e,
  kScopeOp = 0x10,
  kBufferOp = 0x11,
  kPackageOp = 0x12,
  kMethodOp = 0x14,
  kExtendedPrefix = 0x5b,
  kNotifyOp = 0x86,
  kDeviceOp = 0x82,  // after kExtendedPrefix
};

// Resource descriptor tags (ACPI 6.4.2 and 6.4.3).
constexpr uint8_t kIoPortTag = 0x47;
constexpr uint8_t kEndTag = 0x79;
constexpr uint8_t kFixedMemory32Tag = 0x86;
constexpr uint8_t kDwordAddressSpaceTag = 0x87;
constexpr uint8_t kWordAddressSpaceTag = 0x88;
constexpr uint8_t kExtendedInterruptTag = 0x89;

constexpr uint8_t kMemoryRange = 0;
constexpr uint8_t kBusNumberRange = 2;
constexpr uint8_t kMinAndMaxFixed = 0x0c;  // a producer, positive decode
constexpr uint8_t kReadWrite = 0x01;
constexpr uint8_t kDecodes16Bits = 0x01;
constexpr uint8_t kConsumerEdgeHighExclusive = 0x03;

void Append(Bytes& bytes, const Bytes& more) {
  bytes.insert(bytes.end(), more.begin(), more.end());
}

// PkgLength (ACPI 20.2.4) counts itself, hence the search for the width that fits.
void AppendWithPackageLength(Bytes& bytes, const Bytes& content) {
  size_t extra_bytes = 0;
  size_t length = content.size() + 1;
  if (length > 0x3f) {
    do {
      ++extra_bytes;
      length = content.size() + 1 + extra_bytes;
    } while (length >> (4 + 8 * extra_bytes) != 0);
    VMM_CHECK(extra_bytes <= 3);
    AppendLe<uint8_t>(bytes, static_cast<uint8_t>(extra_bytes << 6 | (length & 0xf)));
    for (size_t i = 0; i < extra_bytes; ++i)
      AppendLe<uint8_t>(bytes, static_cast<uint8_t>(length >> (4 + 8 * i)));
  } else {
    AppendLe<uint8_t>(bytes, static_cast<uint8_t>(length));
  }
  Append(bytes, content);
}

void AppendName(Bytes& bytes, std::string_view name) {
  if (name.starts_with('\\')) {
    AppendLe<uint8_t>(bytes, '\\');
    name.remove_prefix(1);
  }
  VMM_CHECK(!name.empty() && name.size() <= 4);
  for (size_t i = 0; i < 4; ++i)
    AppendLe<uint8_t>(bytes, static_cast<uint8_t>(i < name.size() ? name[i] : '_'));
}

Bytes NamedContent(std::string_view name, const std::vector<Bytes>& terms) {
  Bytes content;
  AppendName(content, name);
  for (const Bytes& term : terms) Append(content, term);
  return content;
}

uint8_t HexDigit(char digit) {
  VMM_CHECK((digit >= '0' && digit <= '9') || (digit >= 'A' && digit <= 'F'));
  return static_cast<uint8_t>(digit <= '9' ? digit - '0' : digit - 'A' + 10);
}

}  // namespace

Bytes Integer(uint64_t value) {
  Bytes bytes;
  if (value <= 1) {
    AppendLe<uint8_t>(bytes, value == 0 ? kZeroOp : kOneOp);
  } else if (value <= UINT8_MAX) {
    AppendLe<uint8_t>(bytes, kBytePrefix);
    AppendLe<uint8_t>(bytes, static_cast<uint8_t>(value));
  } else if (value <= UINT16_MAX) {
    AppendLe<uint8_t>(bytes, kWordPrefix);
    AppendLe<uint16_t>(bytes, static_cast<uint16_t>(value));
  } else if (value <= UINT32_MAX) {
    AppendLe<uint8_t>(bytes, kDwordPrefix);
    AppendLe<uint32_t>(bytes, static_cast<uint32_t>(value));
  } else {
    AppendLe<uint8_t>(bytes, kQwordPrefix);
    AppendLe<uint64_t>(bytes, value);
  }
  return bytes;
}

// Three letters of five bits each, then the digits, with the most significant byte first
// (ACPI 19.6.36).
Bytes EisaId(std::string_view id) {
  VMM_CHECK(id.size() == 7);
  uint32_t letters = 0;
  for (char letter : id.substr(0, 3)) {
    VMM_CHECK(letter >= 'A' && letter <= 'Z');
    letters = letters << 5 | static_cast<uint32_t>(letter - 'A' + 1);
  }
  Bytes bytes;
  AppendLe<uint8_t>(bytes, kDwordPrefix);
  AppendLe<uint8_t>(bytes, static_cast<uint8_t>(letters >> 8));
  AppendLe<uint8_t>(bytes, static_cast<uint8_t>(letters));
  AppendLe<uint8_t>(bytes, static_cast<uint8_t>(HexDigit(id[3]) << 4 | HexDigit(id[4])));
  AppendLe<uint8_t>(bytes, static_cast<uint8_t>(HexDigit(id[5]) << 4 | HexDigit(id[6])));
  return bytes;
}

Bytes String(std::string_view text) {
  Bytes bytes;
  AppendLe<uint8_t>(bytes, kStringPrefix);
  for (char character : text) AppendLe<uint8_t>(bytes, static_cast<uint8_t>(character));
  AppendLe<uint8_t>(bytes, 0);
  return bytes;
}

Bytes Package(const std::vector<Bytes>& elements) {
  VMM_CHECK(elements.size() <= UINT8_MAX);
  Bytes content;
  AppendLe<uint8_t>(content, static_cast<uint8_t>(elements.size()));
  for (const Bytes& element : elements) Append(content, element);
  Bytes bytes;
  AppendLe<uint8_t>(bytes, kPackageOp);
  AppendWithPackageLength(bytes, content);
  return bytes;
}

Bytes ResourceTemplate(const std::vector<Bytes>& descriptors) {
  Bytes resources;
  for (const Bytes& descriptor : descriptors) Append(resources, descriptor);
  AppendLe<uint8_t>(resources, kEndTag);
  AppendLe<uint8_t>(resources, 0);  // in place of a checksum: always valid

  Bytes content = Integer(resources.size());
  Append(content, resources);
  Bytes bytes;
  AppendLe<uint8_t>(bytes, kBufferOp);
  AppendWithPackageLength(bytes, content);
  return bytes;
}

Bytes Name(std::string_view name, const Bytes& value) {
  Bytes bytes;
  AppendLe<uint8_t>(bytes, kNameOp);
  AppendName(bytes, name);
  Append(bytes, value);
  return bytes;
}

Bytes Scope(std::string_view name, const std::vector<Bytes>& terms) {
  Bytes bytes;
  AppendLe<uint8_t>(bytes, kScopeOp);
  AppendWithPackageLength(bytes, NamedContent(name, terms));
  return bytes;
}

Bytes Device(std::string_view name, const std::vector<Bytes>& terms) {
  Bytes bytes;
  AppendLe<uint8_t>(bytes, kExtendedPrefix);
  AppendLe<uint8_t>(bytes, kDeviceOp);
  AppendWithPackageLength(bytes, NamedContent(name, terms));
  return bytes;
}

Bytes Method(std::string_view name, uint8_t argument_count, const std::vector<Bytes>& statements) {
  constexpr uint8_t kMaxArguments = 7;
  constexpr uint8_t kSerialized = 1 << 3;
  VMM_CHECK(argument_count <= kMaxArguments);
  Bytes content;
  AppendName(content, name);
  AppendLe<uint8_t>(content, static_cast<uint8_t>(argument_count | kSerialized));
  for (const Bytes& statement : statements) Append(content, statement);
  Bytes bytes;
  AppendLe<uint8_t>(bytes, kMethodOp);
  AppendWithPackageLength(bytes, content);
  return bytes;
}

Bytes Notify(std::string_view device, uint8_t value) {
  Bytes bytes;
  AppendLe<uint8_t>(bytes, kNotifyOp);
  AppendName(bytes, device);
  Append(bytes, Integer(value));
  return bytes;
}

Bytes IoPorts(uint16_t first, uint8_t count) {
  Bytes bytes;
  AppendLe<uint8_t>(bytes, kIoPortTag);
  AppendLe<uint8_t>(bytes, kDecodes16Bits);
  AppendLe<uint16_t>(bytes, first);  // lowest and highest base: it cannot move
  AppendLe<uint16_t>(bytes, first);
  AppendLe<uint8_t>(bytes, 1);  // alignment
  AppendLe<uint8_t>(bytes, count);
  return bytes;
}

Bytes FixedMemory(uint32_t address, uint32_t size_bytes) {
  Bytes bytes;
  AppendLe<uint8_t>(bytes, kFixedMemory32Tag);
  AppendLe<uint16_t>(bytes, 9);
  AppendLe<uint8_t>(bytes, kReadWrite);
  AppendLe<uint32_t>(bytes, address);
  AppendLe<uint32_t>(bytes, size_bytes);
  return bytes;
}

// The extended form: the short one (IRQ) is meant for a legacy PIC, and Linux overrides its trigger
// mode.
Bytes EdgeInterrupt(uint32_t global_interrupt) {
  Bytes bytes;
  AppendLe<uint8_t>(bytes, kExtendedInterruptTag);
  AppendLe<uint16_t>(bytes, 6);
  AppendLe<uint8_t>(bytes, kConsumerEdgeHighExclusive);
  AppendLe<uint8_t>(bytes, 1);
  AppendLe<uint32_t>(bytes, global_interrupt);
  return bytes;
}

Bytes BusNumberWindow(uint16_t first, uint16_t last) {
  Bytes bytes;
  AppendLe<uint8_t>(bytes, kWordAddressSpaceTag);
  AppendLe<uint16_t>(bytes, 13);
  AppendLe<uint8_t>(bytes, kBusNumberRange);
  AppendLe<uint8_t>(bytes, kMinAndMaxFixed);
  AppendLe<uint8_t>(bytes, 0);   // type-specific flags
  AppendLe<uint16_t>(bytes, 0);  // granularity
  AppendLe<uint16_t>(bytes, first);
  AppendLe<uint16_t>(bytes, last);
  AppendLe<uint16_t>(bytes, 0);  // translation
  AppendLe<uint16_t>(bytes, static_cast<uint16_t>(last - first + 1));
  return bytes;
}

Bytes MemoryWindow(uint32_t first, uint32_t last) {
  Bytes bytes;
  AppendLe<uint8_t>(bytes, kDwordAddressSpaceTag);
  AppendLe<uint16_t>(bytes, 23);
  AppendLe<uint8_t>(bytes, kMemoryRange);
  AppendLe<uint8_t>(bytes, kMinAndMaxFixed);
  AppendLe<uint8_t>(bytes, kReadWrite);  // not cacheable
  AppendLe<uint32_t>(bytes, 0);          // granularity
  AppendLe<uint32_t>(bytes, first);
  AppendLe<uint32_t>(bytes, last);
  AppendLe<uint32_t>(bytes, 0);  // translation
  AppendLe<uint32_t>(bytes, last - first + 1);
  return bytes;
}

}  // namespace minivmm::aml
