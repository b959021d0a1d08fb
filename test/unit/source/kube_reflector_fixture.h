// SPDX-License-Identifier: Apache-2.0
// A KubeReflector that a test answers, step by step. Answers are JSON, which tests can read;
// kube_source_test has protobuf.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gtest/gtest.h"

#include "control/model/service.pb.h"
#include "control/source/kube_reflector.h"
#include "test/support/fake_clock.h"

namespace sluice::testing {

inline std::string Object(const std::string& name, int version) {
  return absl::StrCat(R"({"kind":"Service","metadata":{"name":")", name,
                      R"(","namespace":"d","resourceVersion":")", version, R"("}})");
}
inline std::string Event(const char* type, const std::string& name, int version) {
  return absl::StrCat(R"({"type":")", type, R"(","object":)", Object(name, version), "}\n");
}
inline std::string Bookmark(const std::string& version) {
  return absl::StrCat(R"({"type":"BOOKMARK","object":{"kind":"Service","metadata":{)",
                      R"("resourceVersion":")", version, "\"}}}\n");
}
inline std::string InitialEnd(const std::string& version) {
  return absl::StrCat(R"({"type":"BOOKMARK","object":{"kind":"Service","metadata":{)",
                      R"("resourceVersion":")", version,
                      R"(","annotations":{"k8s.io/initial-events-end":"true"}}}})", "\n");
}
inline std::string Error(int code) {
  return absl::StrCat(R"({"type":"ERROR","object":{"kind":"Status","status":"Failure","code":)",
                      code, R"(,"reason":"R","message":"m"}})", "\n");
}
inline std::string List(const std::string& version, const std::string& next,
                        const std::vector<std::string>& items) {
  return absl::StrCat(R"({"kind":"ServiceList","metadata":{"resourceVersion":")", version,
                      R"(","continue":")", next, R"("},"items":[)", absl::StrJoin(items, ","),
                      "]}");
}

class KubeReflectorTest : public ::testing::Test, public ObjectSink {
 protected:
  void SetObject(google::protobuf::Message& object) override {
    said_.push_back("set " + static_cast<model::Service&>(object).metadata().name());
  }
  void DeleteObject(const ObjectName& name) override { said_.push_back("delete " + name.name); }
  void SkipObject(const ObjectName& name, const std::string&) override {
    said_.push_back("skip " + name.name);
  }

  void Make(bool optional = false) {
    reflector_ = std::make_unique<KubeReflector>(
        ResourceKind{"services", "/api/v1/services", "Service", "!x", "",
                     &model::Service::default_instance(), optional},
        options_, *this, clock_, 1);
    Ask();
  }
  // The next request; kept in step_ and query_.
  void Ask() {
    step_ = reflector_->Next();
    query_ = {step_.call.query.begin(), step_.call.query.end()};
  }
  // What is asked, in short.
  std::string Asked() {
    if (step_.call.verb == "list") {
      return query_.contains("continue") ? "next page" : query_.contains("limit") ? "page" : "list";
    }
    return query_.contains("sendInitialEvents") ? "stream" : "watch " + query_["resourceVersion"];
  }
  void Head() { reflector_->OnHead("application/json"); }
  absl::Status Body(const std::string& text) { return reflector_->OnBody(text); }
  void End(const absl::Status& status, int code = 200, absl::Duration retry_after = {}) {
    reflector_->OnEnd({status, code, retry_after});
    Ask();
  }
  // A whole answer that ends well, or with what is wrong in it.
  void Answer(const std::string& text) {
    Head();
    End(Body(text));
  }
  void Refuse(int code, absl::StatusCode status, absl::Duration retry_after = {}) {
    End(absl::Status(status, absl::StrCat("answers ", code)), code, retry_after);
  }
  void Break() { End(absl::UnavailableError("reset"), 0); }
  // To a watch from version 10 that runs for a minute, with `a` and `b` known.
  void MakeWatching() {
    Make();
    Head();
    ASSERT_TRUE(Body(Event("ADDED", "a", 5) + Event("ADDED", "b", 6) + InitialEnd("10")).ok());
    clock_.Advance(absl::Minutes(1));
    said_.clear();
  }
  const StreamStatus& status() const { return reflector_->status(); }

  FakeClock clock_;
  ReflectorOptions options_;
  std::unique_ptr<KubeReflector> reflector_;
  KubeReflector::Step step_;
  std::map<std::string, std::string> query_;
  std::vector<std::string> said_;
};

}  // namespace sluice::testing
