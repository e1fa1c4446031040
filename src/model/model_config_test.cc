// SPDX-License-Identifier: Apache-2.0
#include "model/model_config.h"

#include <gtest/gtest.h>

#include <string>

#include "model/testing/tiny_models.h"

namespace penstock {
namespace {

using testing::TempDir;

Result<ModelConfig> Read(const Json& config, const std::string& generation = "") {
  TempDir dir;
  dir.Write("config.json", config.dump());
  if (!generation.empty()) dir.Write("generation_config.json", generation);
  return ReadModelConfig(dir.path());
}

TEST(ModelConfigTest, Llama31) {
  const auto config = Read(Json::parse(R"({
    "architectures": ["LlamaForCausalLM"], "attention_bias": false, "bos_token_id": 128000,
    "eos_token_id": [128001, 128008, 128009], "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 14336,
    "max_position_embeddings": 131072, "mlp_bias": false, "num_attention_heads": 32, "num_hidden_layers": 32,
    "num_key_value_heads": 8, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
    "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                     "original_max_position_embeddings": 8192, "rope_type": "llama3"},
    "rope_theta": 500000.0, "tie_word_embeddings": false, "torch_dtype": "bfloat16", "vocab_size": 128256})"));
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->architecture, "LlamaForCausalLM");
  EXPECT_EQ(config->head_dim, 128);
  EXPECT_EQ(config->num_kv_heads, 8);
  EXPECT_EQ(config->stored_dtype, DType::kBF16);
  EXPECT_EQ(config->eos_token_ids, (std::vector<int32_t>{128001, 128008, 128009}));
  EXPECT_EQ(config->bos_token_id, 128000);
  EXPECT_EQ(config->rope.type, RopeConfig::Type::kLlama3);
  EXPECT_EQ(config->rope.theta, 500000.0);
  EXPECT_EQ(config->rope.original_max_position_embeddings, 8192);
  EXPECT_EQ(config->num_experts, 0);
  EXPECT_FLOAT_EQ(config->rms_norm_eps, 1e-5f);
}

TEST(ModelConfigTest, Qwen3MoeWithNewStyleKeys) {
  const auto config = Read(Json::parse(R"({
    "architectures": ["Qwen3MoeForCausalLM"], "attention_bias": false, "bos_token_id": null, "decoder_sparse_step": 1,
    "dtype": "float16", "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu", "hidden_size": 2048,
    "intermediate_size": 6144, "max_position_embeddings": 40960, "max_window_layers": 48, "mlp_only_layers": [],
    "moe_intermediate_size": 768, "norm_topk_prob": true, "num_attention_heads": 32, "num_experts": 128,
    "num_experts_per_tok": 8, "num_hidden_layers": 48, "num_key_value_heads": 4, "rms_norm_eps": 1e-06,
    "rope_parameters": {"rope_type": "yarn", "rope_theta": 1000000.0, "factor": 4.0,
                        "original_max_position_embeddings": 32768},
    "sliding_window": null, "tie_word_embeddings": false, "use_sliding_window": false, "vocab_size": 151936})"));
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->stored_dtype, DType::kF16);
  EXPECT_EQ(config->num_experts, 128);
  EXPECT_EQ(config->router.top_k, 8);
  EXPECT_EQ(config->router.score, RouterShape::Score::kSoftmax);
  EXPECT_TRUE(config->router.normalize);
  EXPECT_EQ(config->rope.type, RopeConfig::Type::kYarn);
  EXPECT_EQ(config->rope.theta, 1000000.0);
  EXPECT_EQ(config->rope.mscale, 0.0);
  EXPECT_EQ(config->bos_token_id, -1);
  EXPECT_EQ(config->eos_token_ids, std::vector<int32_t>{151645});
}

Json DeepseekV3() {
  return Json::parse(R"({
    "architectures": ["DeepseekV3ForCausalLM"], "attention_bias": false, "bos_token_id": 0, "ep_size": 1,
    "eos_token_id": 1, "first_k_dense_replace": 3, "hidden_act": "silu", "hidden_size": 7168,
    "intermediate_size": 18432, "kv_lora_rank": 512, "max_position_embeddings": 163840, "moe_intermediate_size": 2048,
    "moe_layer_freq": 1, "n_group": 8, "n_routed_experts": 256, "n_shared_experts": 1, "norm_topk_prob": true,
    "num_attention_heads": 128, "num_experts_per_tok": 8, "num_hidden_layers": 61, "num_key_value_heads": 128,
    "num_nextn_predict_layers": 1, "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
    "quantization_config": {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
                            "weight_block_size": [128, 128]},
    "rms_norm_eps": 1e-06,
    "rope_scaling": {"beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 1.0, "mscale_all_dim": 1.0,
                     "original_max_position_embeddings": 4096, "type": "yarn"},
    "rope_theta": 10000, "routed_scaling_factor": 2.5, "scoring_func": "sigmoid", "tie_word_embeddings": false,
    "topk_group": 4, "topk_method": "noaux_tc", "torch_dtype": "bfloat16", "v_head_dim": 128, "vocab_size": 129280})");
}

TEST(ModelConfigTest, DeepseekV3) {
  const auto config = Read(DeepseekV3());
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->kv_lora_rank, 512);
  EXPECT_EQ(config->q_lora_rank, 1536);
  EXPECT_EQ(config->nope_dim, 128);
  EXPECT_EQ(config->rope_dim, 64);
  EXPECT_EQ(config->v_dim, 128);
  EXPECT_TRUE(config->rope_interleave);
  EXPECT_EQ(config->first_dense_layers, 3);
  EXPECT_EQ(config->num_shared_experts, 1);
  EXPECT_EQ(config->num_nextn_predict_layers, 1);
  EXPECT_EQ(config->router.score, RouterShape::Score::kSigmoid);
  EXPECT_EQ(config->router.num_groups, 8);
  EXPECT_EQ(config->router.top_k_groups, 4);
  EXPECT_FLOAT_EQ(config->router.scaling, 2.5f);
  EXPECT_EQ(config->fp8_block_rows, 128);
  EXPECT_EQ(config->fp8_block_cols, 128);
  EXPECT_EQ(config->rope.factor, 40.0);
  EXPECT_EQ(config->rope.mscale_all_dim, 1.0);
}

TEST(ModelConfigTest, DefaultsOfWhatIsAbsent) {
  Json llama = testing::TinyConfig("llama");
  llama.erase("num_key_value_heads");
  llama.erase("rope_theta");
  llama["head_dim"] = nullptr;
  const ModelConfig config = Read(llama).value();
  EXPECT_EQ(config.num_kv_heads, 4);
  EXPECT_EQ(config.head_dim, 16);
  EXPECT_EQ(config.rope.theta, 10000.0);

  Json qwen3 = testing::TinyConfig("qwen3");
  qwen3.erase("head_dim");
  EXPECT_EQ(Read(qwen3)->head_dim, 128);  // its class's default, not 64 / 4
}

TEST(ModelConfigTest, YarnDerivesItsFactor) {
  Json config = testing::TinyConfig("llama");
  config["rope_scaling"] = {{"type", "yarn"}, {"factor", nullptr}, {"original_max_position_embeddings", 64}};
  EXPECT_EQ(Read(config)->rope.factor, 4.0);
}

TEST(ModelConfigTest, GenerationConfigHasTheLastWordOnTheEnd) {
  const Json config = testing::TinyConfig("llama");
  EXPECT_EQ(Read(config)->eos_token_ids, std::vector<int32_t>{2});
  EXPECT_EQ(Read(config, R"({"eos_token_id": 7})")->eos_token_ids, std::vector<int32_t>{7});
  EXPECT_EQ(Read(config, R"({"eos_token_id": [7, 9]})")->eos_token_ids, (std::vector<int32_t>{7, 9}));
  EXPECT_EQ(Read(config, R"({"temperature": 0.6})")->eos_token_ids, std::vector<int32_t>{2});
  EXPECT_NE(Read(config, R"({"eos_token_id": "x"})").status().message().find("generation_config.json"),
            std::string::npos);
  EXPECT_FALSE(Read(config, "{").ok());
}

struct BadConfig {
  const char* label;
  const char* family;
  const char* patch;  // a JSON merge patch: null removes
  StatusCode code;
  const char* message;  // a part of it
};

constexpr StatusCode kNo = StatusCode::kUnimplemented;
constexpr StatusCode kBad = StatusCode::kInvalidArgument;

const BadConfig kBadConfigs[] = {
    {"architecture", "llama", R"({"architectures":["GPT2LMHeadModel"]})", kNo, "\"GPT2LMHeadModel\""},
    {"no_architecture", "llama", R"({"architectures":null})", kBad, "architectures is missing"},
    {"architecture_not_a_list", "llama", R"({"architectures":7})", kBad, "architectures is missing"},
    {"hidden_act", "llama", R"({"hidden_act":"gelu"})", kNo, "hidden_act = \"gelu\""},
    {"mlp_bias", "llama", R"({"mlp_bias":true})", kNo, "mlp_bias = true"},
    {"partial_rotary", "llama", R"({"partial_rotary_factor":0.5})", kNo, "partial_rotary_factor = 0.5"},
    {"rope_dynamic", "llama", R"({"rope_scaling":{"type":"dynamic","factor":2}})", kNo, "type = \"dynamic\""},
    {"rope_longrope", "llama", R"({"rope_scaling":{"rope_type":"longrope"}})", kNo,
     "rope_type = \"longrope\""},
    {"rope_per_layer", "llama", R"({"rope_parameters":{"full_attention":{"rope_type":"default"}}})", kNo,
     "rope_parameters: full_attention"},
    {"rope_partial", "llama", R"({"rope_parameters":{"partial_rotary_factor":0.25}})", kNo,
     "partial_rotary_factor"},
    {"rope_not_an_object", "llama", R"({"rope_scaling":[1]})", kBad, "rope_scaling is not an object"},
    {"rope_no_factor", "llama", R"({"rope_scaling":{"type":"linear"}})", kBad, "rope_scaling: factor = 0"},
    {"rope_theta", "llama", R"({"rope_theta":1.0})", kBad, "rope_theta = 1"},
    {"rope_theta_string", "llama", R"({"rope_theta":"big"})", kBad,
     "rope_theta is \"big\", expected a number"},
    {"llama3_incomplete", "llama", R"({"rope_scaling":{"rope_type":"llama3","factor":8.0}})", kBad,
     "low_freq_factor = 0"},
    {"yarn_original", "llama",
     R"({"rope_scaling":{"rope_type":"yarn","factor":8.0,"original_max_position_embeddings":-1}})", kBad,
     "original_max_position_embeddings = -1"},
    {"sliding_window", "qwen3", R"({"use_sliding_window":true,"sliding_window":4096})", kNo,
     "use_sliding_window = true"},
    {"layer_types", "qwen3", R"({"layer_types":["full_attention","sliding_attention"]})", kNo, "layer_types"},
    {"gptq", "llama", R"({"quantization_config":{"quant_method":"gptq","bits":4}})", kNo,
     "quant_method = \"gptq\""},
    {"compressed_tensors", "llama", R"({"quantization_config":{"quant_method":"compressed-tensors"}})", kNo,
     "quantization_config: compressed-tensors: format = null"},
    {"compression_config", "llama", R"({"compression_config":{}})", kNo, "compression_config"},
    {"ascend", "llama", R"({"quantize":"w8a8_dynamic"})", StatusCode::kNotFound,
     "ModelSlim Quantization Config Not Found"},
    {"fp8_per_tensor", "llama", R"({"quantization_config":{"quant_method":"fp8"}})", kNo,
     "weight_block_size = (absent)"},
    {"fp8_static", "llama",
     R"({"quantization_config":{"quant_method":"fp8","activation_scheme":"static","weight_block_size":[128,128]}})",
     kNo, "activation_scheme = \"static\""},
    {"fp8_e5m2", "llama",
     R"({"quantization_config":{"quant_method":"fp8","fmt":"e5m2","weight_block_size":[128,128]}})", kNo,
     "e5m2"},
    {"fp8_block_zero", "llama",
     R"({"quantization_config":{"quant_method":"fp8","weight_block_size":[0,128]}})", kBad,
     "weight_block_size = [0,128]"},
    {"dtype", "llama", R"({"torch_dtype":"int8"})", kNo, "torch_dtype = \"int8\""},
    {"deepseek_v2_routing", "deepseek_v3", R"({"topk_method":"group_limited_greedy"})", kNo, "topk_method"},
    {"deepseek_softmax", "deepseek_v3", R"({"scoring_func":"softmax"})", kNo, "scoring_func = \"softmax\""},
    {"moe_layer_freq", "deepseek_v3", R"({"moe_layer_freq":2})", kNo, "moe_layer_freq = 2"},
    {"missing_size", "llama", R"({"hidden_size":null})", kBad, "hidden_size is missing"},
    {"zero_layers", "llama", R"({"num_hidden_layers":0})", kBad, "num_hidden_layers = 0"},
    {"zero_heads", "llama", R"({"num_attention_heads":0})", kBad, "num_attention_heads = 0"},
    {"zero_kv_heads", "llama", R"({"num_key_value_heads":0})", kBad, "num_key_value_heads = 0"},
    {"negative_vocab", "llama", R"({"vocab_size":-5})", kBad, "vocab_size = -5"},
    {"fraction", "llama", R"({"vocab_size":96.5})", kBad, "vocab_size is 96.5, expected a 32-bit integer"},
    {"beyond_32_bits", "llama", R"({"vocab_size":4294967393})", kBad, "vocab_size is 4294967393"},
    {"beyond_64_bits", "llama", R"({"vocab_size":18446744073709551615})", kBad,
     "vocab_size is 18446744073709551615"},
    {"huge_vocab", "llama", R"({"vocab_size":2147483647})", kBad, "vocab_size = 2147483647"},
    {"huge_heads", "llama", R"({"num_attention_heads":1048576,"head_dim":1024})", kBad,
     "num_attention_heads * head_dim"},
    {"heads_not_divisible", "llama", R"({"num_key_value_heads":3})", kBad,
     "not a multiple of num_key_value_heads = 3"},
    {"head_dim_not_16", "qwen3", R"({"head_dim":24})", kBad, "head_dim = 24, expected a multiple of 16"},
    {"string_for_bool", "llama", R"({"tie_word_embeddings":"yes"})", kBad, "expected true or false"},
    {"eps_zero", "llama", R"({"rms_norm_eps":0})", kBad, "rms_norm_eps = 0"},
    {"eos_string", "llama", R"({"eos_token_id":"</s>"})", kBad, "eos_token_id"},
    {"top_k_too_large", "qwen3_moe", R"({"num_experts_per_tok":9})", kBad, "num_experts_per_tok = 9"},
    {"no_experts", "qwen3_moe", R"({"num_experts":0})", kBad, "num_experts = 0"},
    {"too_many_experts", "qwen3_moe", R"({"num_experts":100000000})", kBad, "number of experts"},
    {"sparse_step_zero", "qwen3_moe", R"({"decoder_sparse_step":0})", kBad, "decoder_sparse_step = 0"},
    {"groups", "deepseek_v3", R"({"n_group":3})", kBad, "do not divide into n_group = 3"},
    {"topk_group", "deepseek_v3", R"({"topk_group":5})", kBad, "topk_group = 5"},
    {"unreachable_top_k", "deepseek_v3", R"({"topk_group":1})", kBad, "within topk_group groups"},
    {"kv_lora_rank", "deepseek_v3", R"({"kv_lora_rank":0})", kBad, "kv_lora_rank = 0"},
    {"rope_dim", "deepseek_v3", R"({"qk_rope_head_dim":8})", kBad, "qk_rope_head_dim = 8"},
};

class BadConfigTest : public ::testing::TestWithParam<BadConfig> {};

TEST_P(BadConfigTest, IsRefusedByFieldAndValue) {
  Json config = testing::TinyConfig(GetParam().family);
  ASSERT_TRUE(Read(config).ok());
  config.merge_patch(Json::parse(GetParam().patch));
  const auto result = Read(config);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.status().code(), GetParam().code);
  EXPECT_NE(result.status().message().find(GetParam().message), std::string::npos)
      << result.status().message();
  EXPECT_NE(result.status().message().find("config.json"), std::string::npos) << result.status().message();
}

INSTANTIATE_TEST_SUITE_P(All, BadConfigTest, ::testing::ValuesIn(kBadConfigs),
                         [](const auto& info) { return info.param.label; });

TEST(ModelConfigTest, FilesThatAreNotThereOrNotJson) {
  TempDir dir;
  EXPECT_EQ(ReadModelConfig(dir.path()).status().code(), StatusCode::kNotFound);
  dir.Write("config.json", "[]");
  EXPECT_EQ(ReadModelConfig(dir.path()).status().code(), kBad);
  dir.Write("config.json", "{\"a\":");
  EXPECT_EQ(ReadModelConfig(dir.path()).status().code(), kBad);
  dir.Write("config.json", testing::TinyConfig("llama").dump());
}

// What --quantization says against what the files are.
TEST(ModelConfigTest, TheQuantizationThatIsAskedForIsTheOneThatIsThere) {
  TempDir dir;
  const auto read = [&](const std::string& quantization) {
    return ReadModelConfig(dir.path(), quantization);
  };
  const auto expect_error = [&](const std::string& quantization, StatusCode code, const std::string& part) {
    const auto result = read(quantization);
    EXPECT_EQ(result.status().code(), code) << result.status().message();
    EXPECT_NE(result.status().message().find(part), std::string::npos) << result.status().message();
  };
  Json config = testing::TinyConfig("llama");
  dir.Write("config.json", config.dump());
  EXPECT_EQ(read("")->weight_types, nullptr);
  EXPECT_FALSE(read("")->quantise_weights);
  EXPECT_TRUE(read("w8a8-dynamic")->quantise_weights);
  expect_error("ascend", StatusCode::kNotFound, "ModelSlim Quantization Config Not Found");
  expect_error("compressed-tensors", kNo,
               "quantization compressed-tensors: the model's weights are not quantized");

  config["quantization_config"] = {{"quant_method", "fp8"}, {"weight_block_size", {128, 128}}};
  dir.Write("config.json", config.dump());
  EXPECT_EQ(read("fp8")->fp8_block_rows, 128);
  EXPECT_TRUE(read("w8a8-dynamic")->quantise_weights);
  EXPECT_EQ(read("w8a8-dynamic")->fp8_block_rows, 128);
  expect_error("compressed-tensors", kBad,
               "specified in the model config (fp8) does not match the quantization method specified in the "
               "`quantization` argument (compressed-tensors)");

  config.erase("quantization_config");
  config["quantize"] = "w8a8_dynamic";
  dir.Write("config.json", config.dump());
  dir.Write("quant_model_description.json", R"({"model.norm.weight": "FLOAT"})");
  for (const char* quantization : {"", "ascend"})
    EXPECT_EQ(read(quantization)->weight_types->method(), "ascend");
  expect_error("fp8", kBad, "(ascend) does not match");
  expect_error("w8a8-dynamic", kBad, "(ascend) does not match");
  dir.Write("quant_model_description.json", "[]");
  expect_error("", kBad, "quant_model_description.json: not a JSON object");
}

}  // namespace
}  // namespace penstock
