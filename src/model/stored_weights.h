// StoredWeights: no weights at all, only the bytes of the checkpoint that they would be read from: for
// progress.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "model/weight_source.h"
#include "weights/tensor_reader.h"

namespace penstock {

// A rank's part of a tensor, as a size in the files. kNotFound where there is no such tensor.
Result<uint64_t> StoredPartBytes(const TensorReader& reader, const TensorSpec& spec, const RankShare& share);

class StoredWeights : public WeightSource {
 public:
  // All arguments outlive the object.
  StoredWeights(const TensorTable& table, const ModelConfig& config, DType dtype, const TensorReader& reader,
                const RankShare& share)
      : WeightSource(table, config, dtype, share), reader_(reader) {}

  // Of all that was asked for so far.
  uint64_t stored_bytes() const { return stored_bytes_; }

  std::unique_ptr<PackedMat> Matrix(Names names) override;
  std::vector<float> Vector(Names names) override;
  std::unique_ptr<PackedKvB> KvB(const std::string& name, const MlaShape& shape) override;
  RowTable Table(const std::string& name) override;

 protected:
  bool Has(const std::string& full_name) const override { return reader_.Has(full_name); }

 private:
  void Count(Names names);

  const TensorReader& reader_;
  uint64_t stored_bytes_ = 0;
};

}  // namespace penstock
