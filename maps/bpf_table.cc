// SPDX-License-Identifier: Apache-2.0
#include "maps/bpf_table.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <cerrno>

#include "control/base/errno_status.h"

namespace sluice {
namespace {

// Of the kernel's own numbers, not in <errno.h>: the map's type has no batches.
constexpr int kENOTSUPP = 524;

// Keys and values of one bpf(2) call.
constexpr std::size_t kWriteBatch = 512;
constexpr std::size_t kReadBatch = 2048;

bool MeansNoBatches(int err) { return err == EINVAL || err == kENOTSUPP || err == EOPNOTSUPP; }

// A full LPM trie says ENOSPC where a full hash says E2BIG.
int WriteError(int err) { return err == ENOSPC ? E2BIG : err; }

}  // namespace

BpfMap::BpfMap(UniqueFd fd, MapShape shape, std::size_t cpus, bool has_btf)
    : fd_(std::move(fd)), shape_(std::move(shape)), cpus_(cpus), has_btf_(has_btf) {
  constexpr std::size_t kPerCpuAlignment = 8;
  stride_ = shape_.value_size;
  if (is_per_cpu()) {
    stride_ = (stride_ + kPerCpuAlignment - 1) / kPerCpuAlignment * kPerCpuAlignment * cpus_;
  }
}

absl::StatusOr<BpfMap> BpfMap::OpenPinned(const std::string& path) {
  const int fd = bpf_obj_get(path.c_str());
  if (fd < 0) return MapErrnoStatus(errno, absl::StrCat("open ", path));
  absl::StatusOr<BpfMap> map = FromFd(UniqueFd(fd));
  if (!map.ok()) {
    return absl::Status(map.status().code(), absl::StrCat(path, ": ", map.status().message()));
  }
  return map;
}

absl::StatusOr<BpfMap> BpfMap::FromFd(UniqueFd fd) {
  bpf_map_info info = {};
  std::uint32_t length = sizeof(info);
  if (bpf_obj_get_info_by_fd(fd.get(), &info, &length) != 0) {
    return MapErrnoStatus(errno, "ask the kernel what map this is");
  }
  // Programs are pinned too, and their info is another struct: it has no type of a map at this
  // place with sizes that any table accepts, so Create() of the table refuses it.
  MapShape shape{info.name,       info.type,        info.key_size,
                 info.value_size, info.max_entries, info.map_flags};
  std::size_t cpus = 1;
  const bool per_cpu = info.type == BPF_MAP_TYPE_PERCPU_ARRAY ||
                       info.type == BPF_MAP_TYPE_PERCPU_HASH ||
                       info.type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
  if (per_cpu) {
    const int possible = libbpf_num_possible_cpus();
    if (possible <= 0) return MapErrnoStatus(-possible, "count the possible CPUs");
    cpus = static_cast<std::size_t>(possible);
  }
  return BpfMap(std::move(fd), std::move(shape), cpus, info.btf_value_type_id != 0);
}

bool BpfMap::is_array() const {
  return shape_.type == BPF_MAP_TYPE_ARRAY || shape_.type == BPF_MAP_TYPE_PERCPU_ARRAY;
}

bool BpfMap::is_per_cpu() const {
  return shape_.type == BPF_MAP_TYPE_PERCPU_ARRAY || shape_.type == BPF_MAP_TYPE_PERCPU_HASH ||
         shape_.type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
}

absl::Status BpfMap::Error(int err, const char* operation) const {
  if (err == E2BIG) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "map ", shape_.name, ": ", operation, ": full at its limit of ", shape_.max_entries));
  }
  return MapErrnoStatus(err, absl::StrCat("map ", shape_.name, ": ", operation));
}

BatchResult BpfMap::Update(const std::byte* keys, const std::byte* values, std::size_t count) {
  std::size_t landed = 0;
  while (landed < count && batches_) {
    const std::size_t left = std::min(count - landed, kWriteBatch);
    std::uint32_t done = static_cast<std::uint32_t>(left);
    LIBBPF_OPTS(bpf_map_batch_opts, options, .elem_flags = element_flags_);
    if (bpf_map_update_batch(fd_.get(), keys + landed * shape_.key_size, values + landed * stride_,
                             &done, &options) == 0) {
      landed += left;
      continue;
    }
    const int err = errno;
    // An error found before the first row leaves the count as it was given.
    if (done < left) landed += done;
    if (!MeansNoBatches(err)) return {Error(WriteError(err), "update"), landed};
    batches_ = false;
  }
  BatchResult rest =
      UpdateSingly(keys + landed * shape_.key_size, values + landed * stride_, count - landed);
  rest.landed += landed;
  return rest;
}

BatchResult BpfMap::UpdateSingly(const std::byte* keys, const std::byte* values,
                                 std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    if (bpf_map_update_elem(fd_.get(), keys + i * shape_.key_size, values + i * stride_,
                            element_flags_) != 0) {
      return {Error(WriteError(errno), "update"), i};
    }
  }
  return {absl::OkStatus(), count};
}

BatchResult BpfMap::Delete(const std::byte* keys, std::size_t count) {
  if (is_array()) {
    return {absl::FailedPreconditionError(
                absl::StrCat("map ", shape_.name, ": rows of an array cannot be deleted")),
            0};
  }
  std::size_t landed = 0;
  while (landed < count && batches_) {
    const std::size_t left = std::min(count - landed, kWriteBatch);
    std::uint32_t done = static_cast<std::uint32_t>(left);
    if (bpf_map_delete_batch(fd_.get(), keys + landed * shape_.key_size, &done, nullptr) == 0) {
      landed += left;
      continue;
    }
    const int err = errno;
    if (done < left) landed += done;
    if (err == ENOENT) {
      ++landed;  // the key it stopped at: not there, as wanted
    } else if (MeansNoBatches(err)) {
      batches_ = false;
    } else {
      return {Error(err, "delete"), landed};
    }
  }
  BatchResult rest = DeleteSingly(keys + landed * shape_.key_size, count - landed);
  rest.landed += landed;
  return rest;
}

BatchResult BpfMap::DeleteSingly(const std::byte* keys, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    if (bpf_map_delete_elem(fd_.get(), keys + i * shape_.key_size) != 0 && errno != ENOENT) {
      return {Error(errno, "delete"), i};
    }
  }
  return {absl::OkStatus(), count};
}

absl::StatusOr<bool> BpfMap::Insert(const std::byte* key, const std::byte* value) {
  if (bpf_map_update_elem(fd_.get(), key, value, BPF_NOEXIST) == 0) return true;
  if (errno == EEXIST) return false;
  return Error(WriteError(errno), "insert");
}

absl::StatusOr<bool> BpfMap::DeleteIf(const std::byte* key,
                                      absl::FunctionRef<bool(const std::byte* value)> over) {
  std::vector<std::byte> value(stride_);
  absl::StatusOr<bool> found = Lookup(key, value.data());
  if (!found.ok()) return found.status();
  if (!*found || !over(value.data())) return false;
  if (bpf_map_lookup_and_delete_elem(fd_.get(), key, value.data()) != 0) {
    if (errno == ENOENT) return false;
    return Error(errno, "delete");
  }
  if (over(value.data())) return true;
  // If there is one again, a program has written it meanwhile, and knows better.
  const absl::StatusOr<bool> back = Insert(key, value.data());
  if (!back.ok()) return back.status();
  return false;
}

absl::Status BpfMap::ForEach(Visitor visit) const {
  if (!batches_) return ForEachSingly(visit);
  std::size_t room = std::min<std::size_t>(kReadBatch, std::max(shape_.max_entries, 1U));
  std::vector<std::byte> keys;
  std::vector<std::byte> values;
  // The place to go on from: a bucket's number for hashes, a key for the others.
  std::vector<std::byte> place(std::max<std::size_t>(shape_.key_size, sizeof(std::uint32_t)));
  bool first = true;
  while (true) {
    keys.resize(room * shape_.key_size);
    values.resize(room * stride_);
    std::uint32_t count = static_cast<std::uint32_t>(room);
    LIBBPF_OPTS(bpf_map_batch_opts, options, .elem_flags = element_flags_);
    const int failed = bpf_map_lookup_batch(fd_.get(), first ? nullptr : place.data(), place.data(),
                                            keys.data(), values.data(), &count, &options);
    const int err = failed != 0 ? errno : 0;
    if (err == ENOSPC) {  // one bucket holds more than there is room for
      room *= 2;
      continue;
    }
    if (err != 0 && err != ENOENT) {
      if (!first || !MeansNoBatches(err)) return Error(err, "read");
      batches_ = false;
      return ForEachSingly(visit);
    }
    for (std::size_t i = 0; i < count; ++i) {
      visit(&keys[i * shape_.key_size], &values[i * stride_]);
    }
    if (err == ENOENT) return absl::OkStatus();  // the end
    first = false;
  }
}

absl::Status BpfMap::ForEachSingly(Visitor visit) const {
  std::vector<std::byte> key(shape_.key_size);
  std::vector<std::byte> next(shape_.key_size);
  std::vector<std::byte> value(stride_);
  bool first = true;
  while (bpf_map_get_next_key(fd_.get(), first ? nullptr : key.data(), next.data()) == 0) {
    first = false;
    std::swap(key, next);
    absl::StatusOr<bool> found = Lookup(key.data(), value.data());
    if (!found.ok()) return found.status();
    if (*found) visit(key.data(), value.data());
  }
  return errno == ENOENT ? absl::OkStatus() : Error(errno, "read");
}

absl::StatusOr<bool> BpfMap::Lookup(const std::byte* key, std::byte* value) const {
  if (bpf_map_lookup_elem_flags(fd_.get(), key, value, element_flags_) == 0) return true;
  if (errno == ENOENT) return false;
  return Error(errno, "look up");
}

}  // namespace sluice
