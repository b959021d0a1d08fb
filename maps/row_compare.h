// SPDX-License-Identifier: Apache-2.0
// Equality, order and hashing of the ABI's structs in C++. They have no implicit padding
// (SL_ABI_SIZE checks it), so their bytes are their value.
#pragma once

#include <compare>
#include <cstring>
#include <type_traits>
#include <utility>

#include "maps/abi.h"

namespace sluice::abi {

template <typename T>
concept Row = std::is_class_v<T> && std::has_unique_object_representations_v<T>;

template <Row T>
bool operator==(const T& a, const T& b) {
  return std::memcmp(&a, &b, sizeof(T)) == 0;
}

// An order to keep rows in, without further meaning.
template <Row T>
std::strong_ordering operator<=>(const T& a, const T& b) {
  return std::memcmp(&a, &b, sizeof(T)) <=> 0;
}

template <typename H, Row T>
H AbslHashValue(H state, const T& row) {
  return H::combine_contiguous(std::move(state), reinterpret_cast<const unsigned char*>(&row),
                               sizeof(T));
}

}  // namespace sluice::abi
