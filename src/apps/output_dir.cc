// SPDX-License-Identifier: Apache-2.0
#include "apps/output_dir.h"

#include <algorithm>
#include <filesystem>
#include <string_view>
#include <utility>

namespace penstock {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kExtensions[] = {".json", ".jinja", ".txt", ".model", ".tiktoken", ".py"};
constexpr std::string_view kBeginnings[] = {"LICENSE", "NOTICE"};
constexpr std::string_view kMadeAnew[] = {"config.json", "quant_model_description.json"};

bool IsWanted(const std::string& name) {
  if (name.starts_with('.')) return false;
  if (name.ends_with(".index.json") || std::ranges::find(kMadeAnew, name) != std::end(kMadeAnew))
    return false;
  const auto has_beginning = [&](std::string_view beginning) { return name.starts_with(beginning); };
  const auto has_extension = [&](std::string_view extension) { return name.ends_with(extension); };
  return std::ranges::any_of(kBeginnings, has_beginning) || std::ranges::any_of(kExtensions, has_extension);
}

}  // namespace

Result<OutputDir> OutputDir::Create(const std::string& path) {
  std::string plain = path;
  while (plain.size() > 1 && plain.ends_with('/')) plain.pop_back();
  OutputDir dir(plain);
  const std::string partial = std::exchange(dir.partial_, "");  // what is there is not ours
  std::error_code error;
  if (fs::exists(fs::symlink_status(plain, error))) {
    return InvalidArgument("{}: it exists, expected the name of a new directory", plain);
  }
  if (fs::exists(fs::symlink_status(partial, error))) {
    return InvalidArgument(
        "{}: it exists: another command is writing it, or one was interrupted; then remove it", partial);
  }
  if (!fs::create_directory(partial, error)) return Internal("{}: {}", partial, error.message());
  dir.partial_ = partial;
  return dir;
}

OutputDir::OutputDir(OutputDir&& other) noexcept
    : path_(std::move(other.path_)), partial_(std::exchange(other.partial_, "")) {}

OutputDir::~OutputDir() {
  std::error_code error;
  if (!partial_.empty()) fs::remove_all(partial_, error);
}

Status OutputDir::Commit() {
  std::error_code error;
  fs::rename(partial_, path_, error);
  if (error) return Internal("{}: {}", path_, error.message());
  partial_.clear();
  return OkStatus();
}

Status CopyModelFiles(const std::string& from_dir, const std::string& to_dir) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(from_dir, error)) {
    const std::string name = entry.path().filename().string();
    std::error_code ignored;
    if (!entry.is_regular_file(ignored) || !IsWanted(name)) continue;
    fs::copy_file(entry.path(), fs::path(to_dir) / name, error);
    if (error) return Internal("{}/{}: {}", to_dir, name, error.message());
  }
  return error ? Internal("{}: {}", from_dir, error.message()) : OkStatus();
}

}  // namespace penstock
