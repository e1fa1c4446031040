// Reads what all families share; the family's own fields are read by its file (architecture.h). Then checks
// the whole: after this, sizes are positive, divide as they must, and no product of them overflows.
//
// SPDX-License-Identifier: Apache-2.0
#include "model/model_config.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "model/architecture.h"
#include "model/config_reader.h"
#include "model/quantization_config.h"
#include "model/rope_config.h"

namespace penstock {
namespace {

constexpr int64_t kMaxDim = int64_t{1} << 24;  // of any dimension of a tensor
constexpr int64_t kMaxLayers = 4096;
constexpr int64_t kMaxExperts = int64_t{1} << 20;  // in all layers together

std::string SupportedNames() {
  std::string names;
  for (const Architecture* architecture : Architectures()) {
    names += (names.empty() ? "" : ", ") + std::string(architecture->name);
  }
  return names;
}

Result<const Architecture*> ReadArchitecture(const Json& json, const std::string& what) {
  const auto found = json.find("architectures");
  if (found == json.end() || !found->is_array() || found->empty() || !found->front().is_string()) {
    return InvalidArgument("{}: architectures is missing; supported: {}", what, SupportedNames());
  }
  const auto name = found->front().get<std::string>();
  const Architecture* architecture = FindArchitecture(name);
  if (architecture == nullptr) {
    return Unimplemented("{}: architectures = \"{}\" is not supported; supported: {}", what, name,
                         SupportedNames());
  }
  return architecture;
}

DType ReadStoredDtype(ConfigReader& json) {
  const std::string key = json.Has("dtype") ? "dtype" : "torch_dtype";
  const std::string name = json.String(key, "bfloat16");
  if (name == "bfloat16") return DType::kBF16;
  if (name == "float16") return DType::kF16;
  if (name != "float32") json.Unsupported(key, "bfloat16, float16 and float32 are");
  return DType::kF32;
}

ModelConfig ReadCommon(ConfigReader& json) {
  ModelConfig config;
  config.stored_dtype = ReadStoredDtype(json);
  config.vocab_size = json.Int("vocab_size");
  config.hidden_dim = json.Int("hidden_size");
  config.num_layers = json.Int("num_hidden_layers");
  config.num_heads = json.Int("num_attention_heads");
  config.num_kv_heads = json.Int("num_key_value_heads", config.num_heads);
  config.head_dim = json.Int("head_dim", 0);  // 0: the family's default
  config.intermediate_dim = json.Int("intermediate_size");
  config.max_position_embeddings = json.Int("max_position_embeddings");
  config.rms_norm_eps = static_cast<float>(json.Number("rms_norm_eps", 1e-6));
  config.tie_word_embeddings = json.Bool("tie_word_embeddings", false);
  config.attention_bias = json.Bool("attention_bias", false);
  config.eos_token_ids = json.Ints("eos_token_id");
  const std::vector<int32_t> bos = json.Ints("bos_token_id");
  config.bos_token_id = bos.empty() ? -1 : bos.front();
  json.Only("hidden_act", "silu");
  json.Only("mlp_bias", false);
  return config;
}

// The checks of sizes. Every field is an int32; products are taken in 64 bits and stay far below their limit.
Status CheckDim(std::string_view name, int64_t value, int64_t max = kMaxDim) {
  if (value >= 1 && value <= max) return OkStatus();
  return InvalidArgument("{} = {}, expected a size in [1, {}]", name, value, max);
}

Status CheckMultiple(std::string_view name, int64_t value, int64_t of) {
  if (value % of == 0) return OkStatus();
  return InvalidArgument("{} = {}, expected a multiple of {}", name, value, of);
}

Status CheckGqa(const ModelConfig& config) {
  RETURN_IF_ERROR(CheckDim("num_key_value_heads", config.num_kv_heads));
  RETURN_IF_ERROR(CheckDim("head_dim", config.head_dim));
  RETURN_IF_ERROR(CheckDim("num_attention_heads * head_dim", int64_t{config.num_heads} * config.head_dim));
  RETURN_IF_ERROR(CheckMultiple("head_dim", config.head_dim, 16));
  if (config.num_heads % config.num_kv_heads != 0) {
    return InvalidArgument("num_attention_heads = {} is not a multiple of num_key_value_heads = {}",
                           config.num_heads, config.num_kv_heads);
  }
  return OkStatus();
}

Status CheckMla(const ModelConfig& config) {
  struct {
    const char* name;
    int32_t value;
  } const dims[] = {{"kv_lora_rank", config.kv_lora_rank},
                    {"qk_nope_head_dim", config.nope_dim},
                    {"qk_rope_head_dim", config.rope_dim},
                    {"v_head_dim", config.v_dim}};
  for (const auto& [name, value] : dims) {
    RETURN_IF_ERROR(CheckDim(name, value));
    RETURN_IF_ERROR(CheckMultiple(name, value, 16));
  }
  if (config.q_lora_rank != 0) RETURN_IF_ERROR(CheckDim("q_lora_rank", config.q_lora_rank));
  const int64_t widest =
      std::max(int64_t{config.nope_dim} + config.rope_dim, int64_t{config.nope_dim} + config.v_dim);
  return CheckDim("num_attention_heads * head dimension", config.num_heads * widest);
}

Status CheckMoe(const ModelConfig& config) {
  const RouterShape& router = config.router;
  RETURN_IF_ERROR(
      CheckDim("number of experts * layers", int64_t{config.num_experts} * config.num_layers, kMaxExperts));
  RETURN_IF_ERROR(CheckDim("moe_intermediate_size", config.moe_intermediate_dim));
  RETURN_IF_ERROR(CheckDim("num_experts_per_tok", config.num_experts_per_token, config.num_experts));
  RETURN_IF_ERROR(CheckDim("n_group", router.num_groups, config.num_experts));
  RETURN_IF_ERROR(CheckDim("topk_group", router.top_k_groups, router.num_groups));
  RETURN_IF_ERROR(CheckDim("decoder_sparse_step", config.decoder_sparse_step));
  if (config.num_experts % router.num_groups != 0) {
    return InvalidArgument("{} experts do not divide into n_group = {}", config.num_experts,
                           router.num_groups);
  }
  const int32_t reachable = config.num_experts / router.num_groups * router.top_k_groups;
  RETURN_IF_ERROR(
      CheckDim("num_experts_per_tok (within topk_group groups)", config.num_experts_per_token, reachable));
  if (config.num_shared_experts < 0) {
    return InvalidArgument("n_shared_experts = {}", config.num_shared_experts);
  }
  if (config.num_shared_experts == 0) return OkStatus();
  return CheckDim("n_shared_experts * moe_intermediate_size",
                  int64_t{config.num_shared_experts} * config.moe_intermediate_dim);
}

Status CheckConfig(const ModelConfig& config) {
  RETURN_IF_ERROR(CheckDim("vocab_size", config.vocab_size));
  RETURN_IF_ERROR(CheckDim("hidden_size", config.hidden_dim));
  RETURN_IF_ERROR(CheckDim("num_hidden_layers", config.num_layers, kMaxLayers));
  RETURN_IF_ERROR(CheckDim("num_attention_heads", config.num_heads));
  RETURN_IF_ERROR(CheckDim("intermediate_size", config.intermediate_dim));
  RETURN_IF_ERROR(CheckDim("max_position_embeddings", config.max_position_embeddings, int64_t{1} << 30));
  if (!(config.rms_norm_eps > 0.0f) || config.rms_norm_eps > 1.0f) {
    return InvalidArgument("rms_norm_eps = {}, expected a number in (0, 1]", config.rms_norm_eps);
  }
  RETURN_IF_ERROR(config.kv_lora_rank > 0 ? CheckMla(config) : CheckGqa(config));
  return config.num_experts > 0 ? CheckMoe(config) : OkStatus();
}

// generation_config.json, where there is one, has the last word on what ends a text.
Status ReadGenerationConfig(const std::string& path, ModelConfig& config) {
  const Result<Json> file = ReadJsonFile(path);
  if (file.status().code() == StatusCode::kNotFound) return OkStatus();
  if (!file.ok()) return file.status();
  if (!file->is_object()) return InvalidArgument("{}: not a JSON object", path);
  ConfigReader json(*file, path);
  const std::vector<int32_t> ids = json.Ints("eos_token_id");
  if (!ids.empty()) config.eos_token_ids = ids;
  return json.status();
}

}  // namespace

bool HasExperts(const ModelConfig& config, int32_t layer) {
  return config.num_experts > 0 && layer >= config.first_dense_layers && layer < config.num_layers &&
         (layer + 1) % config.decoder_sparse_step == 0 &&
         std::ranges::find(config.mlp_only_layers, layer) == config.mlp_only_layers.end();
}

Result<ModelConfig> ReadModelConfig(const std::string& model_dir, const std::string& quantization) {
  const std::filesystem::path dir(model_dir);
  const std::string path = (dir / "config.json").string();
  ASSIGN_OR_RETURN(const Json file, ReadJsonFile(path));
  if (!file.is_object()) return InvalidArgument("{}: not a JSON object", path);
  ASSIGN_OR_RETURN(const Architecture* architecture, ReadArchitecture(file, path));

  ConfigReader json(file, path);
  ModelConfig config = ReadCommon(json);
  config.architecture = architecture->name;
  config.rope = ReadRopeConfig(json, config.max_position_embeddings);
  json.Fail(ReadQuantization(file, model_dir, quantization, config));
  architecture->read_config(json, config);
  RETURN_IF_ERROR(json.status());
  if (const Status status = CheckConfig(config); !status.ok()) return status.WithContext(path);
  RETURN_IF_ERROR(ReadGenerationConfig((dir / "generation_config.json").string(), config));
  return config;
}

}  // namespace penstock
