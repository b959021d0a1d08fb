// SPDX-License-Identifier: Apache-2.0
// Frames as text: their fields by name, and those in which two of them differ.
#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "test/support/packet.h"

namespace sluice::testing {
namespace {

using View = std::span<const std::uint8_t>;

std::string Text(View bytes) { return {bytes.begin(), bytes.end()}; }

using Field = std::pair<std::string, std::string>;

template <typename T>
std::string Hex(T value) {
  return absl::StrFormat("0x%x", static_cast<std::uint64_t>(value));
}
std::string HexBytes(View bytes) { return absl::BytesToHexString(Text(bytes)); }
std::string Printable(const std::string& bytes) {
  constexpr std::size_t kShown = 64;
  const std::string tail = bytes.size() > kShown ? "..." : "";
  return absl::StrCat(bytes.size(), " bytes '", absl::CHexEscape(bytes.substr(0, kShown)), tail,
                      "'");
}

// Appends the fields of one layer after another; a network layer behind an ICMP header is "inner.".
class Describer {
 public:
  void operator()(const Ethernet& l) {
    Add("ethernet", {{"source", l.source}, {"destination", l.destination}});
  }
  void operator()(const Vlan& l) {
    Add("vlan", {{"id", absl::StrCat(l.id)}, {"tag", Hex(l.tag_ethertype)}});
  }
  void operator()(const Ipv4& l) {
    Add("ipv4", {{"source", l.source},
                 {"destination", l.destination},
                 {"ttl", absl::StrCat(l.ttl)},
                 {"tos", Hex(l.tos)},
                 {"id", absl::StrCat(l.id)},
                 {"dont_fragment", absl::StrCat(l.dont_fragment)},
                 {"more_fragments", absl::StrCat(l.more_fragments)},
                 {"fragment_offset", absl::StrCat(l.fragment_offset)},
                 {"options", HexBytes(l.options)},
                 {"total_length", Kept(l.total_length)},
                 {"protocol", Kept(l.protocol)},
                 {"checksum", Kept(l.checksum)}});
  }
  void operator()(const Ipv6& l) {
    Add("ipv6", {{"source", l.source},
                 {"destination", l.destination},
                 {"hop_limit", absl::StrCat(l.hop_limit)},
                 {"traffic_class", Hex(l.traffic_class)},
                 {"flow_label", Hex(l.flow_label)},
                 {"payload_length", Kept(l.payload_length)},
                 {"next_header", Kept(l.next_header)}});
  }
  void operator()(const Ipv6Extension& l) {
    Add(absl::StrCat("extension", l.type),
        {{"body", HexBytes(l.body)}, {"next_header", Kept(l.next_header)}});
  }
  void operator()(const Ipv6Fragment& l) {
    Add("fragment", {{"offset", absl::StrCat(l.offset)},
                     {"more", absl::StrCat(l.more)},
                     {"id", Hex(l.id)},
                     {"next_header", Kept(l.next_header)}});
  }
  void operator()(const Tcp& l) {
    Add("tcp", {{"source_port", absl::StrCat(l.source_port)},
                {"destination_port", absl::StrCat(l.destination_port)},
                {"flags", l.flags},
                {"sequence", absl::StrCat(l.sequence)},
                {"acknowledgment", absl::StrCat(l.acknowledgment)},
                {"window", absl::StrCat(l.window)},
                {"urgent", absl::StrCat(l.urgent)},
                {"options", HexBytes(l.options)},
                {"checksum", Kept(l.checksum)}});
  }
  void operator()(const Udp& l) {
    Add("udp", {{"source_port", absl::StrCat(l.source_port)},
                {"destination_port", absl::StrCat(l.destination_port)},
                {"length", Kept(l.length)},
                {"checksum", l.no_checksum ? "none" : Kept(l.checksum)}});
  }
  void operator()(const Sctp& l) {
    Add("sctp", {{"source_port", absl::StrCat(l.source_port)},
                 {"destination_port", absl::StrCat(l.destination_port)},
                 {"tag", Hex(l.tag)},
                 {"checksum", l.no_checksum ? "none" : Kept(l.checksum)}});
    for (std::size_t i = 0; i < l.chunks.size(); ++i) {
      Add(absl::StrCat("sctp.chunk", i), {{"type", absl::StrCat(l.chunks[i].type)},
                                          {"flags", Hex(l.chunks[i].flags)},
                                          {"value", Printable(l.chunks[i].value)}});
    }
  }
  void operator()(const Icmp& l) {
    Add("icmp", {{"type", absl::StrCat(l.type)},
                 {"code", absl::StrCat(l.code)},
                 {"rest", Hex(l.rest)},
                 {"checksum", Kept(l.checksum)}});
    prefix_ += "inner.";
  }
  void operator()(const TransportStub& l) {
    Add("stub", {{"protocol", absl::StrCat(l.protocol)},
                 {"source_port", absl::StrCat(l.source_port)},
                 {"destination_port", absl::StrCat(l.destination_port)},
                 {"rest", Hex(l.rest)}});
  }
  void operator()(const Payload& l) { Add("payload", {{"bytes", Printable(l.bytes)}}); }
  void operator()(const Trailer& l) { Add("trailer", {{"bytes", Printable(l.bytes)}}); }

  const std::vector<Field>& fields() const { return fields_; }

 private:
  template <typename T>
  static std::string Kept(const std::optional<T>& value) {
    return value ? Hex(*value) : "as implied";
  }
  void Add(const std::string& layer, const std::vector<Field>& fields) {
    for (const auto& [name, value] : fields) {
      fields_.emplace_back(absl::StrCat(prefix_, layer, ".", name), value);
    }
  }

  std::vector<Field> fields_;
  std::string prefix_;
};

std::vector<Field> Fields(const Packet& packet) {
  Describer describer;
  for (const Layer& layer : packet) std::visit(describer, layer);
  return describer.fields();
}

}  // namespace

std::vector<std::string> Describe(const Packet& packet) {
  std::vector<std::string> lines;
  for (const auto& [name, value] : Fields(packet)) lines.push_back(absl::StrCat(name, ": ", value));
  return lines;
}

std::string Difference(std::span<const std::uint8_t> expected,
                       std::span<const std::uint8_t> actual) {
  if (std::ranges::equal(expected, actual)) return "";
  const absl::StatusOr<Packet> want = Parse(expected);
  const absl::StatusOr<Packet> have = Parse(actual);
  if (!want.ok() || !have.ok()) {
    return absl::StrCat("frames that do not both parse:\n  expected ", want.status().ToString(),
                        " ", HexBytes(expected), "\n  is ", have.status().ToString(), " ",
                        HexBytes(actual), "\n");
  }
  std::map<std::string, std::string> missing;
  for (const auto& [name, value] : Fields(*want)) missing[name] = value;
  std::string lines;
  for (const auto& [name, value] : Fields(*have)) {
    const auto found = missing.find(name);
    const std::string expected_value = found == missing.end() ? "no such field" : found->second;
    if (expected_value != value) {
      absl::StrAppend(&lines, name, ": expected ", expected_value, ", is ", value, "\n");
    }
    if (found != missing.end()) missing.erase(found);
  }
  for (const auto& [name, value] : missing) {
    absl::StrAppend(&lines, name, ": expected ", value, ", is missing\n");
  }
  if (lines.empty()) {
    lines = absl::StrCat("frames differ in bytes that have no name:\n  expected ",
                         HexBytes(expected), "\n  is       ", HexBytes(actual), "\n");
  }
  return lines;
}

}  // namespace sluice::testing
