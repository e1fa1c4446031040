// Golden logits and greedy tokens out of pipelines of every layout, whose ranks are threads.
//
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "pipeline/testing/golden_job.h"
#include "pipeline/testing/golden_layouts.h"

namespace penstock {
namespace {

using testing::GoldenCase;
using testing::GoldenModel;

constexpr size_t kNumTokens = 24;

class PipelineGoldenTest : public ::testing::TestWithParam<GoldenCase> {
 protected:
  void Ask(DType dtype) {
    const ParallelLayout& layout = GetParam().layout;
    const GoldenModel model(GetParam().model);
    const auto replicas = MakeGoldenReplicas(model, layout, dtype, MakeLocalGroups(layout));
    ASSERT_FALSE(replicas.empty());
    AskReplicas(model, layout, dtype, replicas, kNumTokens);
  }
};

TEST_P(PipelineGoldenTest, InFp32) { Ask(DType::kF32); }
TEST_P(PipelineGoldenTest, InBf16) { Ask(DType::kBF16); }

INSTANTIATE_TEST_SUITE_P(
    All, PipelineGoldenTest,
    ::testing::ValuesIn(testing::GoldenCases({{{.tp = 2}, 1},
                                              {{.pp = 2}, 1},
                                              {{.pp = 2, .tp = 2}, 1},
                                              {{.tp = 2, .expert_parallel = true}, 1},
                                              {{.pp = 2, .tp = 2, .expert_parallel = true}, 1},
                                              {{.pcp = 2}, 1},
                                              {{.pp = 2, .pcp = 2}, 1},
                                              {{.pcp = 2, .tp = 2}, 1},
                                              {{.dp = 2}, 1},
                                              {{.dp = 2, .expert_parallel = true}, 1},
                                              {{.dp = 2, .pp = 2}, 1},
                                              {{.dp = 2, .pp = 2, .expert_parallel = true}, 1},
                                              {{.dp = 2, .tp = 2, .expert_parallel = true}, 1},
                                              {{.pcp = 2, .tp = 2, .expert_parallel = true}, 1}})),
    [](const auto& info) { return NameOf(info.param); });

}  // namespace
}  // namespace penstock
