// SPDX-License-Identifier: Apache-2.0
// One answer to a health check. Values only.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice {

struct HealthAnswer {
  int code = 503;
  std::string body;  // JSON
  std::vector<std::pair<std::string, std::string>> headers;

  friend bool operator==(const HealthAnswer&, const HealthAnswer&) = default;
};

// What is asked: the path, and whether the client came over IPv4.
struct HealthQuestion {
  std::string path;
  bool v4 = true;
};

// An answer of code 404 stands for "no such path".
using HealthAnswerer = std::function<HealthAnswer(const HealthQuestion&)>;

}  // namespace sluice
