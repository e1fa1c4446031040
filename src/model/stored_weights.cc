// SPDX-License-Identifier: Apache-2.0
#include "model/stored_weights.h"

namespace penstock {

Result<uint64_t> StoredPartBytes(const TensorReader& reader, const TensorSpec& spec, const RankShare& share) {
  ASSIGN_OR_RETURN(const uint64_t bytes, reader.StoredBytes(spec.name));
  const TensorPart part = PartOf(spec, share);
  if (part.is_whole) return bytes;
  double elements = 1;
  for (const int64_t dim : spec.shape) elements *= static_cast<double>(dim);
  const double own = static_cast<double>(part.rows) * static_cast<double>(part.cols);
  return static_cast<uint64_t>(static_cast<double>(bytes) * own / elements);
}

void StoredWeights::Count(Names names) {
  for (const std::string& name : names) {
    const Result<uint64_t> bytes = StoredPartBytes(reader_, Spec(name), share_);
    if (!bytes.ok()) return Fail(bytes.status());
    stored_bytes_ += *bytes;
  }
}

std::unique_ptr<PackedMat> StoredWeights::Matrix(Names names) {
  Count(names);
  return nullptr;
}

std::vector<float> StoredWeights::Vector(Names names) {
  Count(names);
  return {};
}

std::unique_ptr<PackedKvB> StoredWeights::KvB(const std::string& name, const MlaShape&) {
  Count({name});
  return nullptr;
}

RowTable StoredWeights::Table(const std::string& name) {
  Count({name});
  return {};
}

}  // namespace penstock
