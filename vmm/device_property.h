// Tables of the properties that --device takes, and what is done with such a table: reading a
// description, help, JSON. One table for each device: disk_properties, device_option. Pure.
#ifndef MINIVMM_VMM_DEVICE_PROPERTY_H_
#define MINIVMM_VMM_DEVICE_PROPERTY_H_

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "blockcore/base/manual.h"
#include "blockcore/base/result.h"
#include "blockcore/options.h"
#include "vmm/value_text.h"

namespace minivmm {

// `where` names the property in messages.
template <typename Device>
struct Property {
  std::string_view name;
  std::string_view value;  // what stands behind the equals sign, in the help
  std::string_view help;
  Result<void> (*set)(Device& device, std::string_view where, const std::string& value);
  std::string (*get)(const Device& device);  // as `set` takes it; empty: not to be mentioned
};

// A property of QEMU's that cannot be chosen here. `is` is the only value it can have; none if
// empty. A name that ends with a dash stands for all that begin so.
struct FixedProperty {
  std::string_view name;
  std::string_view is;
  std::string_view why;
};

inline const FixedProperty* FindFixed(std::span<const FixedProperty> fixed, std::string_view key) {
  for (const FixedProperty& property : fixed) {
    if (property.name.ends_with('-') ? key.starts_with(property.name)
                                     : key.substr(0, key.find('.')) == property.name) {
      return &property;
    }
  }
  return nullptr;
}

// `device_name` as the table's owner is called; `given` without the key "driver".
template <typename Device>
Result<void> ReadProperties(std::string_view device_name, const Description& given,
                            std::span<const Property<Device>> properties,
                            std::span<const FixedProperty> fixed, Device& device) {
  for (const auto& [key, value] : given) {
    const std::string where = fmt::format("--device {}: {}", device_name, key);
    const Property<Device>* known = nullptr;
    for (const Property<Device>& property : properties) {
      if (property.name == key) known = &property;
    }
    if (known != nullptr) {
      TRY_VOID(known->set(device, where, value));
    } else if (const FixedProperty* is_fixed = FindFixed(fixed, key)) {
      if (is_fixed->is.empty() || value != is_fixed->is) {
        return Fail("{}={} is not there: {}", where, value, is_fixed->why);
      }
    } else {
      std::vector<std::string_view> names;
      for (const Property<Device>& property : properties) names.push_back(property.name);
      return Fail("--device {}: unknown property '{}'{}", device_name, key,
                  SuggestionFor(key, names));
    }
  }
  return {};
}

template <typename Device>
std::string PropertiesHelp(std::string_view device_name,
                           std::span<const Property<Device>> properties) {
  std::string text = fmt::format("{} properties:\n", device_name);
  for (const Property<Device>& property : properties) {
    text += fmt::format("  {:<28} {}\n", fmt::format("{}={}", property.name, property.value),
                        property.help);
  }
  return text;
}

template <typename Device>
std::vector<ManualEntry> PropertiesManual(std::span<const Property<Device>> properties) {
  std::vector<ManualEntry> entries;
  for (const Property<Device>& property : properties) {
    entries.push_back({.term = fmt::format("{}={}", property.name, property.value),
                       .summary = std::string(property.help)});
  }
  return entries;
}

template <typename Device>
std::string PropertiesToJson(std::string_view device_name,
                             std::span<const Property<Device>> properties, const Device& device) {
  Description description = {{"driver", std::string(device_name)}};
  for (const Property<Device>& property : properties) {
    if (std::string value = property.get(device); !value.empty()) {
      description.emplace_back(property.name, std::move(value));
    }
  }
  return DescriptionToJson(description);
}

}  // namespace minivmm

#endif  // MINIVMM_VMM_DEVICE_PROPERTY_H_
