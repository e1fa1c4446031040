// SPDX-License-Identifier: Apache-2.0
#include "model/quantise/quantise_jobs.h"

#include <algorithm>
#include <utility>

#include "model/architecture.h"
#include "weights/tensor_reader.h"

namespace penstock {
namespace {

constexpr std::string_view kScaleInv = "_scale_inv";
constexpr std::string_view kHead = "lm_head.weight";

WeightType TypeFor(QuantScheme scheme, Projection projection) {
  switch (projection) {
    case Projection::kNone:
    case Projection::kLatentUp:
      return WeightType::kFloat;
    case Projection::kAttention:
      return scheme == QuantScheme::kW8A8 ? WeightType::kW8A8 : WeightType::kW8A8Dynamic;
    case Projection::kMlp:
    case Projection::kExpert:
      return WeightType::kW8A8Dynamic;
  }
  return WeightType::kFloat;
}

QuantiseJob JobOf(const TensorInfo& info) {
  return {info.name, info.shape, info.dtype_name, info.end - info.begin};
}

Status CheckShape(const TensorInfo& info, const TensorSpec& spec) {
  if (!std::ranges::equal(info.shape, spec.shape)) {
    return InvalidArgument("tensor {}: shape {}, expected {}", spec.name, ShapeText(info.shape),
                           ShapeText(spec.shape));
  }
  const bool is_matrix = spec.projection != Projection::kNone && spec.projection != Projection::kLatentUp;
  if (is_matrix && spec.shape[1] > kMaxInt8K) {
    return Unimplemented("tensor {}: 8-bit rows of {} numbers, expected at most {}", spec.name, spec.shape[1],
                         kMaxInt8K);
  }
  if (info.dtype_name == "I8") {
    return InvalidArgument("tensor {}: dtype I8, expected floats: the weights are quantized already",
                           spec.name);
  }
  return OkStatus();
}

}  // namespace

Result<std::vector<QuantiseJob>> MakeQuantiseJobs(const Checkpoint& checkpoint, const ModelConfig& config,
                                                  QuantScheme scheme) {
  const TensorTable table = MakeTensorTable(*FindArchitecture(config.architecture), config);
  std::vector<QuantiseJob> jobs;
  for (const TensorSpec& spec : table.specs()) {
    const Result<TensorRef> ref = checkpoint.Find(spec.name);
    if (!ref.ok()) {
      if (spec.optional || (spec.name == kHead && config.tie_word_embeddings)) continue;
      return ref.status();
    }
    RETURN_IF_ERROR(CheckShape(*ref->info, spec));
    jobs.push_back(JobOf(*ref->info));
    jobs.back().layer = spec.layer;
    jobs.back().type = TypeFor(scheme, spec.projection);
  }
  std::ranges::stable_sort(jobs, {}, &QuantiseJob::layer);
  for (const std::string& name : checkpoint.Names()) {
    const bool is_scale = config.fp8_block_rows > 0 && name.ends_with(kScaleInv);
    if (table.Has(name) || is_scale) continue;
    jobs.push_back(JobOf(*checkpoint.Find(name)->info));
    if (jobs.back().is_fp8() && jobs.back().shape.size() != 2) {
      return Unimplemented("tensor {}: FP8 of shape {}, expected a matrix", name,
                           ShapeText(jobs.back().shape));
    }
  }
  return jobs;
}

std::vector<TensorHeader> HeadersOf(const QuantiseJob& job, bool wide_deq_scale) {
  if (job.type == WeightType::kFloat) {
    if (job.smoothed) return {{job.name, "F32", job.shape, static_cast<uint64_t>(job.shape[0]) * 4}};
    if (job.is_fp8()) return {{job.name, "BF16", job.shape, job.stored_bytes * 2}};
    return {{job.name, job.dtype_name, job.shape, job.stored_bytes}};
  }
  const std::string stem = Stem(job.name);
  const int64_t rows = job.shape[0], cols = job.shape[1];
  const auto num_rows = static_cast<uint64_t>(rows);
  std::vector<TensorHeader> headers = {{job.name, "I8", job.shape, num_rows * static_cast<uint64_t>(cols)},
                                       {stem + "weight_scale", "F32", {rows, 1}, num_rows * 4},
                                       {stem + "weight_offset", "F32", {rows, 1}, num_rows * 4}};
  if (job.type != WeightType::kW8A8) return headers;
  headers.push_back({stem + "input_scale", "F32", {1}, 4});
  headers.push_back({stem + "input_offset", "F32", {1}, 4});
  if (wide_deq_scale) {
    headers.push_back({stem + "deq_scale", "I64", {rows}, num_rows * 8});
  } else {
    headers.push_back({stem + "deq_scale", "F32", {rows}, num_rows * 4});
  }
  headers.push_back({stem + "quant_bias", "I32", {rows}, num_rows * 4});
  return headers;
}

}  // namespace penstock
