// SPDX-License-Identifier: Apache-2.0
// How long the controller takes, on real maps: from the objects of a cluster to the last row (cold
// start), and from one changed EndpointSlice to the maps (one change), and what it holds resident.
// Every result is checked in the maps before its time counts.
//
// usage: control_bench [SERVICES [ENDPOINTS [CHANGES]]]    (10000 10 2000)
#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

#include "control/apply/reconciler.h"
#include "test/support/map_folder.h"

namespace sluice {
namespace {

struct Scale {
  int services = 10000;
  int endpoints = 10;
  int changes = 2000;
};

std::string ServiceName(int service) { return absl::StrCat("service-", service); }

std::string ClusterIp(int service) {
  return absl::StrCat("10.96.", service / 250, ".", 1 + service % 250);
}

// Endpoint addresses of all services are different: the most that the maps must hold.
std::string EndpointIp(std::uint32_t number) {
  return absl::StrCat("10.", 128 + (number >> 16), ".", (number >> 8) & 255, ".", number & 255);
}

model::Service MakeService(int service) {
  model::Service object;
  object.mutable_metadata()->set_name(ServiceName(service));
  object.mutable_metadata()->set_name_space("bench");
  object.mutable_spec()->set_type("ClusterIP");
  object.mutable_spec()->add_cluster_ips(ClusterIp(service));
  model::ServicePort& port = *object.mutable_spec()->add_ports();
  port.set_name("http");
  port.set_protocol("TCP");
  port.set_port(80);
  return object;
}

// The first of `endpoints` has another address in every `version`.
model::EndpointSlice MakeSlice(const Scale& scale, int service, std::uint32_t version) {
  model::EndpointSlice slice;
  slice.mutable_metadata()->set_name(absl::StrCat(ServiceName(service), "-x7k2p"));
  slice.mutable_metadata()->set_name_space("bench");
  (*slice.mutable_metadata()->mutable_labels())[kServiceNameLabel] = ServiceName(service);
  slice.set_address_type("IPv4");
  model::EndpointPort& port = *slice.add_ports();
  port.set_name("http");
  port.set_protocol("TCP");
  port.set_port(8080);
  for (int i = 0; i < scale.endpoints; ++i) {
    model::Endpoint& endpoint = *slice.add_endpoints();
    auto number = static_cast<std::uint32_t>(service * scale.endpoints + i);
    if (i == 0 && version > 0) {
      number = static_cast<std::uint32_t>(scale.services * scale.endpoints) + version;
    }
    endpoint.add_addresses(EndpointIp(number));
    endpoint.set_node_name(absl::StrCat("worker-node-", number % 100));
    endpoint.set_zone("zone-a");
    endpoint.mutable_conditions()->set_ready(true);
  }
  return slice;
}

// Kilobytes; 0 when /proc does not say.
long MemoryKb(const std::string& field) {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.rfind(field + ":", 0) == 0) return std::atol(line.c_str() + field.size() + 1);
  }
  return 0;
}

double MillisecondsSince(const Clock& clock, std::uint64_t start_ns) {
  return static_cast<double>(clock.MonotonicNs() - start_ns) / 1e6;
}

[[noreturn]] void Fail(const std::string& what) {
  std::fprintf(stderr, "control_bench: %s\n", what.c_str());
  std::exit(1);
}

// sl_slots as programs see it: not the agent's mapping of it.
using SlotTable = BpfTable<std::uint32_t, abi::slot>;

// Ends the program unless the service's row leads to exactly the addresses of `slice`.
void CheckInMaps(const MapSet& maps, const SlotTable& slots, int service,
                 const model::EndpointSlice& slice) {
  const abi::service_key key = AddressKey(*IpAddress::Parse(ClusterIp(service)), 80, IPPROTO_TCP);
  const auto row = maps.services().Lookup(key);
  if (!row.ok() || !row->has_value()) Fail(absl::StrCat("no row of ", ServiceName(service)));
  std::set<std::string> found;
  const abi::slot_range range = (*row)->slots[abi::SL_SCOPE_INTERNAL];
  for (std::uint32_t i = 0; i < range.count; ++i) {
    const auto slot = slots.Lookup(range.offset + i);
    if (!slot.ok() || !slot->has_value()) Fail("a slot that is not there");
    const auto backend = maps.backends().Lookup((*slot)->backend_id);
    if (!backend.ok() || !backend->has_value()) Fail("a slot that leads nowhere");
    const bool usable = ((*backend)->flags & abi::SL_BACKEND_USABLE) != 0;
    if (usable) found.insert(IpAddress::FromAbi((*backend)->address).ToString());
  }
  std::set<std::string> expected;
  for (const model::Endpoint& endpoint : slice.endpoints()) expected.insert(endpoint.addresses(0));
  if (found != expected) Fail(absl::StrCat("wrong backends of ", ServiceName(service)));
}

class Bench {
 public:
  Bench(const Scale& scale, const MapSet& maps, const SlotTable& slots)
      : scale_(scale),
        maps_(maps),
        slots_(slots),
        reconciler_(MakeSetup(maps), clock_, Options()) {}

  void ColdStart() {
    const long before_kb = MemoryKb("VmRSS");
    if (absl::Status started = reconciler_.Start(); !started.ok()) Fail(started.ToString());
    double taken_in_ms = 0;
    for (int service = 0; service < scale_.services; ++service) {
      model::Service object = MakeService(service);
      model::EndpointSlice slice = MakeSlice(scale_, service, 0);
      const std::uint64_t start = clock_.MonotonicNs();
      reconciler_.SetService(std::move(object));
      reconciler_.SetEndpointSlice(std::move(slice));
      taken_in_ms += MillisecondsSince(clock_, start);
    }
    const std::uint64_t start = clock_.MonotonicNs();
    reconciler_.Synced();
    reconciler_.Run();
    const double written_ms = MillisecondsSince(clock_, start);
    if (!reconciler_.degraded().empty()) Fail(reconciler_.degraded()[0]);
    for (int service = 0; service < scale_.services; ++service) {
      CheckInMaps(maps_, slots_, service, MakeSlice(scale_, service, 0));
    }
    std::printf("cold start: %.0f ms (%.0f taking objects in, %.0f to the last of %llu rows)\n",
                taken_in_ms + written_ms, taken_in_ms, written_ms,
                static_cast<unsigned long long>(reconciler_.counters().rows_written));
    // The mapping of sl_slots counts as resident, but is the map's memory.
    const double slots_mib =
        static_cast<double>(maps_.slots().size() * sizeof(SlotArray::Cell)) / (1024 * 1024);
    std::printf(
        "resident: %.1f MiB (%.1f before), %.1f MiB at the peak; %.1f MiB of each is a map\n",
        static_cast<double>(MemoryKb("VmRSS")) / 1024, static_cast<double>(before_kb) / 1024,
        static_cast<double>(MemoryKb("VmHWM")) / 1024, slots_mib);
  }

  void Changes() {
    std::mt19937 random(1);
    std::vector<double> times_ms;
    for (int i = 1; i <= scale_.changes; ++i) {
      const int service = static_cast<int>(random() % static_cast<std::uint32_t>(scale_.services));
      model::EndpointSlice slice = MakeSlice(scale_, service, static_cast<std::uint32_t>(i));
      const model::EndpointSlice expected = slice;
      const std::uint64_t start = clock_.MonotonicNs();
      reconciler_.SetEndpointSlice(std::move(slice));
      reconciler_.Run();
      times_ms.push_back(MillisecondsSince(clock_, start));
      CheckInMaps(maps_, slots_, service, expected);
    }
    std::sort(times_ms.begin(), times_ms.end());
    const auto percentile = [&](std::size_t p) {
      return times_ms[(times_ms.size() - 1) * p / 100];
    };
    std::printf("one change: p50 %.3f ms, p99 %.3f ms, worst %.3f ms of %d\n", percentile(50),
                percentile(99), times_ms.back(), scale_.changes);
    std::printf("resident after the changes: %.1f MiB\n",
                static_cast<double>(MemoryKb("VmRSS")) / 1024);
  }

  void Restart() {
    Reconciler again(MakeSetup(maps_), clock_, Options());
    std::uint64_t start = clock_.MonotonicNs();
    if (absl::Status started = again.Start(); !started.ok()) Fail(started.ToString());
    const double read_ms = MillisecondsSince(clock_, start);
    reconciler_.cluster().ForEachService([&](const model::Service& s) { again.SetService(s); });
    reconciler_.cluster().ForEachEndpointSlice(
        [&](const model::EndpointSlice& s) { again.SetEndpointSlice(s); });
    start = clock_.MonotonicNs();
    again.Synced();
    again.Run();
    const double planned_ms = MillisecondsSince(clock_, start);
    if (again.counters().rows_written != 0) Fail("a restart over equal maps wrote rows");
    std::printf("restart: %.0f ms reading the maps, %.0f ms to the empty plan\n", read_ms,
                planned_ms);
  }

 private:
  static Reconciler::Setup MakeSetup(const MapSet& maps) {
    Reconciler::Setup setup;
    setup.tables = MapTables::Of(maps);
    setup.node_name = "worker-node-1";
    setup.node_config = [](const model::Node*) { return NodeConfig(); };
    setup.wake = [](absl::Duration) {};
    setup.source_generation = [] { return std::uint64_t{1}; };
    return setup;
  }

  static ReconcilerOptions Options() {
    ReconcilerOptions options;
    options.min_interval = absl::ZeroDuration();  // changes are measured one by one
    return options;
  }

  Scale scale_;
  const MapSet& maps_;
  const SlotTable& slots_;
  SystemClock clock_;
  Reconciler reconciler_;
};

int Run(const Scale& scale) {
  const auto folder = testing::MapFolder::Create("bench", [](MapShape& shape) {
    // Flows are not part of this: what they would take is left to others.
    if (shape.name == names::kFlows || shape.name == names::kOpening) shape.max_entries = 1;
  });
  if (!folder.ok()) Fail(folder.status().ToString());
  const absl::StatusOr<MapSet> maps = MapSet::OpenPinned((*folder)->path());
  if (!maps.ok()) Fail(maps.status().ToString());
  absl::StatusOr<BpfMap> slots_map =
      BpfMap::OpenPinned(absl::StrCat((*folder)->path(), "/", names::kSlots));
  if (!slots_map.ok()) Fail(slots_map.status().ToString());
  const absl::StatusOr<SlotTable> slots = SlotTable::Create(*std::move(slots_map));
  if (!slots.ok()) Fail(slots.status().ToString());
  std::printf("%d services of %d endpoints\n", scale.services, scale.endpoints);
  Bench bench(scale, *maps, *slots);
  bench.ColdStart();
  bench.Changes();
  bench.Restart();
  return 0;
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) {
  sluice::Scale scale;
  if (argc > 1) scale.services = std::atoi(argv[1]);
  if (argc > 2) scale.endpoints = std::atoi(argv[2]);
  if (argc > 3) scale.changes = std::atoi(argv[3]);
  const bool sane = scale.services > 0 && scale.services <= 32000 && scale.endpoints > 0 &&
                    scale.services * scale.endpoints + scale.changes <= 200000 && scale.changes > 0;
  if (!sane) {
    std::fprintf(stderr, "usage: control_bench [SERVICES [ENDPOINTS [CHANGES]]]\n");
    return 2;
  }
  return sluice::Run(scale);
}
