// SPDX-License-Identifier: Apache-2.0
// The TC programs and where each belongs.
#pragma once

#include <array>
#include <string_view>

#include "control/datapath/classify.h"
#include "maps/reason.h"

namespace sluice {

enum class TcDirection { kIngress, kEgress };

struct Hook {
  abi::sl_hook id;
  std::string_view program;  // name in the BPF object, and of its pin
  std::string_view name;     // "from_pod": in pins of links and in answers to people
  Role role;                 // of the interfaces that it is for
  TcDirection direction;
};

inline constexpr std::array<Hook, 4> kHooks = {{
    {abi::SL_HOOK_FROM_POD, "sl_from_pod", "from_pod", Role::kPod, TcDirection::kIngress},
    {abi::SL_HOOK_TO_POD, "sl_to_pod", "to_pod", Role::kPod, TcDirection::kEgress},
    {abi::SL_HOOK_FROM_NET, "sl_from_net", "from_net", Role::kUplink, TcDirection::kIngress},
    {abi::SL_HOOK_TO_NET, "sl_to_net", "to_net", Role::kUplink, TcDirection::kEgress},
}};

}  // namespace sluice
