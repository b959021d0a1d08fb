// SPDX-License-Identifier: Apache-2.0
#include "control/kubernetes/api_config.h"

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/support/scratch_folder.h"
#include "test/support/status_matchers.h"

namespace sluice {
namespace {

using ::sluice::testing::IsOk;
using ::sluice::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ApiConfigTest : public ::testing::Test {
 protected:
  void SetUp() override { options_.service_account_folder = folder_ + "/account"; }

  std::string Write(const std::string& name, const std::string& text) {
    const std::filesystem::path path = folder_ + "/" + name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text;
    return path;
  }
  absl::StatusOr<ApiConfig> Load() {
    return LoadApiConfig(options_, [this](const char* name) {
      const auto it = environment_.find(name);
      return it == environment_.end() ? std::string() : it->second;
    });
  }
  // Of a kubeconfig with this cluster and this user, each a YAML flow mapping.
  absl::StatusOr<ApiConfig> LoadKubeconfig(const std::string& cluster, const std::string& user) {
    options_.kubeconfig = Write("kubeconfig",
                                "apiVersion: v1\nkind: Config\ncurrent-context: main\n"
                                "contexts:\n- {name: main, context: {cluster: k, user: u}}\n"
                                "- {name: other, context: {cluster: far, user: u}}\n"
                                "clusters:\n- {name: k, cluster: " +
                                    cluster +
                                    "}\n"
                                    "- {name: far, cluster: {server: 'https://192.0.2.9:6443'}}\n"
                                    "users:\n- {name: u, user: " +
                                    user + "}\n");
    return Load();
  }
  void MakeServiceAccount() {
    Write("account/token", "secret\n");
    Write("account/ca.crt", "pem");
  }

  const testing::ScratchFolder scratch_;
  const std::string folder_ = scratch_.path();
  KubeOptions options_;
  std::map<std::string, std::string> environment_;
};

TEST_F(ApiConfigTest, ReadsAKubeconfig) {
  Write("ca.pem", "ca");
  Write("keys/cert.pem", "cert");
  Write("keys/key.pem", "key");
  const auto config = LoadKubeconfig(
      "{server: 'https://192.0.2.1:6443/', certificate-authority: ca.pem, tls-server-name: api, "
      "proxy-url: 'http://proxy:3128'}",
      "{client-certificate: keys/cert.pem, client-key: " + folder_ + "/keys/key.pem}");
  ASSERT_THAT(config.status(), IsOk());
  EXPECT_THAT(config->servers, ElementsAre("https://192.0.2.1:6443"));
  EXPECT_EQ(config->tls.ca_file, folder_ + "/ca.pem");
  EXPECT_EQ(config->tls.cert_file, folder_ + "/keys/cert.pem");
  EXPECT_EQ(config->tls.key_file, folder_ + "/keys/key.pem");
  EXPECT_EQ(config->tls.server_name, "api");
  EXPECT_EQ(config->proxy_url, "http://proxy:3128");
  EXPECT_EQ(*Authorization(*config), "");
}

TEST_F(ApiConfigTest, ReadsDataInPlaceOfFiles) {
  const auto config =
      LoadKubeconfig("{server: 'https://a', certificate-authority-data: Q0E=}",
                     "{client-certificate-data: Q0VSVA==, client-key-data: S0VZ, token: t}");
  ASSERT_THAT(config.status(), IsOk());
  EXPECT_EQ(config->tls.ca_data, "CA");
  EXPECT_EQ(config->tls.cert_data, "CERT");
  EXPECT_EQ(config->tls.key_data, "KEY");
  EXPECT_EQ(*Authorization(*config), "Bearer t");
  EXPECT_THAT(LoadKubeconfig("{server: 'https://a', certificate-authority-data: '%'}", "{}"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("cluster \"k\": certificate-authority-data: not base64")));
}

TEST_F(ApiConfigTest, AContextCanBeChosen) {
  options_.context = "other";
  EXPECT_THAT(LoadKubeconfig("{server: 'https://a'}", "{}")->servers,
              ElementsAre("https://192.0.2.9:6443"));
  options_.context = "missing";
  EXPECT_THAT(LoadKubeconfig("{server: 'https://a'}", "{}"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("context \"missing\"")));
}

TEST_F(ApiConfigTest, TokensAreReadAnewEachTime) {
  const std::string file = Write("token", "one\n");
  const auto config = LoadKubeconfig("{server: 'https://a'}", "{tokenFile: token, token: spare}");
  ASSERT_THAT(config.status(), IsOk());
  EXPECT_EQ(*Authorization(*config), "Bearer one");
  Write("token", "two");
  EXPECT_EQ(*Authorization(*config), "Bearer two");
  std::filesystem::remove(file);
  EXPECT_EQ(*Authorization(*config), "Bearer spare");
  ApiConfig without = *config;
  without.token.clear();
  EXPECT_THAT(Authorization(without), StatusIs(absl::StatusCode::kNotFound, HasSubstr(file)));
  Write("token", "\n");
  EXPECT_THAT(Authorization(without),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("empty")));
}

TEST_F(ApiConfigTest, NamesAndPasswordsAreSent) {
  const auto config = LoadKubeconfig("{server: 'https://a'}", "{username: u, password: p}");
  EXPECT_EQ(*Authorization(*config), "Basic dTpw");
}

TEST_F(ApiConfigTest, WhatIsNotSupportedIsSaidSo) {
  for (const char* user :
       {"{exec: {command: aws}}", "{auth-provider: {name: gcp}}", "{as: someone, token: t}"}) {
    EXPECT_THAT(LoadKubeconfig("{server: 'https://a'}", user),
                StatusIs(absl::StatusCode::kUnimplemented,
                         AllOf(HasSubstr("user \"u\""), HasSubstr("not supported"))))
        << user;
  }
}

TEST_F(ApiConfigTest, MistakesAreNamed) {
  const auto expect = [](const absl::StatusOr<ApiConfig>& config, const char* text) {
    EXPECT_THAT(config, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(text)));
  };
  expect(LoadKubeconfig("{}", "{}"), "cluster \"k\": server is missing");
  expect(LoadKubeconfig("{server: 'ftp://a'}", "{}"), "server \"ftp://a\"");
  expect(LoadKubeconfig("{server: 'https://'}", "{}"), "server \"https://\"");
  expect(LoadKubeconfig("{server: 'https://a'}", "{client-key-data: S0VZ}"),
         "a client key without client-certificate");
  expect(LoadKubeconfig("{server: 'https://a'}", "{client-certificate-data: S0VZ}"),
         "a client certificate without client-key");
  expect(LoadKubeconfig("{server: 'https://a', insecure-skip-tls-verify: maybe}", "{}"),
         "kubeconfig, line");
  Write("ca.pem", "ca");
  expect(LoadKubeconfig("{server: 'https://a', insecure-skip-tls-verify: true, "
                        "certificate-authority: ca.pem}",
                        "{}"),
         "exclude each other");
  Write("kubeconfig", "kind: Pod\n");
  expect(Load(), "not a kubeconfig");
  Write("kubeconfig", "a: b: c\n");
  expect(Load(), "line 1");
  options_.kubeconfig = folder_ + "/missing";
  EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kNotFound, HasSubstr("/missing")));
  EXPECT_THAT(LoadKubeconfig("{server: 'https://a', certificate-authority: none.pem}", "{}"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("none.pem")));
}

TEST_F(ApiConfigTest, MastersReplaceTheServerAndKeepTheRest) {
  options_.masters = {"192.0.2.1:6443", "https://[2001:db8::1]:6443/"};
  const auto config = LoadKubeconfig("{server: 'https://a'}", "{token: t}");
  ASSERT_THAT(config.status(), IsOk());
  EXPECT_THAT(config->servers, ElementsAre("https://192.0.2.1:6443", "https://[2001:db8::1]:6443"));
  EXPECT_EQ(config->token, "t");
}

TEST_F(ApiConfigTest, TheServiceAccountIsUsedWithTheServerOfTheEnvironment) {
  MakeServiceAccount();
  environment_ = {{"KUBERNETES_SERVICE_HOST", "2001:db8::6"}, {"KUBERNETES_SERVICE_PORT", "6443"}};
  const auto config = Load();
  ASSERT_THAT(config.status(), IsOk());
  EXPECT_THAT(config->servers, ElementsAre("https://[2001:db8::6]:6443"));
  EXPECT_EQ(config->tls.ca_file, folder_ + "/account/ca.crt");
  EXPECT_EQ(*Authorization(*config), "Bearer secret");
}

TEST_F(ApiConfigTest, CredentialsAreNotSentInClearText) {
  MakeServiceAccount();
  for (const char* server : {"http://192.0.2.7:8080", "http://127.example.com", "http://[::2]:1"}) {
    options_.masters = {"https://192.0.2.1:6443", server};
    EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kInvalidArgument,
                                 AllOf(HasSubstr(server), HasSubstr("in clear text"))));
  }
  for (const char* server : {"http://127.0.0.1:8001", "http://localhost/a", "http://[::1]:8001"}) {
    options_.masters = {server};
    EXPECT_THAT(Load().status(), IsOk());
  }
}

TEST_F(ApiConfigTest, ByMasterAloneNobodyIsTold) {
  options_.masters = {"http://192.0.2.7:8080"};
  const auto config = Load();
  ASSERT_THAT(config.status(), IsOk());
  EXPECT_EQ(*Authorization(*config), "");
}

TEST_F(ApiConfigTest, ServersThatAreGivenByAddress) {
  options_.masters = {"https://192.0.2.7:6443", "https://api.example:6443", "192.0.2.8",
                      "https://[2001:db8::1]:6443/path"};
  const auto config = Load();
  ASSERT_THAT(config.status(), IsOk());
  EXPECT_THAT(ServerAddresses(*config),
              ElementsAre(*IpAddress::Parse("192.0.2.7"), *IpAddress::Parse("192.0.2.8"),
                          *IpAddress::Parse("2001:db8::1")));
}

TEST_F(ApiConfigTest, TheApisClusterIpIsRefused) {
  MakeServiceAccount();
  environment_ = {{"KUBERNETES_SERVICE_HOST", "10.96.0.1"},
                  {"KUBERNETES_SERVICE_PORT", "443"},
                  {"KUBERNETES_PORT_443_TCP_ADDR", "10.96.0.1"}};
  EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kFailedPrecondition,
                               AllOf(HasSubstr("10.96.0.1 is the ClusterIP of the API"),
                                     HasSubstr("--master https://ADDRESS:6443"))));
  // Set by the DaemonSet to an address of its own.
  environment_["KUBERNETES_SERVICE_HOST"] = "192.0.2.1";
  EXPECT_THAT(Load().status(), IsOk());
  // Or told by a flag.
  environment_["KUBERNETES_SERVICE_HOST"] = "10.96.0.1";
  options_.masters = {"https://192.0.2.7:6443"};
  EXPECT_THAT(Load()->servers, ElementsAre("https://192.0.2.7:6443"));
}

TEST_F(ApiConfigTest, WithoutAnythingItSaysWhatIsMissing) {
  EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kNotFound, HasSubstr("no --kubeconfig, and no "
                                                                      "service account")));
  MakeServiceAccount();
  EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kNotFound, HasSubstr("where is the API server?")));
}

}  // namespace
}  // namespace sluice
