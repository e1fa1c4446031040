// SPDX-License-Identifier: Apache-2.0
#include "engine/admission.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

TEST(Admission, NoLimits) {
  Admission admission(0, 0);
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(admission.Enter(std::to_string(i), 1 << 20).ok());
  EXPECT_EQ(admission.num_live(), 1000);
}

TEST(Admission, LiveIdsAreUnique) {
  Admission admission(0, 0);
  EXPECT_TRUE(admission.Enter("a", 1).ok());
  EXPECT_EQ(admission.Enter("a", 1).code(), StatusCode::kInvalidArgument);
  admission.Leave("a");
  EXPECT_TRUE(admission.Enter("a", 1).ok());
}

TEST(Admission, LimitOfRequests) {
  Admission admission(2, 0);
  EXPECT_TRUE(admission.Enter("a", 1).ok());
  EXPECT_TRUE(admission.Enter("b", 1).ok());
  EXPECT_EQ(admission.Enter("c", 1).code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(admission.rejections().at("max_num_queued_reqs"), 1u);
  admission.OnFirstToken("a");  // still live
  EXPECT_FALSE(admission.Enter("c", 1).ok());
  admission.Leave("a");
  EXPECT_TRUE(admission.Enter("c", 1).ok());
}

TEST(Admission, LimitOfPromptTokensCountsPrefillOnly) {
  Admission admission(0, 100);
  EXPECT_TRUE(admission.Enter("a", 99).ok());
  EXPECT_TRUE(admission.Enter("b", 500).ok());  // the limit was not reached yet
  EXPECT_EQ(admission.Enter("c", 1).code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(admission.rejections().at("max_num_queued_tokens"), 1u);
  admission.OnFirstToken("b");
  admission.OnFirstToken("b");
  EXPECT_TRUE(admission.Enter("c", 1).ok());
  EXPECT_FALSE(admission.Enter("d", 1).ok());
  admission.Leave("a");
  admission.Leave("b");
  EXPECT_TRUE(admission.Enter("d", 1).ok());
}

}  // namespace
}  // namespace penstock
