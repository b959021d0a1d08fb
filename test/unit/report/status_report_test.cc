// SPDX-License-Identifier: Apache-2.0
#include "control/report/status_report.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "control/report/drop_report.h"
#include "control/report/interface_report.h"
#include "control/report/map_report.h"
#include "test/unit/report/pinned_state_builder.h"

namespace sluice::report {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

StatusReport RunningStatus() {
  StatusReport report;
  report.agent.emplace();
  report.agent->node_name = "node-a";
  report.agent->node_addresses = {"192.0.2.10", "2001:db8::10"};
  report.agent->started_at = "2026-11-23T06:00:00Z";
  report.agent->synced = true;
  report.agent->source_generation = 9;
  report.agent->applied_generation = 9;
  report.agent->features = {{"tcx", true}, {"batch", false}};
  report.meta.agent_pid = 1234;
  report.pins = "/sys/fs/bpf/sluice/v1";
  CountRows(ExampleState().state(), report);
  return report;
}

absl::Time At(const std::string& text) {
  absl::Time time;
  std::string error;
  EXPECT_TRUE(absl::ParseTime(absl::RFC3339_full, text, &time, &error)) << error;
  return time;
}

TEST(StatusReportTest, HealthyTable) {
  const StatusReport report = RunningStatus();
  EXPECT_EQ(HealthOf(report), Health::kHealthy);
  EXPECT_EQ(StatusToTable(report, At("2026-11-23T06:05:12Z")),
            "health      healthy\n"
            "agent       running, pid 1234, since 2026-11-23T06:00:00Z (5m12s)\n"
            "node        node-a 192.0.2.10 2001:db8::10\n"
            "synced      yes, applied 9 of 9\n"
            "features    tcx=yes batch=no\n"
            "pins        /sys/fs/bpf/sluice/v1\n"
            "services    2 with 4 frontends\n"
            "backends    4\n"
            "flows       4\n");
}

TEST(StatusReportTest, JsonOfARunningAgent) {
  StatusReport report = RunningStatus();
  report.agent->problems = {{"a.yaml", "Service default/web", "a.yaml:3: port 0"}};
  report.agent->conflicts = {"default/a and default/b claim NodePort 30080"};
  report.agent->listeners_shadowed = {{30080, "TCP", "default/web:http", "nginx"}};
  EXPECT_EQ(StatusToJson(report, At("2026-11-23T06:05:12Z")), Json::parse(R"({
    "agent": "running", "health": "healthy", "pid": 1234, "startedAt": "2026-11-23T06:00:00Z",
    "upSeconds": 312, "nodeName": "node-a", "nodeAddresses": ["192.0.2.10", "2001:db8::10"],
    "synced": true, "sourceGeneration": 9, "appliedGeneration": 9, "source": null,
    "degraded": [], "problems": [{"origin": "a.yaml", "object": "Service default/web",
                  "message": "a.yaml:3: port 0"}],
    "conflicts": ["default/a and default/b claim NodePort 30080"],
    "listenersShadowed": [{"port": 30080, "protocol": "TCP", "service": "default/web:http",
                           "process": "nginx"}],
    "features": {"tcx": true, "batch": false}, "timeouts": {},
    "pins": "/sys/fs/bpf/sluice/v1", "mapsError": "",
    "counts": {"services": 2, "frontends": 4, "backends": 4, "flows": 4}})"));
}

TEST(StatusReportTest, SaysSinceWhenTheApiIsAway) {
  StatusReport report = RunningStatus();
  const absl::Time now = At("2026-11-23T06:05:12Z");
  report.agent->source = {{"server", "https://192.0.2.1:6443"}, {"awaySince", nullptr}};
  EXPECT_THAT(StatusToTable(report, now),
              HasSubstr("source      Kubernetes API https://192.0.2.1:6443, followed\n"));
  report.agent->source["awaySince"] = "2026-11-23T06:04:00Z";
  EXPECT_THAT(StatusToTable(report, now),
              HasSubstr("source      Kubernetes API https://192.0.2.1:6443, not followed since "
                        "2026-11-23T06:04:00Z\n"));
  EXPECT_EQ(StatusToJson(report, now)["source"], report.agent->source);
}

TEST(StatusReportTest, WhateverIsWrongDegrades) {
  StatusReport report = RunningStatus();
  report.agent->degraded = {"map sl_flows is full"};
  EXPECT_EQ(HealthOf(report), Health::kDegraded);
  report = RunningStatus();
  report.agent->synced = false;
  EXPECT_EQ(HealthOf(report), Health::kDegraded);
  report = RunningStatus();
  report.maps_error = "no permission";
  EXPECT_EQ(HealthOf(report), Health::kDegraded);
  EXPECT_THAT(StatusToTable(report, absl::UnixEpoch()), HasSubstr("maps        no permission\n"));
}

TEST(StatusReportTest, SectionsListWhatIsWrong) {
  StatusReport report = RunningStatus();
  report.agent->degraded = {"map sl_flows is full"};
  report.agent->problems = {{"a.yaml", "Service default/web", "a.yaml:3: port 0"},
                            {"b.yaml", "b.yaml", "vanished"}};
  report.agent->conflicts = {"default/a and default/b claim NodePort 30080"};
  report.agent->listeners_shadowed = {{30080, "TCP", "default/web:http", "nginx"}};
  EXPECT_THAT(StatusToTable(report, absl::UnixEpoch()),
              HasSubstr("degraded:\n"
                        "  map sl_flows is full\n"
                        "problems:\n"
                        "  Service default/web: a.yaml:3: port 0\n"
                        "  b.yaml: vanished\n"
                        "conflicts:\n"
                        "  default/a and default/b claim NodePort 30080\n"
                        "listeners shadowed:\n"
                        "  TCP port 30080 of nginx is taken by Service default/web:http\n"));
}

TEST(StatusReportTest, WithoutAgentTheMapsAreCountedAll) {
  StatusReport report = RunningStatus();
  report.agent.reset();
  report.meta.started_unix = 1795413600;
  EXPECT_EQ(HealthOf(report), Health::kNotRunning);
  EXPECT_EQ(StatusToTable(report, absl::UnixEpoch()),
            "health      not running\n"
            "agent       not running; the last one had pid 1234 and was started at "
            "2026-11-23T06:00:00+00:00\n"
            "pins        /sys/fs/bpf/sluice/v1\n"
            "services    2 with 4 frontends\n"
            "backends    4\n"
            "flows       4\n");
  const Json json = StatusToJson(report, absl::UnixEpoch());
  EXPECT_EQ(json.at("agent"), "not running");
  EXPECT_EQ(json.at("counts").at("backends"), 4);
  EXPECT_FALSE(json.contains("pid"));
}

std::vector<DropReport> ExampleDrops() {
  PinnedStateBuilder builder = ExampleState();
  builder.state().drops = {{{abi::SL_REASON_NO_BACKEND, 2}, {5}},
                           {{abi::SL_REASON_EXTERNAL_DENIED, 1}, {12000}},
                           {{abi::SL_REASON_NO_SUCH_SERVICE, 0}, {5}},
                           {{abi::SL_REASON_NO_FLOW, 99}, {1}}};
  return BuildDropReports(builder.state());
}

TEST(DropReportTest, MostPacketsFirstWithNames) {
  EXPECT_EQ(DropsToTable(ExampleDrops(), nullptr),
            "REASON           SERVICE           PACKETS\n"
            "external_denied  default/web:http    12.0k\n"
            "no_backend       kube-system/dns         5\n"
            "no_such_service  -                       5\n"
            "no_flow          id 99                   1\n");
}

TEST(DropReportTest, JsonSaysWhetherThereAreSamples) {
  const std::vector<AgentDrop> samples = {{"2026-11-23T06:00:00Z", "no_backend", "kube-system/dns",
                                           "[2001:db8::5]:4000", "[2001:db8::a]:53", "UDP", "eth0",
                                           "from_net", 90}};
  const auto drops = ExampleDrops();
  EXPECT_EQ(DropsToJson({drops[1]}, &samples), Json::parse(R"({
    "agent": "running",
    "drops": [{"reason": "no_backend", "service": "kube-system/dns", "packets": 5}],
    "samples": [{"time": "2026-11-23T06:00:00Z", "reason": "no_backend",
                 "service": "kube-system/dns", "protocol": "UDP", "source": "[2001:db8::5]:4000",
                 "destination": "[2001:db8::a]:53", "interface": "eth0", "hook": "from_net",
                 "length": 90}]})"));
  EXPECT_EQ(DropsToJson({}, nullptr),
            Json::parse(R"({"agent": "not running", "drops": [], "samples": []})"));
  EXPECT_THAT(DropsToTable(drops, &samples),
              HasSubstr("\n2026-11-23T06:00:00Z  no_backend  kube-system/dns  UDP       "
                        "[2001:db8::5]:4000  [2001:db8::a]:53  eth0       from_net      90\n"));
}

TEST(MapReportTest, PercentAndMemory) {
  const std::vector<MapReport> maps = {{"sl_flows", "hash", 1, 3, 8 << 20},
                                       {"sl_events", "ringbuf", 0, 0, std::nullopt}};
  EXPECT_EQ(MapsToTable(maps),
            "NAME       TYPE     USED  SIZE  PERCENT   MEMORY\n"
            "sl_flows   hash        1     3     33.3  8.00MiB\n"
            "sl_events  ringbuf     0     0      0.0        -\n");
  EXPECT_EQ(MapsToJson(maps, false), Json::parse(R"({"agent": "not running", "maps": [
    {"name": "sl_flows", "type": "hash", "used": 1, "size": 3, "percent": 33.3, "bytes": 8388608},
    {"name": "sl_events", "type": "ringbuf", "used": 0, "size": 0, "percent": 0.0,
     "bytes": null}]})"));
}

TEST(MapReportTest, MemlockIsReadFromFdinfo) {
  EXPECT_EQ(ParseMemlock("pos:\t0\nmap_type:\t1\nmemlock:\t4096\nmap_id:\t7\n"), 4096u);
  EXPECT_EQ(ParseMemlock("pos:\t0\n"), std::nullopt);
  EXPECT_EQ(ParseMemlock("memlock:\tmany\n"), std::nullopt);
}

TEST(InterfaceReportTest, TableAndJson) {
  const std::vector<InterfaceReport> interfaces = {
      {"eth0", 2, "uplink", {"from_net", "to_net"}, "tcx", ""},
      {"veth1", 0, "pod", {"from_pod"}, "tcx", "the interface is gone"}};
  EXPECT_EQ(InterfacesToTable(interfaces),
            "NAME   INDEX  ROLE    ATTACH  HOOKS            ERROR\n"
            "eth0       2  uplink  tcx     from_net,to_net  -\n"
            "veth1      -  pod     tcx     from_pod         the interface is gone\n");
  EXPECT_EQ(InterfacesToJson({interfaces[0]}, true), Json::parse(R"({"agent": "running",
    "interfaces": [{"name": "eth0", "ifindex": 2, "role": "uplink",
                    "hooks": ["from_net", "to_net"], "attach": "tcx", "error": ""}]})"));
}

}  // namespace
}  // namespace sluice::report
