// SPDX-License-Identifier: Apache-2.0
// Which kinds of Kubernetes objects are read, which are passed over in silence because they often
// share a file with Services, and what is said of the others.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sluice {

enum class KindUse : std::uint8_t {
  kService,
  kEndpointSlice,
  kNode,
  kList,          // holds other objects
  kIgnored,       // an object of Kubernetes that says nothing about services
  kWrongVersion,  // one of ours, in an apiVersion that is missing or not served any more
  kUnknown,       // perhaps one of ours, misspelt
};

struct KindVerdict {
  KindUse use = KindUse::kUnknown;
  std::string_view item_kind;  // of a list of one kind; empty: its items say so themselves
  std::string problem;         // for kWrongVersion and kUnknown
  // What it seems to be meant as, for those two: kService, kEndpointSlice, kNode, kList; kUnknown
  // when it resembles none.
  KindUse meant = KindUse::kUnknown;
};

// `version_may_miss`: an item of a list of one kind needs no apiVersion of its own. Thread-safe.
KindVerdict JudgeKind(std::string_view api_version, std::string_view kind, bool version_may_miss);

}  // namespace sluice
