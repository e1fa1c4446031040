// SPDX-License-Identifier: Apache-2.0
#include "weights/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>

#include "base/json.h"
#include "weights/json_events.h"

namespace penstock {
namespace {

constexpr char kFileName[] = "model.safetensors";
constexpr char kIndexName[] = "model.safetensors.index.json";
constexpr std::string_view kFileSuffix = ".safetensors";
constexpr std::string_view kIndexSuffix = ".safetensors.index.json";
constexpr std::string_view kOtherFormats[] = {".bin",  ".pt", ".pth",     ".gguf",
                                              ".ckpt", ".h5", ".msgpack", ".onnx"};

// A shard is a file of the model directory itself.
bool IsPlainFileName(std::string_view name) {
  return !name.empty() && name.ends_with(".safetensors") && name.find('/') == name.npos &&
         name.find('\\') == name.npos && name.find("..") == name.npos &&
         std::ranges::all_of(name, [](unsigned char c) { return c >= 0x20 && c < 0x7f; });
}

// Reads {"metadata": …, "weight_map": {tensor: file}}; what else there is, is skipped.
class IndexEvents : public JsonEvents {
 public:
  using TensorsOfFile = std::map<std::string, std::vector<std::string>>;
  TensorsOfFile TakeFiles() { return std::move(files_); }
  bool has_weight_map() const { return has_weight_map_; }

  Status Open(bool is_object) override {
    ++depth_;
    if (depth_ == 1 && !is_object) return InvalidArgument("not a JSON object");
    if (depth_ == 2 && key_ == "weight_map") {
      if (!is_object || has_weight_map_) return InvalidArgument("weight_map is not one object");
      in_map_ = has_weight_map_ = true;
    } else if (in_map_) {
      return InvalidArgument("weight_map: the file of {} is not a string", key_);
    }
    return OkStatus();
  }

  Status Close() override {
    if (--depth_ == 1) in_map_ = false;
    return OkStatus();
  }

  Status Key(const std::string& key) override {
    if (depth_ == 1 || in_map_) key_ = key;
    return OkStatus();
  }

  Status Scalar(const JsonScalar& value) override {
    if (depth_ == 0) return InvalidArgument("not a JSON object");
    if (depth_ == 1 && key_ == "weight_map") return InvalidArgument("weight_map is not one object");
    if (!in_map_) return OkStatus();
    if (value.text == nullptr) return InvalidArgument("weight_map: the file of {} is not a string", key_);
    if (!IsPlainFileName(*value.text)) {
      return InvalidArgument("weight_map: the file of {} is not the plain name of a .safetensors file", key_);
    }
    files_[*value.text].push_back(key_);
    return OkStatus();
  }

 private:
  int depth_ = 0;
  bool in_map_ = false;
  bool has_weight_map_ = false;
  std::string key_;
  TensorsOfFile files_;
};

// Why `dir` has no safetensors, as well as can be told.
Status NoSafetensors(const std::filesystem::path& dir) {
  std::error_code error;
  if (!std::filesystem::is_directory(dir, error)) return NotFound("{}: no such directory", dir.string());
  for (const auto& entry : std::filesystem::directory_iterator(dir, error)) {
    if (std::ranges::find(kOtherFormats, entry.path().extension().string()) != std::end(kOtherFormats)) {
      return NotFound("{}: no *.safetensors; {} is of a format that is not read (only safetensors are)",
                      dir.string(), entry.path().filename().string());
    }
  }
  return NotFound("{}: no *.safetensors", dir.string());
}

}  // namespace

Result<Checkpoint> Checkpoint::Open(const std::string& dir) {
  const std::filesystem::path base(dir);
  std::error_code error;
  if (std::filesystem::exists(base / kFileName, error)) return OpenFiles(dir, {base / kFileName});
  if (const auto index = base / kIndexName; std::filesystem::exists(index, error)) {
    return OpenShards(dir, index.string());
  }
  std::vector<std::filesystem::path> files, indices;
  for (const auto& entry : std::filesystem::directory_iterator(base, error)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(kFileSuffix)) files.push_back(entry.path());
    if (name.ends_with(kIndexSuffix)) indices.push_back(entry.path());
  }
  if (indices.size() == 1) return OpenShards(dir, indices[0].string());
  if (files.empty()) return NoSafetensors(base);
  std::ranges::sort(files);
  return OpenFiles(dir, files);
}

Result<Checkpoint> Checkpoint::OpenFiles(const std::string& dir,
                                         const std::vector<std::filesystem::path>& paths) {
  Checkpoint checkpoint;
  checkpoint.dir_ = dir;
  for (const std::filesystem::path& path : paths) RETURN_IF_ERROR(checkpoint.AddAll(path.string()));
  return checkpoint;
}

Status Checkpoint::AddAll(const std::string& path) {
  ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::Open(path));
  files_.push_back(std::move(file));
  for (const TensorInfo& info : files_.back().tensors()) {
    const auto [at, is_new] = places_.emplace(info.name, Place{files_.size() - 1, &info});
    if (!is_new) {
      return InvalidArgument("{}: tensor {} is in {} too", path, info.name,
                             files_[at->second.file_idx].path());
    }
  }
  return OkStatus();
}

Result<Checkpoint> Checkpoint::OpenShards(const std::string& dir, const std::string& index_path) {
  ASSIGN_OR_RETURN(const std::string text, ReadTextFile(index_path));
  IndexEvents events;
  if (const Status status = ParseJsonEvents(text, events); !status.ok()) {
    return status.WithContext(index_path);
  }
  if (!events.has_weight_map()) return InvalidArgument("{}: no weight_map", index_path);

  Checkpoint checkpoint;
  checkpoint.dir_ = dir;
  for (const auto& [file_name, names] : events.TakeFiles()) {
    Result<SafetensorsFile> file = SafetensorsFile::Open((std::filesystem::path(dir) / file_name).string());
    if (!file.ok()) return file.status().WithContext("shard that " + index_path + " names");
    checkpoint.files_.push_back(std::move(file).value());
    const SafetensorsFile& shard = checkpoint.files_.back();
    for (const std::string& name : names) {
      const TensorInfo* info = shard.Find(name);
      if (info == nullptr) {
        return InvalidArgument("{}: tensor {} is not in {}, where the index says", index_path, name,
                               file_name);
      }
      if (!checkpoint.places_.emplace(name, Place{checkpoint.files_.size() - 1, info}).second) {
        return InvalidArgument("{}: tensor {}: listed twice", index_path, name);
      }
    }
  }
  return checkpoint;
}

Result<TensorRef> Checkpoint::Find(const std::string& name) const {
  const auto found = places_.find(name);
  if (found == places_.end()) return NotFound("{}: tensor {} is missing", dir_, name);
  return TensorRef{&files_[found->second.file_idx], found->second.info};
}

std::vector<std::string> Checkpoint::Names() const {
  std::vector<std::string> names;
  names.reserve(places_.size());
  for (const auto& [name, place] : places_) names.push_back(name);
  std::ranges::sort(names);
  return names;
}

}  // namespace penstock
