// SPDX-License-Identifier: Apache-2.0
// What went wrong with a request, as a status with words for people: what was asked, of whom, what
// came back, and what to do. Pure.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"

#include "control/kubernetes/wire.pb.h"

namespace sluice {

struct Answer {
  int code = 0;  // of HTTP
  std::string_view content_type;
  std::string_view body;  // at least its beginning
};

// The code of a status of Kubernetes ("410"): see ApiEnd.
absl::StatusCode CodeOfHttp(int code);

// "403 Forbidden: <message>", cut where a server says more than people read.
std::string TextOfStatus(int code, const kube::Status& status);

// Of an answer that is no success. `retry_after` becomes what the body asks for, if that does.
absl::Status StatusOfAnswer(const std::string& verb, const std::string& resource,
                            const std::string& server, const Answer& answer,
                            absl::Duration& retry_after);

// Of an exchange that broke, or of OK.
absl::Status StatusOfTransport(const std::string& verb, const std::string& resource,
                               const std::string& server, const absl::Status& status);

// The method of HTTP for a verb of RBAC.
std::string MethodOf(const std::string& verb);

}  // namespace sluice
