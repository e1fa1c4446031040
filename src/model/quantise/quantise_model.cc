// Tensors are read, quantised and written one at a time.
//
// SPDX-License-Identifier: Apache-2.0
#include "model/quantise/quantise_model.h"

#include <algorithm>
#include <bit>
#include <filesystem>
#include <span>
#include <utility>

#include "base/json.h"
#include "model/quantise/quantise_jobs.h"
#include "model/quantise/smoothing.h"
#include "weights/ascend_description.h"
#include "weights/int8_matrix.h"
#include "weights/tensor_reader.h"

namespace penstock {
namespace {

constexpr uint64_t kSmallFilesBytes = uint64_t{16} << 20;  // what is written beside the weights, about

template <typename T>
std::span<const std::byte> Bytes(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

class ModelQuantiser {
 public:
  ModelQuantiser(const Checkpoint& checkpoint, const ModelConfig& config, const QuantiseOptions& options,
                 const ObservedInputs& inputs, std::vector<QuantiseJob> jobs)
      : checkpoint_(checkpoint),
        reader_(checkpoint, Fp8Blocks{config.fp8_block_rows, config.fp8_block_cols}),
        wide_deq_scale_(config.stored_dtype == DType::kF16),
        options_(options),
        inputs_(inputs),
        jobs_(std::move(jobs)) {}

  Result<QuantiseReport> Write(const std::string& out_dir, const LoadProgress& progress) {
    const bool is_static = options_.scheme == QuantScheme::kW8A8;
    description_["model_quant_type"] = is_static ? "W8A8" : "W8A8_DYNAMIC";
    description_["version"] = "1.0.0";
    description_["group_size"] = 0;
    if (options_.smooth) {
      ASSIGN_OR_RETURN(smoothing_, PlanSmoothing(reader_, jobs_, inputs_));
    }
    report_.smoothed_inputs = smoothing_.num_inputs();
    std::vector<TensorHeader> headers;
    for (QuantiseJob& job : jobs_) {
      job.smoothed = job.type == WeightType::kFloat && !smoothing_.FactorsOf(job.name).rows.empty();
      report_.stored_bytes_before += job.stored_bytes;
      for (TensorHeader& header : HeadersOf(job, wide_deq_scale_)) {
        report_.stored_bytes_after += header.bytes;
        description_[header.name] = WeightTypeName(job.type);
        headers.push_back(std::move(header));
      }
    }
    RETURN_IF_ERROR(CheckRoom(out_dir));
    SafetensorsWriter writer(out_dir,
                             is_static ? "quant_model_weight_w8a8" : "quant_model_weight_w8a8_dynamic",
                             std::move(headers), options_.max_file_bytes);
    size_t done_bytes = 0;
    for (const QuantiseJob& job : jobs_) {
      RETURN_IF_ERROR(job.type == WeightType::kFloat ? CopyTensor(job, writer) : QuantiseTensor(job, writer));
      done_bytes += job.stored_bytes;
      if (progress) progress(done_bytes, report_.stored_bytes_before);
    }
    RETURN_IF_ERROR(writer.Finish());
    return std::move(report_);
  }

  const Json& description() const { return description_; }

 private:
  // Better now than after an hour.
  Status CheckRoom(const std::string& out_dir) const {
    std::error_code error;
    const std::filesystem::space_info space = std::filesystem::space(out_dir, error);
    const uint64_t needed = report_.stored_bytes_after + kSmallFilesBytes;
    if (error || space.available >= needed) return OkStatus();
    return ResourceExhausted("{}: {} MiB are free there, expected {} MiB for the quantized weights", out_dir,
                             space.available >> 20, needed >> 20);
  }

  Status CopyTensor(const QuantiseJob& job, SafetensorsWriter& writer) {
    if (job.smoothed) {
      ASSIGN_OR_RETURN(std::vector<float> values, reader_.ReadVector(job.name, job.shape[0]));
      const std::span<const float> factors = smoothing_.FactorsOf(job.name).rows;
      for (size_t i = 0; i < values.size(); ++i) values[i] *= factors[i];
      return writer.Write(job.name, Bytes(values));
    }
    if (job.is_fp8()) {
      ASSIGN_OR_RETURN(const StoredMat mat,
                       reader_.ReadMatrix(job.name, job.shape[0], job.shape[1], DType::kBF16));
      return writer.Write(job.name, {static_cast<const std::byte*>(mat.view().data), job.stored_bytes * 2});
    }
    ASSIGN_OR_RETURN(const TensorRef ref, checkpoint_.Find(job.name));
    const Status status = writer.Write(job.name, ref.bytes());
    ref.file->mapping().Drop(ref.bytes());
    return status;
  }

  Status QuantiseTensor(const QuantiseJob& job, SafetensorsWriter& writer) {
    const int64_t rows = job.shape[0], cols = job.shape[1];
    const std::string stem = Stem(job.name);
    QuantisedMatrix row;
    row.module = stem.substr(0, stem.size() - 1);
    row.layer = job.layer;
    row.type = job.type;
    ASSIGN_OR_RETURN(Int8Matrix matrix, QuantiseMatrix(reader_, job.name, rows, cols, &row.weight_error,
                                                       smoothing_.FactorsOf(job.name)));
    if (const auto found = inputs_.find(job.name); found != inputs_.end())
      row.input = smoothing_.SmoothedInput(job.name, found->second);
    if (job.type == WeightType::kW8A8) {
      RETURN_IF_ERROR(QuantiseInput(job, row.input, matrix));
      row.input_scale = matrix.input_scale;
      row.input_offset = matrix.input_offset;
      RETURN_IF_ERROR(WriteStatic(stem, matrix, writer));
    }
    report_.matrices.push_back(std::move(row));
    const std::vector<float> no_offsets(static_cast<size_t>(rows));
    RETURN_IF_ERROR(writer.Write(stem + "weight_scale", Bytes(matrix.weight_scale)));
    RETURN_IF_ERROR(writer.Write(stem + "weight_offset", Bytes(no_offsets)));
    return writer.Write(job.name, {static_cast<const std::byte*>(matrix.weight.view().data),
                                   static_cast<size_t>(rows * cols)});
  }

  Status QuantiseInput(const QuantiseJob& job, const ObservedInput& input, Int8Matrix& matrix) const {
    if (input.num_rows == 0) {
      return InvalidArgument("tensor {}: its input was not observed, expected calibration data that reach it",
                             job.name);
    }
    if (!input.all_finite) {
      return InvalidArgument("tensor {}: its input is not finite on the calibration data", job.name);
    }
    std::vector<float> bias;
    if (const std::string name = Stem(job.name) + "bias"; reader_.Has(name)) {
      ASSIGN_OR_RETURN(bias, reader_.ReadVector(name, job.shape[0]));
    }
    return MakeStatic(job.name, QuantiseRange(input.min, input.max), bias, matrix);
  }

  Status WriteStatic(const std::string& stem, const Int8Matrix& matrix, SafetensorsWriter& writer) const {
    const float scale = matrix.input_scale, offset = static_cast<float>(matrix.input_offset);
    RETURN_IF_ERROR(writer.Write(stem + "input_scale", std::as_bytes(std::span(&scale, 1))));
    RETURN_IF_ERROR(writer.Write(stem + "input_offset", std::as_bytes(std::span(&offset, 1))));
    RETURN_IF_ERROR(writer.Write(stem + "quant_bias", Bytes(matrix.quant_bias)));
    if (!wide_deq_scale_) return writer.Write(stem + "deq_scale", Bytes(matrix.deq_scale));
    std::vector<int64_t> patterns;
    for (const float value : matrix.deq_scale) patterns.push_back(std::bit_cast<uint32_t>(value));
    return writer.Write(stem + "deq_scale", Bytes(patterns));
  }

  const Checkpoint& checkpoint_;
  const TensorReader reader_;
  const bool wide_deq_scale_;
  const QuantiseOptions& options_;
  const ObservedInputs& inputs_;
  std::vector<QuantiseJob> jobs_;
  Smoothing smoothing_;
  Json description_ = Json::object();
  QuantiseReport report_;
};

}  // namespace

Status CheckQuantisable(const std::string& model_dir, const ModelConfig& config) {
  if (config.weight_types != nullptr) {
    return InvalidArgument("{}: the weights are quantized already ({}), expected a float or FP8 checkpoint",
                           model_dir, config.weight_types->method());
  }
  ASSIGN_OR_RETURN(const Checkpoint checkpoint, Checkpoint::Open(model_dir));
  RETURN_IF_ERROR(MakeQuantiseJobs(checkpoint, config, QuantScheme::kW8A8).status());
  // What else a load would refuse, with nothing loaded.
  const std::unique_ptr<Kernels> kernels = MakeRefKernels();
  return LoadModel(model_dir, config, {0, 0, false, false}, {}, *kernels).status();
}

Result<QuantiseReport> QuantiseModel(const std::string& model_dir, const std::string& out_dir,
                                     const ModelConfig& config, const QuantiseOptions& options,
                                     const ObservedInputs& inputs, const LoadProgress& progress) {
  RETURN_IF_ERROR(CheckQuantisable(model_dir, config));
  ASSIGN_OR_RETURN(const Checkpoint checkpoint, Checkpoint::Open(model_dir));
  ASSIGN_OR_RETURN(std::vector<QuantiseJob> jobs, MakeQuantiseJobs(checkpoint, config, options.scheme));
  ModelQuantiser quantiser(checkpoint, config, options, inputs, std::move(jobs));
  ASSIGN_OR_RETURN(QuantiseReport report, quantiser.Write(out_dir, progress));
  RETURN_IF_ERROR(
      WriteWholeFile(out_dir + "/" + kAscendDescriptionFile, quantiser.description().dump(2) + "\n"));
  ASSIGN_OR_RETURN(Json json, ReadJsonFile(model_dir + "/config.json"));
  json.erase("quantization_config");
  json["quantize"] = options.scheme == QuantScheme::kW8A8 ? "w8a8" : "w8a8_dynamic";
  RETURN_IF_ERROR(WriteWholeFile(out_dir + "/config.json", json.dump(2) + "\n"));
  return report;
}

}  // namespace penstock
