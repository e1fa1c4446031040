// LoadedWeights: weights read from a checkpoint and packed for the rank's device, one tensor at a time.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "model/model.h"
#include "model/weight_source.h"
#include "weights/packed_file.h"
#include "weights/tensor_reader.h"

namespace penstock {

class LoadedWeights : public WeightSource {
 public:
  // All arguments outlive the object. `total_bytes` is what `progress` is told to expect. What is made goes
  // to `keep` too where that is not null.
  LoadedWeights(const TensorTable& table, const ModelConfig& config, DType dtype, const TensorReader& reader,
                Kernels& kernels, const LoadProgress& progress, size_t total_bytes,
                PackedFileWriter* keep = nullptr, MatrixListener on_matrix = {}, const RankShare& share = {});

  std::unique_ptr<PackedMat> Matrix(Names names) override;
  std::vector<float> Vector(Names names) override;
  std::unique_ptr<PackedKvB> KvB(const std::string& name, const MlaShape& shape) override;
  RowTable Table(const std::string& name) override;

 protected:
  bool Has(const std::string& full_name) const override { return reader_.Has(full_name); }

 private:
  Result<StoredMat> Read(const std::string& name);
  std::unique_ptr<PackedMat> FloatMatrix(Names names);
  Result<StoredMat> ReadKvB(const std::string& name);
  std::unique_ptr<PackedMat> Int8Matrices(Names names, WeightType type);
  void Report(Names names);  // these are read
  void Keep(const std::string& packed_name, const PackedImage& image);

  const TensorReader& reader_;
  Kernels& kernels_;
  const LoadProgress& progress_;
  const MatrixListener on_matrix_;
  const size_t total_bytes_;
  size_t done_bytes_ = 0;
  PackedFileWriter* const keep_;
};

}  // namespace penstock
