// CountedWeights: no weights at all, only the memory that they would take: for estimates before anything is
// loaded.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "model/weight_source.h"

namespace penstock {

class CountedWeights : public WeightSource {
 public:
  // `stored_dtype` is the type of the tensors in the files.
  CountedWeights(const TensorTable& table, DType dtype, DType stored_dtype)
      : WeightSource(table, dtype), stored_dtype_(stored_dtype) {}

  std::unique_ptr<PackedMat> Matrix(Names names) override;
  std::vector<float> Vector(Names names) override;
  std::unique_ptr<PackedKvB> KvB(const std::string& name, const MlaShape& shape) override;
  RowTable Table(const std::string& name) override;

 private:
  const DType stored_dtype_;
};

}  // namespace penstock
