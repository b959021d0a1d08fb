// SPDX-License-Identifier: Apache-2.0
#include "test/support/test_certificates.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cerrno>
#include <cstdio>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "control/base/errno_status.h"
#include "control/base/status_macros.h"

namespace sluice {
namespace {

constexpr long kHour = 60 * 60;

using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;

struct Identity {
  Key key{nullptr, EVP_PKEY_free};
  Certificate certificate{nullptr, X509_free};
};

struct Request {
  const char* name = "";
  const char* alternative_names = nullptr;  // as in openssl.cnf
  bool is_ca = false;
  long valid_from = -kHour;  // seconds from now
  long valid_until = kHour;
};

bool AddExtension(X509* certificate, X509* issuer, int kind, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const std::unique_ptr<X509_EXTENSION, decltype(&X509_EXTENSION_free)> extension(
      X509V3_EXT_conf_nid(nullptr, &context, kind, value), X509_EXTENSION_free);
  return extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1;
}

// Signed by `issuer`, or by itself if that is null.
absl::StatusOr<Identity> Make(const Request& request, const Identity* issuer) {
  static long serial = 0;
  Identity made;
  made.key.reset(EVP_EC_gen("P-256"));
  made.certificate.reset(X509_new());
  X509* const certificate = made.certificate.get();
  if (made.key == nullptr || certificate == nullptr) return absl::InternalError("OpenSSL: no key");
  X509* const signer = issuer == nullptr ? certificate : issuer->certificate.get();
  X509_NAME* const subject = X509_get_subject_name(certificate);
  bool good = X509_set_version(certificate, 2) == 1;
  good &= ASN1_INTEGER_set(X509_get_serialNumber(certificate), ++serial) == 1;
  good &= X509_gmtime_adj(X509_getm_notBefore(certificate), request.valid_from) != nullptr;
  good &= X509_gmtime_adj(X509_getm_notAfter(certificate), request.valid_until) != nullptr;
  good &= X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                                     reinterpret_cast<const unsigned char*>(request.name), -1, -1,
                                     0) == 1;
  good &= X509_set_issuer_name(certificate, X509_get_subject_name(signer)) == 1;
  good &= X509_set_pubkey(certificate, made.key.get()) == 1;
  good &= AddExtension(certificate, signer, NID_basic_constraints,
                       request.is_ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
  if (request.alternative_names != nullptr) {
    good &= AddExtension(certificate, signer, NID_subject_alt_name, request.alternative_names);
  }
  EVP_PKEY* const key = issuer == nullptr ? made.key.get() : issuer->key.get();
  good &= X509_sign(certificate, key, EVP_sha256()) > 0;
  if (!good) return absl::InternalError(absl::StrCat("OpenSSL: no certificate ", request.name));
  return made;
}

template <typename WriteTo>
absl::Status WritePem(const std::string& path, const WriteTo& write_to) {
  const std::unique_ptr<std::FILE, decltype(&std::fclose)> file(std::fopen(path.c_str(), "we"),
                                                                std::fclose);
  if (file == nullptr) return ErrnoStatus(errno, path);
  return write_to(file.get()) == 1 ? absl::OkStatus()
                                   : absl::InternalError(absl::StrCat("cannot write ", path));
}

absl::StatusOr<KeyPair> Write(const Identity& identity, const std::string& path) {
  KeyPair files{path + ".crt", path + ".key"};
  RETURN_IF_ERROR(WritePem(files.certificate, [&](std::FILE* file) {
    return PEM_write_X509(file, identity.certificate.get());
  }));
  RETURN_IF_ERROR(WritePem(files.key, [&](std::FILE* file) {
    return PEM_write_PrivateKey(file, identity.key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  }));
  return files;
}

absl::StatusOr<KeyPair> MakeAndWrite(const Request& request, const Identity& issuer,
                                     const std::string& path) {
  ASSIGN_OR_RETURN(const Identity identity, Make(request, &issuer));
  return Write(identity, path);
}

}  // namespace

absl::StatusOr<TestCertificates> MakeTestCertificates(const std::string& folder) {
  constexpr const char* kHere = "IP:127.0.0.1,IP:::1,DNS:localhost";
  TestCertificates made;
  ASSIGN_OR_RETURN(const Identity ca, Make({.name = "test CA", .is_ca = true}, nullptr));
  ASSIGN_OR_RETURN(const Identity other, Make({.name = "another CA", .is_ca = true}, nullptr));
  ASSIGN_OR_RETURN(const KeyPair ca_files, Write(ca, folder + "/ca"));
  ASSIGN_OR_RETURN(const KeyPair other_files, Write(other, folder + "/other-ca"));
  made.ca = ca_files.certificate;
  made.other_ca = other_files.certificate;
  const Request server{.name = "kube-apiserver", .alternative_names = kHere};
  ASSIGN_OR_RETURN(made.server, MakeAndWrite(server, ca, folder + "/server"));
  Request expired = server;
  expired.valid_until = -1;
  ASSIGN_OR_RETURN(made.expired_server, MakeAndWrite(expired, ca, folder + "/expired"));
  const Request client{.name = "kube-proxy-client"};
  ASSIGN_OR_RETURN(made.client, MakeAndWrite(client, ca, folder + "/client"));
  ASSIGN_OR_RETURN(made.stranger, MakeAndWrite(client, other, folder + "/stranger"));
  return made;
}

}  // namespace sluice
