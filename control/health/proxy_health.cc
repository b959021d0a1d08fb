// SPDX-License-Identifier: Apache-2.0
#include "control/health/proxy_health.h"

#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

#include "control/base/short_text.h"

namespace sluice {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kGoZeroTime[] = "0001-01-01T00:00:00Z";  // who reads it parses a Go time
constexpr absl::Duration kLongestWait = absl::Seconds(60);
// A message to the keeper (64 KiB) holds four such answers, as JSON in JSON: where a quote was,
// four bytes are then.
constexpr std::size_t kDegradedLines = 20;
constexpr std::size_t kDegradedLineBytes = 512;
constexpr std::size_t kDegradedBytes = 3072;

std::string TimeText(absl::Time time) {
  return absl::FormatTime(absl::RFC3339_sec, time, absl::UTCTimeZone());
}

Json DegradedLines(const ProxyHealth& proxy) {
  Json lines = Json::array();
  if (!proxy.loop_answers) lines.push_back("the agent's loop does not answer");
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < proxy.degraded.size(); ++i) {
    const std::string line = ShortText(proxy.degraded[i], kDegradedLineBytes);
    bytes += line.size();
    if (i == kDegradedLines || bytes > kDegradedBytes) {
      lines.push_back(absl::StrCat("and ", proxy.degraded.size() - i, " more"));
      break;
    }
    lines.push_back(line);
  }
  return lines;
}

HealthAnswer Answer(bool good, const Json& json) {
  HealthAnswer answer;
  answer.code = good ? 200 : 503;
  answer.body = json.dump(2, ' ', false, Json::error_handler_t::replace);
  answer.headers = {{"Content-Type", "application/json"}, {"X-Content-Type-Options", "nosniff"}};
  return answer;
}

}  // namespace

bool IsAlive(const ProxyHealth& proxy) {
  return proxy.loop_answers && proxy.waiting <= kLongestWait;
}

bool IsHealthy(const ProxyHealth& proxy) { return proxy.synced && IsAlive(proxy); }

HealthAnswer ProxyAnswer(const ProxyHealth& proxy, absl::Time now, bool with_node) {
  const bool healthy = with_node ? IsHealthy(proxy) : IsAlive(proxy);
  const bool good = healthy && (!with_node || proxy.node_eligible);
  // As kube-proxy: the time of the last sync only where it matters, else that all is well now.
  std::string updated = TimeText(now);
  if (!good) {
    updated =
        proxy.last_applied == absl::InfinitePast() ? kGoZeroTime : TimeText(proxy.last_applied);
  }
  Json json;
  json["lastUpdated"] = updated;
  json["currentTime"] = TimeText(now);
  if (with_node) json["nodeEligible"] = proxy.node_eligible;
  json["healthy"] = good;
  for (const char* family : {"IPv4", "IPv6"}) {
    json["status"][family] = {{"lastUpdated", updated}, {"healthy", healthy}};
  }
  json["degraded"] = DegradedLines(proxy);
  return Answer(good, json);
}

HealthAnswer ServiceAnswer(const std::string& name_space, const std::string& name,
                           std::uint32_t local_endpoints, bool proxy_healthy) {
  Json json;
  json["service"] = {{"namespace", name_space}, {"name", name}};
  json["localEndpoints"] = local_endpoints;
  json["serviceProxyHealthy"] = proxy_healthy;
  HealthAnswer answer = Answer(local_endpoints > 0 && proxy_healthy, json);
  answer.headers.emplace_back("X-Load-Balancing-Endpoint-Weight", absl::StrCat(local_endpoints));
  return answer;
}

}  // namespace sluice
