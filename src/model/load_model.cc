// A model is made twice over by the same code: with CountedWeights for the estimate, with LoadedWeights for
// use.
//
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <string>
#include <vector>

#include "base/log.h"
#include "model/cached_weights.h"
#include "model/counted_weights.h"
#include "model/decoder.h"
#include "model/loaded_weights.h"
#include "model/model.h"
#include "model/packed_cache.h"
#include "model/stored_weights.h"
#include "weights/checkpoint.h"
#include "weights/tensor_reader.h"

namespace penstock {
namespace {

constexpr char kEmbedding[] = "model.embed_tokens.weight";
constexpr char kHead[] = "lm_head.weight";
constexpr size_t kShownNames = 5;

Result<const Architecture*> ArchitectureOf(const ModelConfig& config) {
  const Architecture* architecture = FindArchitecture(config.architecture);
  if (architecture == nullptr) {
    return Unimplemented("architecture \"{}\" is not supported", config.architecture);
  }
  return architecture;
}

void CheckOptions(const ModelOptions& options) {
  CHECK(options.dtype == DType::kBF16 || options.dtype == DType::kF32) << DTypeName(options.dtype);
  CHECK(options.block_size > 0 && options.block_size % 16 == 0) << options.block_size;
  CHECK_GT(options.max_batched_tokens, 0);
  CHECK_GT(options.max_model_len, 0);
  CHECK_GT(options.max_logit_rows, 0);
}

// The layer that a tensor name belongs to, -1 for none.
int32_t LayerOf(const std::string& name) {
  constexpr std::string_view kPrefix = "model.layers.";
  if (!name.starts_with(kPrefix)) return -1;
  int64_t layer = 0;
  size_t i = kPrefix.size();
  for (; i < name.size() && name[i] >= '0' && name[i] <= '9' && layer < 1'000'000; ++i) {
    layer = layer * 10 + name[i] - '0';
  }
  return i > kPrefix.size() && i < name.size() && name[i] == '.' ? static_cast<int32_t>(layer) : -1;
}

// Whether `name` is one of the tensors that int8 matrices have beside them.
bool IsBesideWeight(const std::string& name, const TensorTable& table) {
  constexpr std::string_view kSuffixes[] = {"weight_scale", "weight_offset", "input_scale", "input_offset",
                                            "deq_scale",    "quant_bias",    "bias"};
  return std::ranges::any_of(kSuffixes, [&](std::string_view suffix) {
    return name.ends_with(suffix) && table.Has(name.substr(0, name.size() - suffix.size()) + "weight");
  });
}

// A bias that is not read, since its matrix's quant_bias has it.
bool IsFolded(const std::string& name, const TensorTable& table, const ModelConfig& config) {
  constexpr std::string_view kSuffix = ".bias";
  if (!name.ends_with(kSuffix)) return false;
  const std::string weight = name.substr(0, name.size() - kSuffix.size()) + ".weight";
  if (!table.Has(weight) || table.Get(weight).projection == Projection::kNone) return false;
  const Result<WeightType> type = TypeOfWeight(config, table.Get(weight));
  return type.ok() && *type == WeightType::kW8A8;
}

// A matrix with a bias that its architecture does not have: leaving it out would be wrong in silence.
Status CheckNoOtherBias(const Checkpoint& checkpoint, const TensorTable& table, const ModelConfig& config) {
  for (const TensorSpec& spec : table.specs()) {
    if (spec.projection == Projection::kNone) continue;
    const std::string name =
        spec.name.substr(0, spec.name.size() - std::string_view("weight").size()) + "bias";
    if (table.Has(name) || !checkpoint.Find(name).ok() || IsFolded(name, table, config)) continue;
    return Unimplemented("tensor {}: a bias, expected none, since config.json asks for none", name);
  }
  return OkStatus();
}

// Logs once what the files hold beyond the table: a sign of a checkpoint that this code knows only in part.
void LogUnused(const Checkpoint& checkpoint, const TensorTable& table, const ModelConfig& config) {
  constexpr std::string_view kScaleSuffix = "_scale_inv";
  size_t num_later = 0;
  std::vector<std::string> unknown;
  for (const std::string& name : checkpoint.Names()) {
    const bool is_scale = name.ends_with(kScaleSuffix);
    if (table.Has(is_scale ? name.substr(0, name.size() - kScaleSuffix.size()) : name)) continue;
    if (config.weight_types != nullptr && IsBesideWeight(name, table)) continue;
    if (name.ends_with(".rotary_emb.inv_freq")) continue;  // old Llama files: made from the config
    if (LayerOf(name) >= config.num_layers) {
      ++num_later;
    } else {
      unknown.push_back(name);
    }
  }
  if (num_later > 0) {
    LogInfo("{} tensors of layers from {} on (multi-token prediction) are not loaded", num_later,
            config.num_layers);
  }
  if (unknown.empty()) return;
  const size_t num_shown = std::min(unknown.size(), kShownNames);
  LogWarning("{} of the tensors of the checkpoint not used: {}{}", unknown.size(),
             fmt::join(unknown.begin(), unknown.begin() + static_cast<ptrdiff_t>(num_shown), ", "),
             unknown.size() > num_shown ? ", …" : "");
}

// The head's tensor: its own where the files have one, else, if tied, the embedding.
std::string HeadName(const ModelConfig& config, const Checkpoint& checkpoint) {
  return config.tie_word_embeddings && !checkpoint.Find(kHead).ok() ? kEmbedding : kHead;
}

// Size in the files of all that a rank reads. kNotFound naming the first tensor that is missing.
Result<size_t> StoredBytes(const Architecture& architecture, const TensorTable& table,
                           const ModelConfig& config, const LayerRange& range, DType dtype,
                           const std::string& head_name, const TensorReader& reader) {
  StoredWeights stored(table, config, dtype, reader, range.share);
  MakeDecoderWeights(architecture, config, range, head_name, stored);
  RETURN_IF_ERROR(stored.status());
  return static_cast<size_t>(stored.stored_bytes());
}

// What both ways of loading need.
struct LoadTask {
  const std::string& model_dir;
  const ModelConfig& config;
  const Architecture& architecture;
  const LayerRange& range;
  const DType dtype;
  const TensorTable& table;
  const TensorReader& reader;
  const std::string& head_name;
  Kernels& kernels;
  const LoadProgress& progress;
  const MatrixListener& on_matrix;
  const size_t total_bytes;
};

Result<DecoderWeights> MakeWeights(const LoadTask& task, WeightSource& source) {
  DecoderWeights weights =
      MakeDecoderWeights(task.architecture, task.config, task.range, task.head_name, source);
  RETURN_IF_ERROR(source.status());
  return weights;
}

Result<DecoderWeights> LoadWeights(const LoadTask& task, PackedFileWriter* keep) {
  LoadedWeights loaded(task.table, task.config, task.dtype, task.reader, task.kernels, task.progress,
                       task.total_bytes, keep, task.on_matrix, task.range.share);
  return MakeWeights(task, loaded);
}

Result<DecoderWeights> AttachWeights(const LoadTask& task, const PackedCacheEntry& entry) {
  ASSIGN_OR_RETURN(PackedFile opened, OpenPackedCache(entry, task.progress, task.kernels));
  auto file = std::make_unique<PackedFile>(std::move(opened));
  CachedWeights cached(task.table, task.config, task.dtype, task.reader, *file, task.kernels,
                       task.range.share);
  Result<DecoderWeights> weights = MakeWeights(task, cached);
  if (!weights.ok()) return weights.status().WithContext(entry.path);
  weights->file = std::move(file);
  return weights;
}

// From the cache where it has them, else from the checkpoint, and into the cache.
Result<DecoderWeights> ObtainWeights(const LoadTask& task, const PackedCache& cache) {
  if (cache.dir.empty()) return LoadWeights(task, nullptr);
  const Result<PackedCacheEntry> entry =
      FindPackedCacheEntry(cache, task.model_dir, task.config, task.range, task.dtype, task.kernels);
  if (!entry.ok()) {
    LogWarning("packed weights are not kept: {}", entry.status().message());
    return LoadWeights(task, nullptr);
  }
  Result<DecoderWeights> attached = AttachWeights(task, *entry);
  if (attached.ok()) {
    LogInfo("Packed weights are mapped from {}", entry->path);
    return attached;
  }
  if (attached.status().code() != StatusCode::kNotFound) {
    LogWarning("packed weights are made anew: {}", attached.status().message());
  }
  PackedFileWriter writer(entry->path, entry->key);
  Result<DecoderWeights> loaded = LoadWeights(task, &writer);
  if (!loaded.ok()) return loaded;
  if (const Status kept = writer.Finish(); kept.ok()) {
    LogInfo("Packed weights are kept in {}", entry->path);
  } else if (kept.code() == StatusCode::kUnavailable) {
    LogInfo("Packed weights are kept by another process: {}", kept.message());
  } else {
    LogWarning("packed weights are not kept: {}", kept.message());
  }
  return loaded;
}

}  // namespace

Result<ModelMemory> EstimateModelMemory(const ModelConfig& config, const LayerRange& range,
                                        const ModelOptions& options, const Kernels& kernels) {
  CheckOptions(options);
  ASSIGN_OR_RETURN(const Architecture* architecture, ArchitectureOf(config));
  const TensorTable table = MakeTensorTable(*architecture, config);
  CountedWeights counted(table, config, options.dtype, range.share);
  const DecoderWeights weights = MakeDecoderWeights(*architecture, config, range, kHead, counted);
  RETURN_IF_ERROR(counted.status());
  return MeasureMemory(config, options, range.share, weights, kernels);
}

Result<std::unique_ptr<Model>> LoadModel(const std::string& model_dir, const ModelConfig& config,
                                         const LayerRange& range, const ModelOptions& options,
                                         Kernels& kernels, const LoadProgress& progress,
                                         const PackedCache& cache, const MatrixListener& on_matrix,
                                         const RankComms& comms) {
  CheckOptions(options);
  ASSIGN_OR_RETURN(const Architecture* architecture, ArchitectureOf(config));
  ASSIGN_OR_RETURN(const Checkpoint checkpoint, Checkpoint::Open(model_dir));
  const TensorTable table = MakeTensorTable(*architecture, config);
  const TensorReader reader(checkpoint, Fp8Blocks{config.fp8_block_rows, config.fp8_block_cols},
                            [&kernels](int64_t count, FunctionRef<void(int64_t, int64_t)> body) {
                              kernels.ParallelFor(count, body);
                            });
  const std::string head_name = HeadName(config, checkpoint);
  ASSIGN_OR_RETURN(const size_t total_bytes,
                   StoredBytes(*architecture, table, config, range, options.dtype, head_name, reader));
  RETURN_IF_ERROR(CheckNoOtherBias(checkpoint, table, config));
  if (range.has_embedding) LogUnused(checkpoint, table, config);

  const LoadTask task{model_dir, config,    *architecture, range,    options.dtype, table,
                      reader,    head_name, kernels,       progress, on_matrix,     total_bytes};
  ASSIGN_OR_RETURN(DecoderWeights weights, ObtainWeights(task, cache));
  return std::unique_ptr<Model>(
      std::make_unique<DecoderModel>(config, range, options, std::move(weights), kernels, comms));
}

}  // namespace penstock
