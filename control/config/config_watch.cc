// SPDX-License-Identifier: Apache-2.0
#include "control/config/config_watch.h"

#include <cerrno>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"

#include "control/base/errno_status.h"

namespace sluice {
namespace {

constexpr std::size_t kMaxBytes = std::size_t{1} << 20;

}  // namespace

absl::StatusOr<std::string> ReadConfigFile(const std::string& path) {
  errno = 0;
  std::ifstream file(path);
  if (!file.is_open()) return ErrnoStatus(errno != 0 ? errno : EIO, path);
  std::string text(kMaxBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad() || (file.fail() && !file.eof())) return ErrnoStatus(EIO, path);
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.size() > kMaxBytes) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": longer than 1 MiB"));
  }
  return text;
}

ConfigWatch::ConfigWatch(std::string path, std::string text, EventLoop& loop,
                         std::function<void()> on_change, absl::Duration interval)
    : path_(std::move(path)),
      text_(std::move(text)),
      loop_(loop),
      on_change_(std::move(on_change)),
      interval_(interval) {
  timer_ = loop_.RunAfter(interval_, [this] { Look(); });
}

ConfigWatch::~ConfigWatch() { loop_.Cancel(timer_); }

void ConfigWatch::Look() {
  timer_ = 0;
  const absl::StatusOr<std::string> now = ReadConfigFile(path_);
  if (now.ok() && !now->empty() && *now != text_) return on_change_();
  timer_ = loop_.RunAfter(interval_, [this] { Look(); });
}

}  // namespace sluice
