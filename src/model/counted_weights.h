// CountedWeights: no weights at all, only the memory that they would take: for estimates before anything is
// loaded.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "model/weight_source.h"

namespace penstock {

class CountedWeights : public WeightSource {
 public:
  CountedWeights(const TensorTable& table, const ModelConfig& config, DType dtype,
                 const RankShare& share = {})
      : WeightSource(table, config, dtype, share) {}

  std::unique_ptr<PackedMat> Matrix(Names names) override;
  std::vector<float> Vector(Names names) override;
  std::unique_ptr<PackedKvB> KvB(const std::string& name, const MlaShape& shape) override;
  RowTable Table(const std::string& name) override;

 protected:
  bool Has(const std::string& full_name) const override;
};

}  // namespace penstock
