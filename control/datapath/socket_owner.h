// SPDX-License-Identifier: Apache-2.0
// Which process has a socket open, by /proc.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

namespace sluice {

// "nginx (process 123)" for those of `inodes` that a process has open which this one may see: all
// of the host's with the host's process namespace, else only its own container's. Of several
// processes that share a socket, that with the lowest id. Cost: reads every descriptor of every
// process, some ms for some hundred processes. `proc`: where the file system is mounted.
std::map<std::uint32_t, std::string> FindSocketOwners(const std::set<std::uint32_t>& inodes,
                                                      const std::string& proc = "/proc");

}  // namespace sluice
