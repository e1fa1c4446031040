// The attention of CpuKernels: as CpuAttention does it.
//
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/cpu_kernels.h"

namespace penstock {

std::unique_ptr<PackedKvB> CpuKernels::PackKvB(ConstMat kv_b, const MlaShape& shape, DType compute) {
  return attention_.PackKvB(kv_b, shape, compute);
}

std::unique_ptr<PackedKvB> CpuKernels::AttachKvB(const PackedImage& image, const MlaShape& shape) {
  return attention_.AttachKvB(image, shape);
}

size_t CpuKernels::GqaBlockBytes(const GqaShape& shape, int32_t block_size, DType dtype) const {
  return attention_.GqaBlockBytes(shape, block_size, dtype);
}

size_t CpuKernels::MlaBlockBytes(const MlaShape& shape, int32_t block_size, DType dtype) const {
  return attention_.MlaBlockBytes(shape, block_size, dtype);
}

void CpuKernels::GqaAttention(ConstMat q, std::span<const SeqSpan> spans, const GqaShape& shape,
                              const KvLayerView& cache, Mat out) {
  attention_.GqaAttention(q, spans, shape, cache, out);
}

void CpuKernels::MlaStore(ConstMat latent, ConstMat k_rope, std::span<const SeqSpan> spans,
                          const MlaShape& shape, const KvLayerView& cache) {
  attention_.MlaStore(latent, k_rope, spans, shape, cache);
}

void CpuKernels::MlaAttention(ConstMat q, std::span<const SeqSpan> spans, const MlaShape& shape,
                              const KvLayerView& cache, const PackedKvB& kv_b, Mat out, MlaForm form) {
  attention_.MlaAttention(q, spans, shape, cache, kv_b, out, form);
}

}  // namespace penstock
