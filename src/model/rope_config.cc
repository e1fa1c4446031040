// Precedence as in transformers: rope_scaling, where it is not empty, stands for rope_parameters; rope_theta
// within it comes before the one beside it; original_max_position_embeddings beside it before the one within.
//
// SPDX-License-Identifier: Apache-2.0
#include "model/rope_config.h"

namespace penstock {
namespace {

RopeConfig::Type ReadType(ConfigReader& rope) {
  const std::string key = rope.Has("rope_type") ? "rope_type" : "type";
  const std::string name = rope.String(key, "default");
  if (name == "default") return RopeConfig::Type::kDefault;
  if (name == "linear") return RopeConfig::Type::kLinear;
  if (name == "llama3") return RopeConfig::Type::kLlama3;
  if (name == "yarn") return RopeConfig::Type::kYarn;
  rope.Unsupported(key, "default, linear, llama3 and yarn are");
  return RopeConfig::Type::kDefault;
}

Status CheckRope(const RopeConfig& rope) {
  if (!(rope.theta > 1.0) || rope.theta > 1e30) return InvalidArgument("rope_theta = {}", rope.theta);
  if (rope.type == RopeConfig::Type::kDefault) return OkStatus();
  if (!(rope.factor > 0.0) || rope.factor > 1e9) return InvalidArgument("factor = {}", rope.factor);
  if (rope.type == RopeConfig::Type::kLinear) return OkStatus();
  if (rope.original_max_position_embeddings <= 0) {
    return InvalidArgument("original_max_position_embeddings = {}", rope.original_max_position_embeddings);
  }
  if (rope.type == RopeConfig::Type::kLlama3 &&
      (!(rope.low_freq_factor > 0.0) || !(rope.high_freq_factor > rope.low_freq_factor))) {
    return InvalidArgument("low_freq_factor = {}, high_freq_factor = {}, expected 0 < low < high",
                           rope.low_freq_factor, rope.high_freq_factor);
  }
  if (!(rope.beta_fast > 0.0) || !(rope.beta_slow > 0.0)) {
    return InvalidArgument("beta_fast = {}, beta_slow = {}", rope.beta_fast, rope.beta_slow);
  }
  if (rope.attention_factor < 0.0) return InvalidArgument("attention_factor = {}", rope.attention_factor);
  return OkStatus();
}

double NonZero(double value, double otherwise) { return value == 0.0 ? otherwise : value; }

}  // namespace

RopeConfig ReadRopeConfig(ConfigReader& json, int32_t max_position_embeddings) {
  RopeConfig config;
  config.theta = json.Number("rope_theta", 10000.0);
  config.original_max_position_embeddings = json.Int("original_max_position_embeddings", 0);
  json.Only("partial_rotary_factor", 1.0);

  const Json* found = json.Find("rope_scaling");
  std::string name = "rope_scaling";
  if (found == nullptr || found->empty()) {
    found = json.Find("rope_parameters");
    name = "rope_parameters";
  }
  if (found == nullptr) {
    if (const Status status = CheckRope(config); !status.ok()) json.Fail(status);
    return config;
  }
  if (!found->is_object()) {
    json.Fail(InvalidArgument("{} is not an object", name));
    return config;
  }

  ConfigReader rope(*found, name);
  for (const auto& [key, value] : found->items()) {
    if (value.is_object()) rope.Unsupported(key, "all layers must have the same rotary embedding");
  }
  const int32_t original = rope.Int("original_max_position_embeddings", max_position_embeddings);
  if (config.original_max_position_embeddings == 0) config.original_max_position_embeddings = original;
  config.type = ReadType(rope);
  config.theta = rope.Number("rope_theta", config.theta);
  const double ratio = static_cast<double>(max_position_embeddings) / config.original_max_position_embeddings;
  const bool derives_factor =
      config.type == RopeConfig::Type::kYarn && config.original_max_position_embeddings > 0;
  config.factor = rope.Number("factor", derives_factor ? ratio : 0.0);
  config.low_freq_factor =
      rope.Number("low_freq_factor", config.type == RopeConfig::Type::kLlama3 ? 0.0 : 1.0);
  config.high_freq_factor =
      rope.Number("high_freq_factor", config.type == RopeConfig::Type::kLlama3 ? 0.0 : 4.0);
  config.beta_fast = NonZero(rope.Number("beta_fast", 0.0), 32.0);
  config.beta_slow = NonZero(rope.Number("beta_slow", 0.0), 1.0);
  config.mscale = rope.Number("mscale", 0.0);
  config.mscale_all_dim = rope.Number("mscale_all_dim", 0.0);
  config.attention_factor = rope.Number("attention_factor", 0.0);
  config.truncate = rope.Bool("truncate", true);
  rope.Only("partial_rotary_factor", 1.0);
  if (const Status status = CheckRope(config); !status.ok()) rope.Fail(status);
  if (!rope.status().ok()) json.Fail(rope.status());
  return config;
}

}  // namespace penstock
