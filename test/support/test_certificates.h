// SPDX-License-Identifier: Apache-2.0
// Keys and certificates for tests of TLS, made anew for each test in a folder of its own.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace sluice {

// Paths of PEM files.
struct KeyPair {
  std::string certificate;
  std::string key;
};

struct TestCertificates {
  std::string ca;  // signed the three below
  KeyPair server;  // for 127.0.0.1, ::1 and localhost
  KeyPair expired_server;
  KeyPair client;        // CN kube-proxy-client
  std::string other_ca;  // signed nothing but `stranger`
  KeyPair stranger;      // CN kube-proxy-client
};

// Writes them into `folder`, which must exist. Errors: as open(2); INTERNAL if OpenSSL refuses.
// Cost: some ms.
absl::StatusOr<TestCertificates> MakeTestCertificates(const std::string& folder);

}  // namespace sluice
