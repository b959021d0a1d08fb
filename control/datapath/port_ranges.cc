// SPDX-License-Identifier: Apache-2.0
#include "control/datapath/port_ranges.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

#include "control/base/errno_status.h"
#include "control/base/status_macros.h"
#include "control/base/unique_fd.h"

namespace sluice {
namespace {

// /proc/sys/net shows the network namespace of the thread that opens the file.
constexpr char kEphemeralPath[] = "/proc/sys/net/ipv4/ip_local_port_range";
constexpr char kReservedPath[] = "/proc/sys/net/ipv4/ip_local_reserved_ports";
constexpr char kForwardV4Path[] = "/proc/sys/net/ipv4/ip_forward";
constexpr char kForwardV6Path[] = "/proc/sys/net/ipv6/conf/all/forwarding";

absl::StatusOr<std::string> ReadFile(const char* path) {
  const UniqueFd fd(::open(path, O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(errno, path);
  std::string text;
  std::array<char, 4096> buffer;
  while (true) {
    const ssize_t count = ::read(fd.get(), buffer.data(), buffer.size());
    if (count < 0) return ErrnoStatus(errno, path);
    if (count == 0) break;
    text.append(buffer.data(), static_cast<std::size_t>(count));
  }
  absl::StripAsciiWhitespace(&text);
  return text;
}

absl::StatusOr<std::uint16_t> ParsePort(absl::string_view text) {
  std::uint32_t port = 0;
  if (!absl::SimpleAtoi(text, &port) || port == 0 || port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is not a port"));
  }
  return static_cast<std::uint16_t>(port);
}

absl::StatusOr<PortRange> ParseRange(absl::string_view text) {
  const std::pair<absl::string_view, absl::string_view> ends =
      absl::StrSplit(text, absl::MaxSplits('-', 1));
  PortRange range;
  ASSIGN_OR_RETURN(range.min, ParsePort(absl::StripAsciiWhitespace(ends.first)));
  range.max = range.min;
  if (text.find('-') != absl::string_view::npos) {
    ASSIGN_OR_RETURN(range.max, ParsePort(absl::StripAsciiWhitespace(ends.second)));
  }
  if (range.max < range.min) {
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\": its end is below its start"));
  }
  return range;
}

}  // namespace

std::string PortRange::ToString() const { return absl::StrCat(min, "-", max); }

absl::StatusOr<PortRange> ParsePortRange(std::string_view text) {
  return ParseRange(absl::string_view(text.data(), text.size()));
}

absl::StatusOr<PortSet> PortSet::Parse(std::string_view text) {
  PortSet set;
  for (const absl::string_view part :
       absl::StrSplit(absl::string_view(text.data(), text.size()), ',')) {
    if (absl::StripAsciiWhitespace(part).empty()) continue;
    ASSIGN_OR_RETURN(const PortRange range, ParseRange(part));
    set.Add(range);
  }
  return set;
}

void PortSet::Add(const PortRange& range) {
  PortRange merged = range;
  std::vector<PortRange> kept;
  for (const PortRange& present : ranges_) {
    // Neighbours are joined too: 1-2 and 3-4 are 1-4.
    const bool touches = std::uint32_t{present.min} <= std::uint32_t{merged.max} + 1 &&
                         std::uint32_t{merged.min} <= std::uint32_t{present.max} + 1;
    if (touches) {
      merged = {std::min(merged.min, present.min), std::max(merged.max, present.max)};
    } else {
      kept.push_back(present);
    }
  }
  kept.push_back(merged);
  std::sort(kept.begin(), kept.end());
  ranges_ = std::move(kept);
}

PortSet PortSet::Without(const PortSet& other) const {
  PortSet left = *this;
  for (const PortRange& taken : other.ranges_) {
    std::vector<PortRange> kept;
    for (const PortRange& range : left.ranges_) {
      if (!range.Overlaps(taken)) {
        kept.push_back(range);
        continue;
      }
      if (range.min < taken.min) {
        kept.push_back({range.min, static_cast<std::uint16_t>(taken.min - 1)});
      }
      if (range.max > taken.max) {
        kept.push_back({static_cast<std::uint16_t>(taken.max + 1), range.max});
      }
    }
    left.ranges_ = std::move(kept);
  }
  return left;
}

std::string PortSet::ToString() const {
  return absl::StrJoin(ranges_, ",", [](std::string* out, const PortRange& range) {
    absl::StrAppend(out, range.min);
    if (range.max != range.min) absl::StrAppend(out, "-", range.max);
  });
}

absl::StatusOr<PortRange> ReadEphemeralPorts() {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(kEphemeralPath));
  const std::vector<std::string> ends =
      absl::StrSplit(text, absl::ByAnyChar(" \t"), absl::SkipEmpty());
  if (ends.size() != 2)
    return absl::InternalError(absl::StrCat(kEphemeralPath, ": \"", text, "\""));
  return ParsePortRange(absl::StrCat(ends[0], "-", ends[1]));
}

absl::StatusOr<PortSet> ReadReservedPorts() {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(kReservedPath));
  return PortSet::Parse(text);
}

absl::Status WriteReservedPorts(const PortSet& ports) {
  const std::string text = absl::StrCat(ports.ToString(), "\n");
  const UniqueFd fd(::open(kReservedPath, O_WRONLY | O_CLOEXEC));
  if (!fd.valid() || ::write(fd.get(), text.data(), text.size()) < 0) {
    return ErrnoStatus(errno, kReservedPath);
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> ForwardingEnabled(bool v4) {
  absl::StatusOr<std::string> text = ReadFile(v4 ? kForwardV4Path : kForwardV6Path);
  if (absl::IsNotFound(text.status())) return false;  // the kernel has no IPv6
  RETURN_IF_ERROR(text);
  return *text != "0";
}

}  // namespace sluice
